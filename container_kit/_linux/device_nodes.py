"""Device nodes of the host: what a name stands for, and which there are.

Not who may use them: that is `_plan/device_filter.py`.
"""

from __future__ import annotations

import errno
import itertools
import os
import stat
from collections.abc import Iterable, Iterator
from typing import Literal

import attrs

from container_kit._spec.devices import Device
from container_kit._spec.paths import ContainerPath, HostPath
from container_kit.errors import InvalidSpecError

_DEV = "/dev"
# Every container has these of its own.
_OWN = frozenset(
    f"{_DEV}/{name}"
    for name in "null zero full random urandom tty ptmx console fd stdin stdout stderr pts shm mqueue".split()
)
_LARGEST_DIRECTORY = 4096


def find_nodes(devices: Iterable[Device]) -> tuple[Device, ...]:
    """Return devices with their facts; a directory, such as /dev/dri, stands for every node below it.

    Raises:
        InvalidSpecError: there is no such device, or it is something else.
    """
    return tuple(node for device in devices for node in _nodes_of(device))


def find_all_nodes(openable_by: Literal["root", "caller", "everyone"]) -> tuple[Device, ...]:
    """Return the nodes of the host's /dev but those that a container has of its own.

    Args:
        openable_by: who must be able to open them for reading and writing; a container with ids of its own is not
            their owner and not in their group.
    """
    found: list[Device] = []
    for path in sorted(_paths_below(_DEV)):
        info = _look(path)
        if info is not None and _is_openable(path, info, openable_by):
            found.append(_with_facts(Device(source=HostPath(path), target=ContainerPath(path)), info))
    return tuple(found)


def _is_openable(path: str, info: os.stat_result, by: Literal["root", "caller", "everyone"]) -> bool:
    match by:
        case "root":
            return True
        case "caller":
            return os.access(path, os.R_OK | os.W_OK)
        case "everyone":
            return info.st_mode & 0o006 == 0o006


def _nodes_of(device: Device) -> Iterator[Device]:
    info = _stat(device)
    if not stat.S_ISDIR(info.st_mode):
        yield _with_facts(device, info)
        return
    paths = list(itertools.islice(_paths_below(device.source), _LARGEST_DIRECTORY + 1))
    if len(paths) > _LARGEST_DIRECTORY:
        raise _refused(device, f"is a directory with more than {_LARGEST_DIRECTORY} files")
    nodes = [(path, found) for path in sorted(paths) if (found := _look(path)) is not None]
    if not nodes:
        raise _refused(device, "is a directory without devices")
    for path, found in nodes:
        target = ContainerPath(device.target + path.removeprefix(device.source.rstrip("/")))
        yield _with_facts(attrs.evolve(device, source=HostPath(path), target=target), found)


def _paths_below(directory: str) -> Iterator[str]:
    for place, directories, files in os.walk(directory):
        directories[:] = [name for name in directories if f"{place}/{name}" not in _OWN]
        yield from (f"{place}/{name}" for name in files if f"{place}/{name}" not in _OWN)


def _look(path: str) -> os.stat_result | None:
    """Return what is known of a node; None for anything else, symlinks included."""
    try:
        info = os.lstat(path)
    except OSError:
        return None  # it is gone meanwhile
    return info if _is_node(info) else None


def _stat(device: Device) -> os.stat_result:
    try:
        return os.stat(device.source)
    except OSError as err:
        reason = os.strerror(err.errno or errno.EIO).lower()
        hint = "is the driver's module loaded? see lsmod(8)" if err.errno == errno.ENOENT else None
        raise InvalidSpecError(field="devices", value=str(device.source), reason=reason, hint=hint) from err


def _is_node(info: os.stat_result) -> bool:
    return stat.S_ISCHR(info.st_mode) or stat.S_ISBLK(info.st_mode)


def _with_facts(device: Device, info: os.stat_result) -> Device:
    if not _is_node(info):
        raise _refused(device, "is no device")
    return attrs.evolve(
        device,
        kind="b" if stat.S_ISBLK(info.st_mode) else "c",
        major=os.major(info.st_rdev),
        minor=os.minor(info.st_rdev),
        mode=stat.S_IMODE(info.st_mode),
    )


def _refused(device: Device, reason: str) -> InvalidSpecError:
    hint = "files and directories are shown with mounts=[Mount.bind(…)]"
    return InvalidSpecError(field="devices", value=str(device.source), reason=reason, hint=hint)
