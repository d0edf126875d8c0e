"""Everything a container, or a further process in one, was asked to be.

A config is what was *asked for*: where it is silent the image's config speaks, and the
two meet in the plan. It is checked when it is made, so one that exists can be compiled.
Checks look at what differs from the default only; making a small config is cheap.
"""

from __future__ import annotations

from collections import Counter
from typing import Literal, TypeAlias, get_args

import attrs

from container_kit._spec.devices import Device
from container_kit._spec.healthcheck import Healthcheck, RestartKind, RestartPolicy, check_seconds
from container_kit._spec.ids import check_hostname
from container_kit._spec.log_config import LogConfig
from container_kit._spec.mounts import Mount
from container_kit._spec.paths import ContainerPath, check_container_path
from container_kit._spec.resources import Resources
from container_kit._spec.sandbox import check_sandboxed
from container_kit._spec.security import Security
from container_kit._spec.sysctls import check_sysctls
from container_kit._spec.text import Pairs, check_env, check_labels, check_line, check_strings
from container_kit._spec.ulimits import Ulimit
from container_kit._spec.users import parse_group, parse_user
from container_kit.errors import InvalidCommandError, InvalidMountError, InvalidSpecError

NetworkMode: TypeAlias = Literal["none", "host"]

DEFAULT_SHM_SIZE = 64 << 20
DEFAULT_TTY_SIZE = (24, 80)

_NO_RESTART, _SECURITY, _LOG, _RESOURCES = RestartPolicy(), Security(), LogConfig(), Resources()


@attrs.frozen(kw_only=True)
class ProcessConfig:
    """A further process in a running container: what `exec` was asked for."""

    command: tuple[str, ...]
    env: Pairs = ()
    working_dir: ContainerPath | None = None
    user: str | None = None
    groups: tuple[str, ...] = ()
    tty: bool = False
    tty_size: tuple[int, int] = DEFAULT_TTY_SIZE
    detach: bool = False

    def __attrs_post_init__(self) -> None:
        if not self.command:
            raise InvalidCommandError(field="command", reason="must not be empty")
        _check_process(self)


@attrs.frozen(kw_only=True)
class ContainerConfig:
    """A container as it was asked for. `None` leaves a choice to the image; times are seconds, sizes bytes.

    `entrypoint=()` means none at all. `tty_size` is (rows, columns). `remove=None`: an
    owned container is removed when its owner lets go, a detached one stays. `cgroup_parent` is a
    path below the cgroup2 mount; `time_limit` ends a run that lasts longer.
    """

    command: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] | None = None
    env: Pairs = ()
    working_dir: ContainerPath | None = None
    user: str | None = None
    groups: tuple[str, ...] = ()
    hostname: str | None = None
    domainname: str = ""
    labels: Pairs = ()
    stdin: bool = False
    tty: bool = False
    tty_size: tuple[int, int] = DEFAULT_TTY_SIZE
    init: bool = False
    mounts: tuple[Mount, ...] = ()
    read_only: bool = False
    shm_size: int = DEFAULT_SHM_SIZE
    ulimits: tuple[Ulimit, ...] = ()
    sysctls: Pairs = ()
    extra_hosts: Pairs = ()
    stop_signal: int | None = None
    stop_timeout: float = 10.0
    restart: RestartPolicy = _NO_RESTART
    healthcheck: Healthcheck | None = None
    network: NetworkMode = "none"
    security: Security = _SECURITY
    resources: Resources = _RESOURCES
    devices: tuple[Device, ...] = ()
    cgroup_parent: str | None = None
    time_limit: float | None = None
    log: LogConfig = _LOG
    detach: bool = False
    remove: bool | None = None

    def __attrs_post_init__(self) -> None:
        _check_process(self)
        _check_system(self)
        _check_lifetime(self)
        if self.security.sandbox is not None:
            check_sandboxed(self)

    def with_label(self, key: str, value: str) -> ContainerConfig:
        """Return this config with one label set."""
        return attrs.evolve(self, labels=(*((k, v) for k, v in self.labels if k != key), (key, value)))


