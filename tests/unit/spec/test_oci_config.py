"""The config of an image: read as Docker reads it, edited without losing what is not known."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import attrs
import pytest

from container_kit._spec.digest import Digest, digest_of
from container_kit._spec.healthcheck import Healthcheck
from container_kit._spec.image_config import ImageConfig
from container_kit._spec.oci_config import (
    HistoryEntry,
    OciConfig,
    chain_ids,
    edit_oci_config,
    new_oci_config,
    parse_oci_config,
)
from container_kit._spec.paths import ContainerPath
from container_kit._spec.platform import UNKNOWN_PLATFORM, Platform, parse_platform
from container_kit.errors import ImageError, InvalidSpecError

A = Digest(f"sha256:{'a' * 64}")
B = Digest(f"sha256:{'b' * 64}")
ROOTFS = {"type": "layers", "diff_ids": [A]}


def parse(config: object = None, **document: Any) -> OciConfig:
    """Parse a document with this section `config`."""
    whole = {"architecture": "amd64", "os": "linux", "rootfs": ROOTFS, "config": config, **document}
    return parse_oci_config(json.dumps(whole).encode(), what="x")


def test_config_as_docker_writes_it_is_read() -> None:
    """Field by field."""
    image = parse(
        {
            "User": "app:app",
            "ExposedPorts": {"80/tcp": {}, "53/udp": {}},
            "Env": ["PATH=/bin", "EMPTY=", "TWO=1=2", "PATH=/usr/bin"],
            "Entrypoint": ["/entry"],
            "Cmd": ["a", "b"],
            "ArgsEscaped": True,
            "Image": "sha256:x",
            "Volumes": {"/data": {}},
            "WorkingDir": "/srv/",
            "Labels": {"b": None, "a": "1"},
            "StopSignal": "SIGQUIT",
            "Shell": ["/bin/bash", "-c"],
            "OnBuild": ["RUN x"],
            "Healthcheck": {"Test": ["CMD-SHELL", "curl x"], "Interval": 1500000000, "Retries": 5, "Timeout": 0},
        },
        variant="v2",
        created="2026-01-01T00:00:00Z",
        author="me",
        container_config={"Cmd": ["other"]},
        history=[{"created_by": "ADD x", "created": "2026-01-01T00:00:00Z"}, {"empty_layer": True, "comment": "c"}],
    )

    expected = ImageConfig(
        env=(("PATH", "/usr/bin"), ("EMPTY", ""), ("TWO", "1=2")),
        entrypoint=("/entry",),
        command=("a", "b"),
        working_dir=ContainerPath("/srv"),
        user="app:app",
        stop_signal=3,
        labels=(("a", "1"), ("b", "")),
        healthcheck=Healthcheck(("/bin/bash", "-c", "curl x"), interval=1.5, retries=5),
        architecture="amd64",
    )
    assert expected == image.config
    assert image.platform == Platform(os="linux", architecture="amd64", variant="v2")
    assert (image.created, image.author) == ("2026-01-01T00:00:00Z", "me")
    assert (image.exposed_ports, image.volumes) == (("53/udp", "80/tcp"), ("/data",))
    assert (image.command_shell, image.on_build) == (("/bin/bash", "-c"), ("RUN x",))
    assert image.diff_ids == (A,)
    assert image.history == (
        HistoryEntry(created="2026-01-01T00:00:00Z", created_by="ADD x"),
        HistoryEntry(empty_layer=True, comment="c"),
    )


@pytest.mark.parametrize("config", [None, {}, dict.fromkeys(["Cmd", "Env", "User", "Labels", "Healthcheck"])])
def test_absent_and_null_are_nothing(config: object) -> None:
    """As for Docker."""
    assert parse(config).config == ImageConfig(architecture="amd64")


def one(field: str, value: object) -> ImageConfig:
    """Return the config that a section with one field gives."""
    return parse({field: value}).config


def test_what_docker_tolerates_is_tolerated() -> None:
    """Old tools wrote many forms."""
    assert one("Entrypoint", "").entrypoint == ()
    assert one("Entrypoint", [""]).entrypoint == ()
    assert one("Cmd", "top").command == ("top",)
    assert one("Cmd", ["sh", ""]).command == ("sh", "")
    assert one("cmd", ["lower"]).command == ("lower",)
    assert one("User", 1000).user == "1000"
    assert one("User", "strange user!").user == "strange user!"
    assert one("Env", ["NOVALUE", "=x", "A=1"]).env == (("A", "1"),)
    assert one("WorkingDir", "app/../srv").working_dir == "/srv"
    assert one("WorkingDir", "/a/../../b//./c/").working_dir == "/b/c"
    assert one("WorkingDir", "..").working_dir == "/"
    assert one("StopSignal", "15").stop_signal == one("StopSignal", 15).stop_signal == 15
    assert one("StopSignal", "RTMIN+3").stop_signal == 37
    assert one("StopSignal", "NONSENSE").stop_signal is None
    assert one("Volumes", None).labels == ()


@pytest.mark.parametrize(
    ("check", "expected"),
    [
        ({"Test": ["NONE"]}, Healthcheck.none()),
        ({"Test": ["CMD", "a", "b"]}, Healthcheck(("a", "b"))),
        ({"Test": ["CMD-SHELL", "a b"]}, Healthcheck.shell("a b")),
        ({"Test": ["CMD"]}, None),
        ({"Test": []}, None),
        ({"Interval": 5}, None),
        ({"Test": ["OTHER", "x"]}, None),
        ({"Test": ["CMD", "a"], "StartPeriod": 10**9, "StartInterval": 10**6}, None),
    ],
)
def test_healthcheck_is_read_in_nanoseconds(check: dict[str, Any], expected: Healthcheck | None) -> None:
    """Zero and nothing are the defaults; what is no check is none."""
    found = one("Healthcheck", check).healthcheck

    if "StartPeriod" in check:
        expected = Healthcheck(("a",), start_period=1.0, start_interval=0.001)
    assert expected == found


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ("x", "config must be an object"),
        ("", "config must be an object"),
        ([], "config must be an object"),
        (False, "config must be an object"),
        ({"Volumes": []}, "config.Volumes must be an object"),
        ({"Healthcheck": {"Test": ["CMD", "a"], "Timeout": False}}, "config.Healthcheck.Timeout must be a whole"),
        ({"Healthcheck": {"Test": ["CMD", "a"], "Timeout": ""}}, "config.Healthcheck.Timeout must be a whole"),
        ({"Cmd": ["a\0"]}, r"config: .*image command\[0\].*NUL"),
        ({"Env": ["A=\0"]}, "config: .*env A.*NUL"),
        ({"Env": ["A\nB=1"]}, "config: .*env name.*newline"),
        ({"Env": "A=1"}, "config.Env must be a list"),
        ({"Env": [1]}, r"config.Env\[0\] must be a string"),
        ({"Cmd": [1]}, r"config.Cmd\[0\] must be a string"),
        ({"Cmd": {}}, "config.Cmd must be a list"),
        ({"Cmd": ["a"], "CMD": ["b"]}, "config.Cmd is ambiguous: it is there twice"),
        ({"User": "a\nb"}, "config: .*image user.*newline"),
        ({"User": True}, "config.User must be a string"),
        ({"WorkingDir": "/a\0"}, "config: .*working_dir.*NUL"),
        ({"WorkingDir": 1}, "config.WorkingDir must be a string"),
        ({"Labels": {"a": 1}}, "config.Labels.a must be a string"),
        ({"Labels": {"a\nb": "1"}}, "config: .*labels key.*newline"),
        ({"Labels": ["a"]}, "config.Labels must be an object"),
        ({"StopSignal": []}, "config.StopSignal must be a string"),
        ({"Volumes": ["/a"]}, "config.Volumes must be an object"),
        ({"Volumes": {"/a\n": {}}}, "config.Volumes has the key"),
        ({"ExposedPorts": {"": {}}}, "config.ExposedPorts has the key"),
        ({"Healthcheck": []}, "config.Healthcheck must be an object"),
        ({"Healthcheck": {"Test": "x"}}, "config.Healthcheck.Test must be a list"),
        ({"Healthcheck": {"Test": ["CMD", "a"], "Interval": "5s"}}, "config.Healthcheck.Interval must be a whole"),
        ({"Healthcheck": {"Test": ["CMD", "a"], "Interval": 1}}, "config: .*healthcheck interval"),
        ({"Healthcheck": {"Test": ["CMD", "a"], "Retries": -1}}, "config: .*healthcheck retries"),
    ],
)
def test_what_no_process_can_be_given_is_refused(config: object, reason: str) -> None:
    """The field is named."""
    with pytest.raises(ImageError, match=reason) as caught:
        parse(config)

    assert caught.value.image == "x"


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        ({"rootfs": None}, "rootfs is missing"),
        ({"rootfs": {"type": "layers+base"}}, "rootfs.type must be 'layers'"),
        ({"rootfs": {"diff_ids": ["sha256:x"]}}, r"rootfs.diff_ids\[0\]"),
        ({"rootfs": {"diff_ids": [A] * 128}}, "rootfs.diff_ids are 128, more than 127"),
        ({"RootFS": ROOTFS}, "rootfs is ambiguous: it is there twice"),
        ({"history": {}}, "history must be a list"),
        ({"history": [{"empty_layer": 1}]}, r"history\[0\].empty_layer must be true or false"),
        ({"history": [{"created_by": 1}]}, r"history\[0\].created_by must be a string"),
        ({"created": 5}, "created must be a string"),
        ({"os": []}, "os must be a string"),
    ],
)
def test_malformed_document_is_refused(document: dict[str, Any], reason: str) -> None:
    """The field is named."""
    with pytest.raises(ImageError, match=reason):
        parse(**document)


def test_platform_of_old_images_is_unknown() -> None:
    """Docker's first images name neither system nor architecture."""
    old = parse_oci_config(json.dumps({"rootfs": ROOTFS}).encode(), what="x")

    assert old.platform == Platform(os="linux", architecture="unknown")
    assert old.config.architecture is None
    assert parse(architecture="a b").platform == UNKNOWN_PLATFORM


