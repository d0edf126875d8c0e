"""Options as callers write them."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import attrs
import pytest

from container_kit._spec.container_config import ContainerConfig, ProcessConfig
from container_kit._spec.devices import parse_device
from container_kit._spec.healthcheck import Healthcheck, RestartPolicy
from container_kit._spec.log_config import LogConfig
from container_kit._spec.mounts import Mount
from container_kit._spec.option_readers import READERS
from container_kit._spec.options import (
    ABOUT_THE_IMAGE,
    ContainerOptions,
    ProcessOptions,
    parse_env_file,
    parse_options,
    parse_process_options,
)
from container_kit._spec.resources import Resources
from container_kit._spec.security import Security
from container_kit._spec.ulimits import Ulimit
from container_kit.errors import InvalidCommandError, InvalidNameError, InvalidSpecError, UnknownOptionError


def loose(**options: object) -> ContainerOptions:
    """Return options that a type checker would not let through."""
    return cast("ContainerOptions", options)


def test_no_options_are_the_default_config() -> None:
    """Nothing is asked for but the command."""
    assert ContainerConfig(command=("true",)) == parse_options(["true"], {})
    assert ContainerConfig() == parse_options(None, {})


def test_every_option_reaches_the_config() -> None:
    """Loose public types become the exact ones of the config."""
    config = parse_options(
        ["sh"],
        {
            "name": "web",
            "env": {"A": "1"},
            "working_dir": Path("/srv"),
            "user": 1000,
            "groups": [5, "audio"],
            "entrypoint": ["/entry"],
            "hostname": "web",
            "domainname": "example.org",
            "labels": ["app=x", "empty="],
            "mounts": [Mount.bind("/srv", "/srv")],
            "tmpfs": {"/run": "size=1m"},
            "stdin": True,
            "tty": True,
            "tty_size": (50, 120),
            "init": True,
            "detach": True,
            "remove": False,
            "restart": "on-failure:2",
            "healthcheck": Healthcheck.shell("true"),
            "stop_signal": "HUP",
            "stop_timeout": 5,
            "ulimits": {"nofile": (1024, 2048), "core": 0},
            "sysctls": {"net.core.somaxconn": "5"},
            "shm_size": "1g",
            "extra_hosts": {"db": "10.0.0.1"},
            "read_only": True,
            "network": "none",
            "security": Security.docker(),
            "resources": Resources(pids=9),
            "devices": ["/dev/fuse:rw"],
            "cgroup_parent": "/some.slice",
            "time_limit": 7,
            "log": LogConfig(max_files=1),
        },
    )

    expected = ContainerConfig(
        command=("sh",),
        env=(("A", "1"),),
        working_dir=config.working_dir,
        user="1000",
        groups=("5", "audio"),
        entrypoint=("/entry",),
        hostname="web",
        domainname="example.org",
        labels=(("app", "x"), ("empty", "")),
        mounts=(Mount.bind("/srv", "/srv"), Mount.tmpfs("/run", size="1m")),
        stdin=True,
        tty=True,
        tty_size=(50, 120),
        init=True,
        detach=True,
        remove=False,
        restart=RestartPolicy.on_failure(2),
        healthcheck=Healthcheck.shell("true"),
        stop_signal=1,
        stop_timeout=5.0,
        ulimits=(Ulimit("nofile", 1024, 2048), Ulimit("core", 0)),
        sysctls=(("net.core.somaxconn", "5"),),
        shm_size=1 << 30,
        extra_hosts=(("db", "10.0.0.1"),),
        read_only=True,
        security=Security.docker(),
        resources=Resources(pids=9),
        devices=(parse_device("/dev/fuse:rw"),),
        cgroup_parent="/some.slice",
        time_limit=7.0,
        log=LogConfig(max_files=1),
    )
    assert expected == config
    assert config.working_dir == "/srv"


def test_options_and_config_and_readers_name_the_same_things() -> None:
    """An option nobody reads, or a field nobody can set, is a mistake."""
    fields = {field.name for field in attrs.fields(ContainerConfig)}
    options = set(ContainerOptions.__optional_keys__)

    assert fields - {"command"} == options - {"name", "env_file", "tmpfs", *ABOUT_THE_IMAGE}
    assert options - {"env_file"} == set(READERS)
    process = {field.name for field in attrs.fields(ProcessConfig)}
    assert process - {"command"} == set(ProcessOptions.__optional_keys__)


def test_none_is_as_good_as_absent() -> None:
    """Faces on top can pass their own defaults through."""
    nothing = dict.fromkeys(ContainerOptions.__optional_keys__)

    assert ContainerConfig() == parse_options(None, loose(**nothing))


@pytest.mark.parametrize("command", ["ls -l", b"ls", 5])
def test_bare_string_is_refused_and_the_remedy_named(command: object) -> None:
    """A string would be split into its letters."""
    with pytest.raises(InvalidCommandError) as caught:
        parse_options(command, {})  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]

    assert isinstance(caught.value, TypeError)
    if isinstance(command, str):
        assert f"ck.shell({command!r})" in (caught.value.hint or "")


def test_unknown_option_names_its_neighbours() -> None:
    """A misspelt option is never ignored."""
    with pytest.raises(UnknownOptionError) as caught:
        parse_options(["true"], loose(memroy=5, mount=[]))
    with pytest.raises(UnknownOptionError, match="did you mean 'mounts'"):
        parse_options(["true"], loose(mount=[]))

    assert isinstance(caught.value, TypeError)
    assert caught.value.value == "memroy"


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("env", "A=1"),
        ("env", {"A": 5}),
        ("env", ["A"]),
        ("env", 5),
        ("working_dir", "srv"),
        ("user", 1.5),
        ("user", True),
        ("groups", "audio"),
        ("entrypoint", "/entry"),
        ("hostname", 5),
        ("labels", "a=b"),
        ("mounts", Mount.tmpfs("/x")),
        ("mounts", ["/srv:/srv"]),
        ("tmpfs", "/run"),
        ("tmpfs", ["run"]),
        ("stdin", 1),
        ("tty", "yes"),
        ("tty_size", "24x80"),
        ("tty_size", ("24", "80")),
        ("restart", 5),
        ("healthcheck", "curl localhost"),
        ("stop_signal", "TREM"),
        ("stop_timeout", "10"),
        ("ulimits", ["nofile=5"]),
        ("ulimits", {"nofile": "5"}),
        ("sysctls", ["net.core.somaxconn=5"]),
        ("shm_size", "lots"),
        ("extra_hosts", ["db:10.0.0.1"]),
        ("read_only", 0),
        ("network", "bridge"),
        ("security", "default"),
        ("log", "10m"),
    ],
)
def test_wrong_kind_of_value_is_refused_by_name(option: str, value: object) -> None:
    """Callers without a type checker get an error that names the option."""
    with pytest.raises(InvalidSpecError) as caught:
        parse_options(["true"], loose(**{option: value}))

    assert option in caught.value.field or option in str(caught.value)


def test_name_is_checked() -> None:
    """It is not part of the config, but wrong ones are found at once."""
    with pytest.raises(InvalidNameError):
        parse_options(["true"], {"name": "a b"})


def test_tmpfs_may_be_text_with_a_colon() -> None:
    """Docker's `--tmpfs /run:size=1m`."""
    config = parse_options(["true"], {"tmpfs": ["/run:size=1m", "/tmp"]})

    assert (Mount.tmpfs("/run", size="1m"), Mount.tmpfs("/tmp")) == config.mounts


def test_later_environment_files_win_and_env_wins_over_all() -> None:
    """What is written in the program is the last word."""
    config = parse_options(["true"], {"env": ["C=env"]}, env_file_text=("A=1\nB=1\nC=1", "B=2"))

    assert (("A", "1"), ("B", "2"), ("C", "env")) == config.env


def test_environment_file_follows_dockers_grammar() -> None:
    """Comments and bare names are skipped, quotes are part of the value."""
    text = '\ufeff# comment\nA=1\r\n\n  B="x y" # z\nHOME\nC==\n#D=1\n'

    assert (("A", "1"), ("B", '"x y" # z'), ("C", "=")) == parse_env_file(text)


def test_process_options_are_read() -> None:
    """The same readers serve a further process."""
    config = parse_process_options(["id"], {"user": 5, "env": {"A": "b"}, "tty": True, "working_dir": "/srv"})

    assert ("5", (("A", "b"),), True, "/srv") == (config.user, config.env, config.tty, config.working_dir)
    with pytest.raises(UnknownOptionError):
        parse_process_options(["id"], cast("ProcessOptions", {"restart": "no"}))
    with pytest.raises(InvalidCommandError):
        parse_process_options([], {})
