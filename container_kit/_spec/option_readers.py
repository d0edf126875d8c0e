"""How each option is read: one function an option, and the table of them.

A reader turns what a caller may write into what a config holds, and names the option in
its error. Callers without a type checker write anything, so the outer shape is checked
here; what the values themselves must satisfy is checked by the config.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from container_kit._spec.devices import Device, parse_device
from container_kit._spec.healthcheck import Healthcheck, RestartPolicy, parse_restart_policy
from container_kit._spec.ids import check_name
from container_kit._spec.log_config import LogConfig
from container_kit._spec.mounts import Mount, parse_tmpfs
from container_kit._spec.paths import parse_container_path
from container_kit._spec.resources import Resources
from container_kit._spec.security import Security
from container_kit._spec.signals import parse_signal
from container_kit._spec.sizes import parse_size
from container_kit._spec.text import Pairs, check_strings, check_text, parse_pairs
from container_kit._spec.ulimits import Ulimit
from container_kit.errors import InvalidCommandError, InvalidSpecError

T = TypeVar("T")


_PULL_POLICIES = ("missing", "always", "never", "newer")


def read_command(command: Sequence[str]) -> tuple[str, ...]:
    """Return a command's arguments; one bare string is refused, as it would be split into letters."""
    return _read_words(command, "command")


def _read_entrypoint(entrypoint: Sequence[str]) -> tuple[str, ...]:
    return _read_words(entrypoint, "entrypoint")


def _read_words(words: Sequence[str], field: str) -> tuple[str, ...]:
    if isinstance(words, str | bytes):
        hint = f"write ck.shell({words!r}) for a shell to read it, or a list of its words"
        raise InvalidCommandError(field=field, value=words, reason="must be a sequence of strings", hint=hint)
    try:
        _require_collection(words, field)
        return check_strings(words, field)
    except InvalidSpecError as error:
        raise InvalidCommandError(field=error.field, value=error.value, reason=error.reason, hint=error.hint) from None


def _pairs(field: str) -> Callable[[Mapping[str, str] | Sequence[str]], Pairs]:
    def read(value: Mapping[str, str] | Sequence[str]) -> Pairs:
        _require_collection(value, field)
        return parse_pairs(value, field)

    return read


def _mapping(field: str) -> Callable[[Mapping[str, str]], Pairs]:
    def read(value: Mapping[str, str]) -> Pairs:
        _require_collection(value, field)
        if not hasattr(value, "items"):
            raise InvalidSpecError(field=field, value=value, reason="must be a mapping")
        return parse_pairs(value, field)

    return read


def _read_user(user: object) -> str:
    if isinstance(user, bool) or not isinstance(user, str | int):
        raise InvalidSpecError(field="user", value=user, reason="must be text or a number")
    return str(user)


def _read_groups(groups: Sequence[str | int]) -> tuple[str, ...]:
    _require_collection(groups, "groups")
    return tuple(str(group) if isinstance(group, int) else check_text(group, "groups") for group in groups)


def _read_mounts(mounts: Sequence[Mount]) -> tuple[Mount, ...]:
    return _all(Mount, mounts, "mounts", "make it with Mount.bind(…) or Mount.tmpfs(…)")


def _read_tmpfs(tmpfs: Mapping[str, str] | Sequence[str]) -> tuple[Mount, ...]:
    _require_collection(tmpfs, "tmpfs")
    if isinstance(tmpfs, Mapping):
        items = [(check_text(target, "tmpfs target"), check_text(words, "tmpfs")) for target, words in tmpfs.items()]
    else:
        # Docker's one-string form: `/run:size=64m`.
        parts = [item.partition(":") for item in check_strings(tmpfs, "tmpfs")]
        items = [(target, words) for target, _, words in parts]
    return tuple(parse_tmpfs(target, words) for target, words in items)


def _read_tty_size(size: tuple[int, int]) -> tuple[int, ...]:
    return _all(int, size, "tty_size", "write (rows, columns)")


def _read_restart(restart: RestartPolicy | str) -> RestartPolicy:
    return restart if isinstance(restart, RestartPolicy) else parse_restart_policy(check_text(restart, "restart"))


