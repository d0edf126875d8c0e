"""Ids that one container has for itself: whether the host can give them, and which are free.

A range is claimed by an open file description lock (fcntl(2), OFD locks) on one byte of a file that all
engines of the user share. The monitor holds the descriptor, so a claim ends with its holder, however that ends;
there is nothing to clean up. The ids follow from the byte's number alone.

Root's ranges lie where systemd has those of its containers (UIDS-GIDS.md) and nobody's subordinate ids are.
A user's are a part of its subordinate ids, without those that containers of the shared user namespace
mostly have: the first, and the one with `nobody`.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from itertools import chain
from typing import Final

import attrs

from container_kit._linux import idmap
from container_kit._plan.plans import LaunchPlan
from container_kit._plan.stages import IDS_FOR_A_USER, IDS_FOR_ROOT, with_ids
from container_kit._runtime.site import Site
from container_kit._spec.capability import Capability
from container_kit._spec.container_config import ContainerConfig
from container_kit._spec.facts import HostFacts, IdMap, IdRange
from container_kit._state.home import find_runtime_parent, make_private
from container_kit.errors import UnsupportedHostError

FEATURE: Final = "user namespaces of containers' own"

_FIRST_OF_ROOT: Final = 524288
_LAST_OF_ROOT: Final = 1878982656
_COMMON_RANGES: Final = 8  # of a user's: ids that images know
_LOCK = struct.Struct("@hhqqi0q")  # struct flock


@attrs.frozen(kw_only=True)
class _Ranges:
    """Ranges numbered by `numbers`; range n has `size` ids from `start + n * size` on."""

    numbers: range
    start: int
    size: int

    def first_id(self, number: int) -> int:
        return self.start + number * self.size


def find_support(site: Site) -> Capability:
    """Say whether containers can have ids of their own here; asked once per engine."""
    if site.own_ids is None:
        site.own_ids = _support_for_users(site.id_map) if site.facts.rootless else _support_for_root(site)
    return site.own_ids


def find_lack(site: Site, config: ContainerConfig) -> Capability | None:
    """Return what keeps a container from having the ids of its own that its config asks for; None: nothing."""
    if not config.security.has_own_ids:
        return None
    support = find_support(site)
    if not support:
        return support
    if site.facts.rootless and not config.read_only:
        reason = "an unprivileged user cannot give a writable root to a container with ids of its own"
        return Capability(name=FEATURE, available=False, reason=reason, remedy="read_only=True, or run as root")
    if not site.facts.rootless and site.cgroup_parent is None and "CAP_SYS_ADMIN" in config.security.capabilities:
        # Who may mount can take "nodev" away from the root, and an image may have device nodes.
        reason = "without control groups nothing keeps a container with CAP_SYS_ADMIN from devices of the host"
        return Capability(name=FEATURE, available=False, reason=reason, remedy="mount a cgroup2 file system")
    return None


@contextmanager
def claimed(site: Site, container_id: str, plan: LaunchPlan) -> Generator[tuple[LaunchPlan, int | None]]:
    """Give a plan the ids of a range that nobody has, if it wants some, and a descriptor that keeps them claimed.

    The descriptor is closed at the end: whoever is to hold the ids has inherited it by then.

    Raises:
        UnsupportedHostError: all ranges are taken.
    """
    if plan.ids is None:
        yield plan, None
        return
    ranges = _ranges_of(site)
    fd = _open_claims()
    try:
        number = _claim(fd, _free_numbers(site, ranges, start=int(container_id[:8], 16)))
        if number is None:
            raise _all_taken(len(ranges.numbers))
        yield with_ids(plan, ranges.first_id(number)), fd
    finally:
        os.close(fd)


def facts_of_running(site: Site, config: ContainerConfig, init_pid: int) -> HostFacts:
    """Return the facts as a running container meets them: with the ids that its namespace has.

    Raises:
        FileNotFoundError, ProcessLookupError: it has ended.
    """
    if not config.security.has_own_ids:
        return site.facts
    uids, gids = (_read_map(f"/proc/{init_pid}/{name}") for name in ("uid_map", "gid_map"))
    return attrs.evolve(site.facts, id_map=IdMap(uids=uids, gids=gids))


def _read_map(path: str) -> tuple[IdRange, ...]:
    # What the ids are outside does not matter to a plan, and would be another key of its cache.
    with open(path, encoding="ascii") as file:
        lines = (line.split() for line in file)
        return tuple(IdRange(int(inside), 0, int(size)) for inside, _, size in lines)


def _ranges_of(site: Site) -> _Ranges:
    if not site.facts.rootless:
        numbers = range(_FIRST_OF_ROOT // IDS_FOR_ROOT, _LAST_OF_ROOT // IDS_FOR_ROOT)
        return _Ranges(numbers=numbers, start=0, size=IDS_FOR_ROOT)
    count = _ids_of_a_user(site.id_map) // IDS_FOR_A_USER
    return _Ranges(numbers=range(min(_COMMON_RANGES, count // 4), max(count - 1, 1)), start=1, size=IDS_FOR_A_USER)


def _ids_of_a_user(id_map: IdMap) -> int:
    """Return how many ids there are besides root."""
    return min(sum(r.size for r in ranges) for ranges in (id_map.uids, id_map.gids)) - 1


def _free_numbers(site: Site, ranges: _Ranges, *, start: int) -> Iterator[int]:
    """Give a container's ranges in the order in which it tries them."""
    given_out = () if site.facts.rootless else idmap.subordinate_ranges()
    at = start % len(ranges.numbers)
    for number in chain(ranges.numbers[at:], ranges.numbers[:at]):
        begin, end = ranges.first_id(number), ranges.first_id(number + 1)
        if not any(first < end and begin < first + count for first, count in given_out):
            yield number


