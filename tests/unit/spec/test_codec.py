"""Configs as JSON."""

from __future__ import annotations

import json

import pytest

from container_kit._spec.codec import (
    decode_config,
    decode_image_config,
    decode_root_filesystem,
    encode_config,
    encode_image_config,
    encode_root_filesystem,
)
from container_kit._spec.container_config import ContainerConfig
from container_kit._spec.healthcheck import Healthcheck, RestartPolicy
from container_kit._spec.image_config import ImageConfig
from container_kit._spec.log_config import LogConfig
from container_kit._spec.mounts import Mount
from container_kit._spec.paths import ContainerPath, HostPath
from container_kit._spec.root_filesystem import OverlayLayers, RootFilesystem
from container_kit._spec.security import SeccompMode, Security
from container_kit._spec.ulimits import Ulimit
from container_kit.errors import InvalidSpecError

FULL = ContainerConfig(
    command=("sh", "-c", "caf\udce9\n"),
    entrypoint=(),
    env=(("A", "b=c"), ("ünï", "☃")),
    working_dir=ContainerPath("/srv"),
    user="1000:audio",
    groups=("5",),
    hostname="web",
    domainname="example.org",
    labels=(("app", "x"),),
    stdin=True,
    tty=True,
    tty_size=(50, 120),
    init=True,
    mounts=(Mount.bind("/srv", "/srv", read_only=True, propagation="rslave"), Mount.tmpfs("/run", size="1m")),
    read_only=True,
    shm_size=1,
    ulimits=(Ulimit("nofile", 5, -1),),
    sysctls=(("net.core.somaxconn", "5"),),
    extra_hosts=(("db", "10.0.0.1"),),
    stop_signal=1,
    stop_timeout=2.5,
    restart=RestartPolicy.on_failure(3),
    healthcheck=Healthcheck(("true",), retries=5),
    network="none",
    security=Security(cap_add=("NET_RAW",), seccomp=SeccompMode.UNCONFINED, masked_paths=()),
    log=LogConfig(max_files=1),
    detach=True,
    remove=False,
)


def test_config_survives() -> None:
    """Everything that can be asked for comes back as it was."""
    assert FULL == decode_config(encode_config(FULL))


def test_image_config_survives() -> None:
    """Every field of an image's config comes back."""
    image = ImageConfig(
        env=(("A", "b"),),
        entrypoint=("/e",),
        command=("c",),
        working_dir=ContainerPath("/w"),
        user="u",
        stop_signal=2,
        labels=(("a", "b"),),
        healthcheck=Healthcheck.none(),
        architecture="amd64",
    )

    assert image == decode_image_config(encode_image_config(image))


def test_root_filesystem_survives() -> None:
    """Overlays keep their order and their layers."""
    root = RootFilesystem(
        overlays=(
            OverlayLayers(target=ContainerPath("/"), lowers=(HostPath("/a"), HostPath("/b"))),
            OverlayLayers(target=ContainerPath("/usr"), lowers=(HostPath("/usr"),)),
        )
    )

    assert root == decode_root_filesystem(encode_root_filesystem(root))


def test_only_what_differs_from_the_default_is_written() -> None:
    """Rows stay small, and defaults can change."""
    assert json.loads(encode_config(ContainerConfig())) == {}
    assert json.loads(encode_config(ContainerConfig(command=("true",), init=True))) == {
        "command": ["true"],
        "init": True,
    }


def test_none_and_empty_are_different() -> None:
    """An empty entrypoint means none at all, an absent one means the image's."""
    assert decode_config(encode_config(ContainerConfig(entrypoint=()))).entrypoint == ()
    assert decode_config(encode_config(ContainerConfig())).entrypoint is None


def test_text_is_ascii() -> None:
    """Whatever stores it cannot stumble over characters."""
    assert encode_config(FULL).isascii()


def test_unknown_keys_are_ignored() -> None:
    """A newer version may have written more."""
    text = '{"command":["a"],"teleport":true,"mounts":[{"kind":"tmpfs","target":"/x","shape":"round"}]}'

    config = decode_config(text)

    assert (("a",), "/x") == (config.command, config.mounts[0].target)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "5",
        "null",
        '{"command":5}',
        '{"env":[["A"]]}',
        '{"env":5}',
        '{"mounts":[5]}',
        '{"restart":{"kind":"x"}}',
        '{"tty_size":5}',
        '{"mounts":[{}]}',
        '{"user":"-1"}',
        "[" * 100_000,
        '{"labels":[[1,2]]}',
        '{"security":[]}',
    ],
)
def test_damaged_text_is_a_typed_error(text: str) -> None:
    """A flipped bit on disk must not become a traceback from within."""
    with pytest.raises(InvalidSpecError):
        decode_config(text)