def _read_ulimits(ulimits: Sequence[Ulimit] | Mapping[str, int | tuple[int, int]]) -> tuple[Ulimit, ...]:
    if isinstance(ulimits, Mapping):
        pairs = [(name, limit if isinstance(limit, tuple) else (limit,)) for name, limit in ulimits.items()]
        return tuple(Ulimit(name, *limits) for name, limits in pairs)
    return _all(Ulimit, ulimits, "ulimits", "make it with Ulimit(name, soft, hard)")


def _seconds(field: str) -> Callable[[object], float]:
    def read(seconds: object) -> float:
        if isinstance(seconds, bool) or not isinstance(seconds, int | float):
            raise InvalidSpecError(field=field, value=seconds, reason="must be a number of seconds")
        return float(seconds)

    return read


def _read_devices(devices: Sequence[str | Device]) -> tuple[Device, ...]:
    _require_collection(devices, "devices")
    texts = [parse_device(device) if isinstance(device, str) else device for device in devices]
    return _all(Device, texts, "devices", "write '/dev/NAME', '/dev/NAME:/dev/NAME:rw' or 'vendor.com/class=name'")


def _exactly(kind: type[T], words: str, field: str) -> Callable[[object], T]:
    """Return a reader that takes nothing but one type."""

    def read(value: object) -> T:
        if not isinstance(value, kind):
            raise InvalidSpecError(field=field, value=value, reason=f"must be {words}")
        return value

    return read


def _flag(field: str) -> Callable[[object], bool]:
    return _exactly(bool, "True or False", field)


def _text(field: str) -> Callable[[object], str]:
    return _exactly(str, "a string", field)


def _all(kind: type[T], values: Iterable[object], field: str, hint: str) -> tuple[T, ...]:
    _require_collection(values, field)
    found: list[T] = []
    for number, value in enumerate(values):
        if not isinstance(value, kind):
            reason = f"must be of type {kind.__name__}"
            raise InvalidSpecError(field=f"{field}[{number}]", value=value, reason=reason, hint=hint)
        found.append(value)
    return tuple(found)


def _require_collection(value: object, field: str) -> None:
    if isinstance(value, str | bytes) or not isinstance(value, Iterable):
        raise InvalidSpecError(field=field, value=value, reason="must be a sequence or a mapping, not one value")


def _read_pull(value: object) -> object:
    if value not in _PULL_POLICIES:
        raise InvalidSpecError(field="pull", value=value, reason=f"must be one of {', '.join(_PULL_POLICIES)}")
    return value


# The types a reader takes are those of `ContainerOptions`; a table of functions cannot say so.
READERS: dict[str, Callable[[Any], Any]] = {
    "name": check_name,
    "env": _pairs("env"),
    "working_dir": lambda value: parse_container_path(value, "working_dir"),
    "user": _read_user,
    "groups": _read_groups,
    "entrypoint": _read_entrypoint,
    "hostname": _text("hostname"),
    "domainname": _text("domainname"),
    "labels": _pairs("labels"),
    "mounts": _read_mounts,
    "tmpfs": _read_tmpfs,
    "stdin": _flag("stdin"),
    "tty": _flag("tty"),
    "tty_size": _read_tty_size,
    "init": _flag("init"),
    "detach": _flag("detach"),
    "remove": _flag("remove"),
    "restart": _read_restart,
    "healthcheck": _exactly(Healthcheck, "a Healthcheck", "healthcheck"),
    "stop_signal": lambda value: parse_signal(value, "stop_signal"),
    "stop_timeout": _seconds("stop_timeout"),
    "ulimits": _read_ulimits,
    "sysctls": _mapping("sysctls"),
    "shm_size": lambda value: parse_size(value, "shm_size"),
    "extra_hosts": _mapping("extra_hosts"),
    "read_only": _flag("read_only"),
    "network": _text("network"),
    "security": _exactly(Security, "a Security", "security"),
    "resources": _exactly(Resources, "a Resources", "resources"),
    "devices": _read_devices,
    "cgroup_parent": _text("cgroup_parent"),
    "time_limit": _seconds("time_limit"),
    "log": _exactly(LogConfig, "a LogConfig", "log"),
    "platform": _text("platform"),
    "pull": _read_pull,
}