def test_history_may_disagree_with_the_layers() -> None:
    """Some tools write no history at all; it is only for people."""
    image = parse(history=[{"created_by": "a"}, {"created_by": "b"}])

    assert (len(image.history), len(image.diff_ids)) == (2, 1)


def test_edit_keeps_what_is_not_known() -> None:
    """At every depth, and under the spelling that the document has."""
    image = parse(
        {"Cmd": ["a"], "Tty": True, "env": ["BAD", "A=1"]},
        docker_version="1.2",
        history=[{"created_by": "a", "x": 1}],
        rootfs={**ROOTFS, "y": 2},
    )

    edited = edit_oci_config(
        image,
        image=attrs.evolve(image.config, command=("b",)),
        add_layers=[(B, HistoryEntry(created_by="mine", empty_layer=True))],
        created="2026-01-01T00:00:00Z",
    )

    document = json.loads(edited.raw)
    assert document["config"] == {"Cmd": ["b"], "Tty": True, "env": ["BAD", "A=1"]}
    assert document["docker_version"] == "1.2"
    assert document["rootfs"] == {"type": "layers", "diff_ids": [A, B], "y": 2}
    assert document["history"] == [{"created_by": "a", "x": 1}, {"created_by": "mine"}]
    assert edited.config.command == ("b",)
    assert edited.diff_ids == (A, B)
    assert edited.created == "2026-01-01T00:00:00Z"


