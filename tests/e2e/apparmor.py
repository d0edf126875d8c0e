"""AppArmor policies for tests, compiled by hand: what apparmor_parser would write for profiles without a single rule.

The format is that of the kernel's security/apparmor/policy_unpack.c: a tag, and for names and texts a length.
"""

from __future__ import annotations

import struct

ENFORCE, COMPLAIN = 0, 1
_VERSION = 5
_NUMBER, _NAME, _TEXT, _STRUCT, _STRUCT_END = 2, 4, 5, 7, 8


def compile_policy(profile: str, mode: int) -> bytes:
    """Return the policy of one profile: it allows nothing, or, in complain mode, logs what it would not allow."""
    flags = (_tag(_STRUCT), _number(0), _number(mode), _number(0), _tag(_STRUCT_END))
    capabilities = _number(0) * 4
    return b"".join(
        (
            *(_text(_NAME, "version"), _number(_VERSION)),
            *(_text(_NAME, "profile"), _tag(_STRUCT), _text(_TEXT, profile)),
            *(_text(_NAME, "flags"), *flags),
            capabilities,
            _tag(_STRUCT_END),
        )
    )


def _tag(code: int) -> bytes:
    return bytes((code,))


def _number(value: int) -> bytes:
    return struct.pack("<BI", _NUMBER, value)


def _text(code: int, text: str) -> bytes:
    data = text.encode() + b"\0"
    return struct.pack("<BH", code, len(data)) + data
