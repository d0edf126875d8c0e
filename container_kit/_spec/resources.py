"""Amounts and limits: sizes in bytes and resource limits (getrlimit(2))."""

from __future__ import annotations

import re

import attrs

from container_kit._spec.text import check_line
from container_kit.errors import InvalidSpecError

UNLIMITED = 2**64 - 1

_UNITS = {"": 0, "k": 10, "m": 20, "g": 30, "t": 40, "p": 50}
_SIZE = re.compile(r"(\d+(?:\.\d+)?) ?([kmgtp]?)(?:i?b)?", re.ASCII)
_LARGEST = 2**63 - 1

# asm-generic/resource.h: the same numbers on x86-64 and arm64.
_RLIMITS = (
    "cpu", "fsize", "data", "stack", "core", "rss", "nproc", "nofile",
    "memlock", "as", "locks", "sigpending", "msgqueue", "nice", "rtprio", "rttime",
)  # fmt: skip


def parse_size(size: int | str, field: str = "size") -> int:
    """Return bytes from a number or from text such as `64m`, `1.5 GiB`; units are powers of 1024, as in Docker."""
    if isinstance(size, bool):
        raise InvalidSpecError(field=field, value=size, reason="must be a number of bytes or text such as '64m'")
    if isinstance(size, int):
        return _checked(size, size, field)
    match = _SIZE.fullmatch(check_line(size, field).strip().lower())
    if match is None:
        raise InvalidSpecError(field=field, value=size, reason="must be a number of bytes or text such as '64m'")
    number, unit = match.groups()
    scale = 1 << _UNITS[unit]
    return _checked(int(float(number) * scale) if "." in number else int(number) * scale, size, field)


def _checked(size: int, given: int | str, field: str) -> int:
    if not 0 <= size <= _LARGEST:
        raise InvalidSpecError(field=field, value=given, reason="must be between 0 and 2**63-1 bytes")
    return size


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
