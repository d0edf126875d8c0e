"""Limits of a single process (getrlimit(2))."""

from __future__ import annotations

import attrs

from container_kit.errors import InvalidSpecError

UNLIMITED = 2**64 - 1

# asm-generic/resource.h: the same numbers on x86-64 and arm64.
_RLIMITS = (
    "cpu", "fsize", "data", "stack", "core", "rss", "nproc", "nofile",
    "memlock", "as", "locks", "sigpending", "msgqueue", "nice", "rtprio", "rttime",
)  # fmt: skip


def _limit_of(value: int) -> int:
    return _check_limit(value)


def _check_limit(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not -1 <= value <= UNLIMITED:
        reason = "must be a number of at least 0, or -1 for no limit"
        raise InvalidSpecError(field="ulimits", value=value, reason=reason)
    return UNLIMITED if value == -1 else value


def _soft_of(ulimit: Ulimit) -> int:
    return ulimit.soft


@attrs.frozen
class Ulimit:
    """A resource limit: `Ulimit("nofile", 1024)` or `Ulimit("nofile", 1024, 2048)`; -1 means UNLIMITED.

    `hard` is `soft` unless given.
    """

    name: str
    soft: int = attrs.field(converter=_limit_of)
    hard: int = attrs.field(default=attrs.Factory(_soft_of, takes_self=True), converter=_limit_of)

    def __attrs_post_init__(self) -> None:
        if self.name not in _RLIMITS:
            raise InvalidSpecError(field="ulimits", value=self.name, reason=f"must be one of {', '.join(_RLIMITS)}")
        if self.soft > self.hard:
            reason = f"the soft limit {self.soft} is above the hard limit {self.hard}"
            raise InvalidSpecError(field=f"ulimits {self.name}", reason=reason)

    @property
    def resource(self) -> int:
        """Linux's number of the resource (RLIMIT_*)."""
        return _RLIMITS.index(self.name)