def _check_process(config: ContainerConfig | ProcessConfig) -> None:
    if config.command:
        check_strings(config.command, "command")
    if config.env:
        check_env(config.env)
    if config.working_dir is not None:
        check_container_path(config.working_dir, "working_dir")
    if config.user is not None:
        parse_user(config.user)
    for group in config.groups:
        parse_group(group)
    if config.tty_size != DEFAULT_TTY_SIZE:
        check_tty_size(config.tty_size)


def _check_system(config: ContainerConfig) -> None:
    if config.entrypoint:
        check_strings(config.entrypoint, "entrypoint")
    if config.hostname is not None:
        check_hostname(config.hostname)
    if config.domainname:
        check_hostname(config.domainname, "domainname")
    if config.labels:
        check_labels(config.labels)
    _check_host_parts(config)
    if config.network not in get_args(NetworkMode):
        raise InvalidSpecError(field="network", value=config.network, reason="must be 'none' or 'host'")
    if config.sysctls:
        check_sysctls(config.sysctls, network_is_private=config.network != "host")
    if config.extra_hosts:
        _check_hosts(config.extra_hosts)


def _check_host_parts(config: ContainerConfig) -> None:
    if config.mounts:
        _check_once(tuple(mount.target for mount in config.mounts), "mounts")
    if config.ulimits:
        _check_once(tuple(ulimit.name for ulimit in config.ulimits), "ulimits")
    if config.devices:
        _check_once(tuple(device.target for device in config.devices), "devices")
    if config.cgroup_parent is not None:
        check_cgroup_path(config.cgroup_parent)


def _check_lifetime(config: ContainerConfig) -> None:
    if not 0 < config.shm_size < 2**63:
        raise InvalidSpecError(field="shm_size", value=config.shm_size, reason="must be at least one byte")
    if config.stop_signal is not None and not 1 <= config.stop_signal <= 64:
        raise InvalidSpecError(field="stop_signal", value=config.stop_signal, reason="is not a signal")
    check_seconds(config.stop_timeout, "stop_timeout")
    if config.time_limit is not None:
        check_seconds(config.time_limit, "time_limit")
        if config.time_limit < 0.001:
            reason = "must be at least a millisecond"
            raise InvalidSpecError(field="time_limit", value=config.time_limit, reason=reason)
    if config.remove and config.restart.kind is not RestartKind.NO:
        reason = f"contradicts restart={str(config.restart)!r}: what is removed cannot be started again"
        raise InvalidSpecError(field="remove", value=True, reason=reason)


def check_cgroup_path(path: str) -> None:
    """Raise unless this names a cgroup below the cgroup2 mount, as /proc/self/cgroup does: `/user.slice/a` or `a/b`."""
    parts = check_line(path, "cgroup_parent").strip("/").split("/")
    if any(part in ("", ".", "..") or len(part.encode()) > 255 for part in parts):
        reason = "must name a cgroup, without '.', '..' or parts of more than 255 bytes"
        raise InvalidSpecError(field="cgroup_parent", value=path, reason=reason)


def check_tty_size(size: tuple[int, ...]) -> None:
    """Raise unless a terminal can have this size (rows, columns)."""
    if len(size) != 2 or not all(1 <= side <= 65535 for side in size):
        raise InvalidSpecError(field="tty_size", value=size, reason="must be (rows, columns), each 1 to 65535")


def _check_once(keys: tuple[str, ...], field: str) -> None:
    twice = [key for key, count in Counter(keys).items() if count > 1]
    if twice:
        kind = InvalidMountError if field == "mounts" else InvalidSpecError
        raise kind(field=field, value=twice[0], reason="is given twice", hint="each of them once")


def _check_hosts(hosts: Pairs) -> None:
    from ipaddress import ip_address  # slow to import, and few containers have extra hosts

    for name, address in hosts:
        check_hostname(name, "extra_hosts name")
        try:
            ip_address(address)
        except ValueError as error:
            reason = "is not an IP address"
            raise InvalidSpecError(field=f"extra_hosts {name}", value=address, reason=reason) from error
