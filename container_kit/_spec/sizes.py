"""Amounts of bytes as people write them."""

from __future__ import annotations

import re

from container_kit._spec.text import check_line
from container_kit.errors import InvalidSpecError

_UNITS = {"": 0, "k": 10, "m": 20, "g": 30, "t": 40, "p": 50}
_SIZE = re.compile(r"(\d+(?:\.\d+)?) ?([kmgtp]?)(?:i?b)?", re.ASCII)
_LARGEST = 2**63 - 1


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
