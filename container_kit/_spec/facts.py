"""What the host offers, as values: filled by `_linux`, read by `_plan`.

Not a probe: nothing here touches the system (see `_linux/probe.py` for that).
"""

from __future__ import annotations

import enum

import attrs

from container_kit._spec.paths import ContainerPath


class OverlayForm(enum.IntEnum):
    """How overlay lower directories are named to the kernel; see NEW_OVERLAY in ckit.h."""

    FD = 1
    APPEND = 2
    JOINED = 3


@attrs.frozen
class IdRange:
    """`size` ids from `inside` (container) on are those from `outside` (host) on (user_namespaces(7))."""

    inside: int
    outside: int
    size: int


@attrs.frozen(kw_only=True)
class IdMap:
    """The uid and gid maps of a user namespace."""

    uids: tuple[IdRange, ...]
    gids: tuple[IdRange, ...]

    @classmethod
    def identity(cls) -> IdMap:
        """Return the map of the initial namespace: every id is itself."""
        everything = (IdRange(0, 0, 2**32 - 1),)
        return cls(uids=everything, gids=everything)

    def has_uid(self, uid: int) -> bool:
        """Say whether a uid exists inside."""
        return _covers(self.uids, uid)

    def has_gid(self, gid: int) -> bool:
        """Say whether a gid exists inside."""
        return _covers(self.gids, gid)


def _covers(ranges: tuple[IdRange, ...], number: int) -> bool:
    return any(r.inside <= number < r.inside + r.size for r in ranges)


EVERY_CAPABILITY = 2**64 - 1


@attrs.frozen(kw_only=True)
class HostFacts:
    """What launch plans depend on; found once per engine.

    `thermal_throttle` are the directories that stand behind `THERMAL_THROTTLE`, one for each CPU that has it;
    `capabilities` is a mask of what root here can give, which is not everything inside another container.
    """

    kernel: tuple[int, int]
    machine: str
    rootless: bool
    id_map: IdMap
    overlay_form: OverlayForm
    resolv_conf: bytes = b""
    thermal_throttle: tuple[ContainerPath, ...] = ()
    capabilities: int = EVERY_CAPABILITY

    @property
    def may_set_groups(self) -> bool:
        """False in a single-id user namespace, where setgroups(2) is denied (user_namespaces(7))."""
        return not self.rootless or sum(r.size for r in self.id_map.gids) > 1
