"""The device filters of an engine: loaded once for each set of rules, attached by monitors to the cgroups they make.

A filter goes with a cgroup and takes privileges on the host, so it is root's. Where there is
none, the mounts of a container keep devices out by themselves (`_plan/gather.py`): all of
them are `nodev`, but for single nodes that are bound. What that cannot hold is refused:
access to a device that is narrower than reading and writing, and CAP_SYS_ADMIN on the host,
which can make other mounts.
"""

from __future__ import annotations

import errno
import os
import threading

from container_kit._linux import shim
from container_kit._plan.device_filter import device_filter_of
from container_kit._spec.container_config import ContainerConfig
from container_kit.errors import UnsupportedHostError

REMEDY = "use a kernel with CONFIG_CGROUP_BPF and run with CAP_BPF and CAP_NET_ADMIN of the host"

_KEPT = 16
_UNAVAILABLE = (errno.EPERM, errno.EACCES, errno.ENOSYS, errno.EINVAL)


class DeviceFilters:
    """Loaded filters. Thread-safe; a child of a fork loads its own."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._owner = os.getpid()
        self._loaded: dict[bytes, int] = {}

    def open(self, program: bytes) -> int:
        """Return a descriptor of a filter, the caller's to close.

        Raises:
            OSError: the kernel does not take it.
        """
        with self._lock:
            if self._owner != os.getpid():
                self._owner, self._loaded = os.getpid(), {}  # whoever forked may have closed what it inherited
            fd = self._loaded.pop(program, -1)
            if fd < 0:
                fd = shim.load_device_filter(program)
            self._loaded[program] = fd  # the last to be given up
            if len(self._loaded) > _KEPT:
                os.close(self._loaded.pop(next(iter(self._loaded))))
            return os.dup(fd)

    def close(self) -> None:
        """Close all. Idempotent."""
        with self._lock:
            loaded, self._loaded = self._loaded, {}
            if self._owner == os.getpid():
                for fd in loaded.values():
                    os.close(fd)


def open_filter(filters: DeviceFilters, config: ContainerConfig, *, in_cgroup: bool) -> int | None:
    """Return the filter for a container of root, the caller's to close; None where it has none.

    Args:
        filters: the engine's.
        config: the container's, its devices with their present facts.
        in_cgroup: whether the container gets a cgroup.

    Raises:
        UnsupportedHostError: it has to have one, and this host cannot give it.
    """
    if config.security.is_privileged:
        return None
    refusal: OSError | None = None
    if in_cgroup:
        try:
            return filters.open(device_filter_of(config.devices))
        except OSError as err:
            if err.errno not in _UNAVAILABLE:
                raise
            refusal = err
    need = _need(config)
    if need is None:
        return None
    if refusal is None:
        reason, hint = "there are no control groups", "mount cgroup2; Engine.capabilities() says what is missing"
    else:
        reason, hint = "the kernel refuses device filters (BPF_PROG_TYPE_CGROUP_DEVICE)", REMEDY
    number = None if refusal is None else refusal.errno
    raise UnsupportedHostError(feature=need, reason=reason, errno=number, hint=hint) from refusal


def _need(config: ContainerConfig) -> str | None:
    """Return what of a config nothing but a filter can hold."""
    for device in config.devices:
        if not set("rw") <= set(device.access):
            return f"access {device.access!r} to a device"
    if "CAP_SYS_ADMIN" in config.security.capabilities and not config.security.has_own_ids:
        return "CAP_SYS_ADMIN without access to all devices"
    return None