def test_edit_replaces_other_spellings_of_what_it_changes() -> None:
    """Or there would be two of it."""
    image = parse({"cmd": ["a"]})

    edited = edit_oci_config(image, image=attrs.evolve(image.config, command=()))

    assert json.loads(edited.raw)["config"] == {}
    assert edited.config.command == ()


def test_edit_that_changes_nothing_returns_the_same_config() -> None:
    """The image keeps its id, however it was written."""
    image = parse({"Cmd": "a", "StopSignal": "15", "Healthcheck": {"Test": ["CMD", "a"]}}, history=None)

    same = edit_oci_config(image, image=attrs.evolve(image.config, architecture=None), volumes=[], command_shell=[])

    assert same is image


def test_parts_can_be_taken_away() -> None:
    """An empty text or sequence does it, None does not."""
    image = new_oci_config(
        parse_platform("linux/arm/v7"),
        image=ImageConfig(command=("a",)),
        volumes=["/data"],
        exposed_ports=["80/tcp"],
        layers=[(A, HistoryEntry(created_by="a"))],
        created="2026-01-01T00:00:00Z",
        author="me",
    )

    edited = edit_oci_config(image, volumes=[], exposed_ports=[], history=[], created="", author="")

    assert (edited.volumes, edited.exposed_ports, edited.history) == ((), (), ())
    assert (edited.created, edited.author) == (None, "")
    assert (edited.config, edited.diff_ids) == (image.config, image.diff_ids)


def test_new_config_is_deterministic() -> None:
    """Same arguments, same digest."""
    made = [
        new_oci_config(
            parse_platform("linux/arm64/v8"),
            image=ImageConfig(env=(("A", "1"),), stop_signal=37, healthcheck=Healthcheck.shell("x", interval=0.5)),
            layers=[(A, HistoryEntry(created_by="a"))],
        )
        for _ in range(2)
    ]

    assert made[0].raw == made[1].raw
    assert (
        made[0].raw
        == (
            '{"architecture":"arm64","config":{"Env":["A=1"],"Healthcheck":{"Interval":500000000,"Test":["CMD-SHELL","x"]},'
            f'"StopSignal":"37"}},"history":[{{"created_by":"a"}}],"os":"linux",'
            f'"rootfs":{{"diff_ids":["{A}"],"type":"layers"}},"variant":"v8"}}'
        ).encode()
    )
    assert str(made[0].platform) == "linux/arm64/v8"


def test_edit_refuses_what_cannot_be_written() -> None:
    """Too many layers, NUL, and bytes that JSON cannot hold."""
    image = parse()

    with pytest.raises(ImageError, match="more than 127"):
        edit_oci_config(image, add_layers=[(B, HistoryEntry())] * 127)
    with pytest.raises(InvalidSpecError, match="NUL"):
        edit_oci_config(image, author="a\0")
    with pytest.raises(InvalidSpecError, match="NUL"):
        edit_oci_config(image, volumes=["/a\0"])
    with pytest.raises(InvalidSpecError, match="one line"):
        edit_oci_config(image, volumes=["/a\n"])
    with pytest.raises(InvalidSpecError, match="not UTF-8"):
        edit_oci_config(image, image=ImageConfig(command=("\udcff",)))


def test_chain_id_is_the_digest_of_the_chain_below() -> None:
    """As config.md defines it."""
    second = f"sha256:{hashlib.sha256(f'{A} {B}'.encode()).hexdigest()}"

    assert chain_ids([A, B, A]) == (A, second, digest_of(f"{second} {A}".encode()))
    assert chain_ids([]) == ()