def _open_claims() -> int:
    parent = find_runtime_parent(os.geteuid(), None)  # one for all of the user's processes, whatever their environment
    make_private(parent)
    return os.open(f"{parent}/id-ranges", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)


def _claim(fd: int, numbers: Iterable[int]) -> int | None:
    for number in numbers:
        try:
            fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _LOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, number, 1, 0))
        except OSError as err:
            if err.errno not in (errno.EAGAIN, errno.EACCES):
                raise
        else:
            return number
    return None


def _all_taken(count: int) -> UnsupportedHostError:
    return UnsupportedHostError(
        feature="one more container with ids of its own",
        reason=f"all {count} ranges of ids are in use",
        hint="end some of them; a user may be given more subordinate ids in /etc/subuid and /etc/subgid",
    )


def _support_for_users(id_map: IdMap) -> Capability:
    count = _ids_of_a_user(id_map)
    if count >= IDS_FOR_A_USER:
        return Capability(name=FEATURE, available=True, reason=f"{IDS_FOR_A_USER} of {count} subordinate ids for each")
    reason = f"they take {IDS_FOR_A_USER} subordinate ids, this user has {count}"
    remedy = "install newuidmap, and as root: usermod --add-subuids 100000-165535 --add-subgids 100000-165535 USER"
    return Capability(name=FEATURE, available=False, reason=reason, remedy=remedy)


def _support_for_root(site: Site) -> Capability:
    from container_kit._runtime.probes import find_id_mapped_overlay_error  # costly to load, rarely asked

    error = find_id_mapped_overlay_error(site)
    if not error:
        return Capability(name=FEATURE, available=True, reason=f"{IDS_FOR_ROOT} ids for each, by id-mapped mounts")
    reason = f"the file system of {site.home.root} or this kernel has no id-mapped mounts: {os.strerror(error)}"
    remedy = "Linux 5.19, and ext4, xfs or btrfs for the engine's directory"
    return Capability(name=FEATURE, available=False, reason=reason, remedy=remedy)
