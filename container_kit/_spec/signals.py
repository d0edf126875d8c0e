"""Signals by name or number, as people write them: `TERM`, `SIGTERM`, `15`, `RTMIN+3`."""

from __future__ import annotations

import signal

from container_kit.errors import InvalidSpecError

_LAST = 64
_FIRST_REALTIME = 34  # glibc and musl keep 32 and 33 for themselves (signal(7))


def parse_signal(given: int | str, field: str = "signal") -> int:
    """Return a signal's number on Linux, 1 to 64."""
    if isinstance(given, str):
        number = _number_of(given.strip().upper().removeprefix("SIG"))
    else:
        number = -1 if isinstance(given, bool | float) else int(given)
    if not 1 <= number <= _LAST:
        raise InvalidSpecError(field=field, value=given, reason="is not a signal")
    return number


def _number_of(name: str) -> int:
    if name.isascii() and name.isdigit():
        return int(name) if len(name) <= 2 else -1
    for edge, start, sign in (("RTMIN", _FIRST_REALTIME, 1), ("RTMAX", _LAST, -1)):
        if name.startswith(edge):
            return _realtime(name.removeprefix(edge), start, sign)
    members = signal.Signals.__members__
    return int(members[f"SIG{name}"]) if f"SIG{name}" in members else -1


def _realtime(offset: str, start: int, sign: int) -> int:
    if not offset:
        return start
    wanted = "+" if sign > 0 else "-"
    if offset[0] != wanted or not (offset[1:].isascii() and offset[1:].isdigit()):
        return -1
    number = start + sign * int(offset[1:4])
    return number if _FIRST_REALTIME <= number <= _LAST else -1
