"""Configs: what is checked when one is made."""

from __future__ import annotations

import pickle

import pytest

from container_kit._spec.container_config import ContainerConfig, ProcessConfig
from container_kit._spec.healthcheck import RestartPolicy
from container_kit._spec.image_config import ImageConfig
from container_kit._spec.mounts import Mount
from container_kit._spec.paths import ContainerPath
from container_kit._spec.ulimits import Ulimit
from container_kit.errors import InvalidCommandError, InvalidMountError, InvalidSpecError, InvalidUserError


def test_default_config_is_hashable_and_pickles() -> None:
    """A config is a value: a key of a dict, and something to send to another process."""
    config = ContainerConfig(command=("true",), mounts=(Mount.tmpfs("/run"),), ulimits=(Ulimit("core", 0),))

    assert hash(config) == hash(pickle.loads(pickle.dumps(config)))  # noqa: S301  # our own bytes
    assert config == pickle.loads(pickle.dumps(config))  # noqa: S301


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"command": ("a\0b",)}, "command[0]"),
        ({"command": ("a", 5)}, "command[1]"),
        ({"command": "ls"}, "command"),
        ({"entrypoint": ("\ud800",)}, "entrypoint[0]"),
        ({"env": (("A=B", "c"),)}, "env name"),
        ({"env": (("", "c"),)}, "env name"),
        ({"env": (("A\nB", "c"),)}, "env name"),
        ({"env": (("A", "b\0c"),)}, "env A"),
        ({"env": (("A", "1"), ("A", "2"))}, "env"),
        ({"labels": (("", "x"),)}, "labels key"),
        ({"labels": (("a\nb", "x"),)}, "labels key"),
        ({"working_dir": "srv"}, "working_dir"),
        ({"working_dir": "/a/../b"}, "working_dir"),
        ({"working_dir": "/a//b"}, "working_dir"),
        ({"hostname": "a b"}, "hostname"),
        ({"domainname": "a b"}, "domainname"),
        ({"tty_size": (0, 80)}, "tty_size"),
        ({"tty_size": (24, 80, 1)}, "tty_size"),
        ({"shm_size": 0}, "shm_size"),
        ({"stop_signal": 65}, "stop_signal"),
        ({"stop_timeout": -1.0}, "stop_timeout"),
        ({"stop_timeout": float("nan")}, "stop_timeout"),
        ({"network": "bridge"}, "network"),
        ({"extra_hosts": (("db", "not an address"),)}, "extra_hosts db"),
        ({"extra_hosts": (("d b", "10.0.0.1"),)}, "extra_hosts name"),
        ({"ulimits": (Ulimit("core", 0), Ulimit("core", 1))}, "ulimits"),
        ({"remove": True, "restart": RestartPolicy.always()}, "remove"),
        ({"sysctls": (("kernel.core_pattern", "|/x"),)}, "sysctls"),
        ({"sysctls": (("net.ipv4.ip_forward", "1\n2"),)}, "sysctls net.ipv4.ip_forward"),
        ({"sysctls": (("net/ipv4/ip_forward", "1"),)}, "sysctls"),
        ({"sysctls": (("net.ipv4..ip_forward", "1"),)}, "sysctls"),
        ({"sysctls": (("net.core.somaxconn", "1"),), "network": "host"}, "sysctls"),
    ],
)
def test_invalid_config_cannot_exist(fields: dict[str, object], field: str) -> None:
    """Every check names the field that is wrong."""
    with pytest.raises(InvalidSpecError) as caught:
        ContainerConfig(**fields)  # type: ignore[arg-type]

    assert field == caught.value.field


def test_secret_in_environment_is_not_shown() -> None:
    """An error about a variable shows its name only: messages end up in logs."""
    with pytest.raises(InvalidSpecError) as caught:
        ContainerConfig(env=(("TOKEN", "hunter2\0"),))

    assert "hunter2" not in str(caught.value)


def test_arguments_and_values_may_have_newlines() -> None:
    """A script and a certificate have several lines."""
    config = ContainerConfig(command=("sh", "-c", "a\nb"), env=(("PEM", "x\ny"),))

    assert config.command[2] == "a\nb"


def test_arguments_may_be_bytes_that_are_not_utf8() -> None:
    """Surrogate escapes stand for such bytes (PEP 383)."""
    assert ContainerConfig(command=("caf\udce9",)).command == ("caf\udce9",)


def test_namespaced_parameters_are_allowed() -> None:
    """What belongs to the container's own namespaces is the container's to set."""
    sysctls = (("net.core.somaxconn", "5"), ("kernel.shmmax", "1"), ("fs.mqueue.msg_max", "2"))

    assert sysctls == ContainerConfig(sysctls=sysctls).sysctls


def test_mount_target_given_twice_is_refused() -> None:
    """One would hide the other."""
    with pytest.raises(InvalidMountError, match="twice"):
        ContainerConfig(mounts=(Mount.tmpfs("/run"), Mount.bind("/srv", "/run/")))


def test_user_is_checked() -> None:
    """A malformed user is found before anything is started."""
    with pytest.raises(InvalidUserError):
        ContainerConfig(user="-1")
    with pytest.raises(InvalidUserError):
        ContainerConfig(groups=("audio", "-1"))


def test_label_can_be_replaced() -> None:
    """A change is a new value."""
    config = ContainerConfig(labels=(("a", "1"), ("b", "2")))

    assert config.with_label("a", "3").labels == (("b", "2"), ("a", "3"))
    assert config.labels == (("a", "1"), ("b", "2"))


def test_process_needs_a_command() -> None:
    """Nothing of the image stands in for it."""
    with pytest.raises(InvalidCommandError):
        ProcessConfig(command=())


def test_strange_user_of_an_image_does_not_make_it_unreadable() -> None:
    """An image is untrusted; its user is judged when it is used, and can be overridden."""
    assert ImageConfig(user="-1").user == "-1"


@pytest.mark.parametrize(
    "fields",
    [
        {"working_dir": ContainerPath("/proc/../..")},
        {"env": (("A", "\0"),)},
        {"entrypoint": ("\0",)},
        {"command": ("\0",)},
        {"labels": (("", ""),)},
        {"user": "a\nb"},
        {"stop_signal": 0},
    ],
)
def test_image_config_is_checked_too(fields: dict[str, object]) -> None:
    """What cannot be handed to the kernel does not get past the value."""
    with pytest.raises(InvalidSpecError):
        ImageConfig(**fields)  # type: ignore[arg-type]
