"""How the fields of a step or of the settings are written as bytes and read back.

Theory of operation: every field of a record names its kind in attrs metadata
(`{"wire": "p"}`). A record is its fields, packed one after another; there are no
names and no tags, because both ends know the class. This module knows the kinds and
nothing about the classes. The other half is the comment "a step" in `_native/ckit.h`.
Integers are host-endian: both ends are on the same machine.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from functools import cache, lru_cache
from typing import Any, Final, TypeAlias

import attrs

SLOT: Final = "s"
U32: Final = "u"
U64: Final = "U"
PATH: Final = "p"
BYTES: Final = "b"
STRINGS: Final = "S"

_U32 = struct.Struct("=I")
_U64 = struct.Struct("=Q")
_SHORT = 128
_PADDING = (bytes(4), bytes(3), bytes(2), bytes(1))

# Kernel text is bytes; what is not UTF-8 travels through Python as surrogates (PEP 383).
_ERRORS = "surrogateescape"


def on_wire(kind: str) -> dict[str, str]:
    """Return the metadata that gives a field of a record its kind."""
    return {"wire": kind}


Packer: TypeAlias = Callable[[Any], bytes]


def pack_bytes(data: bytes) -> bytes:
    """Pack a length, the bytes, and one to four zeros up to a multiple of 4."""
    size = len(data)
    return _U32.pack(size) + data + _PADDING[size % 4]


def pack_text(text: str) -> bytes:
    """Pack text; C reads it as a string, so it may hold no NUL."""
    return _pack_often(text) if len(text) <= _SHORT else _pack_text(text)


def _pack_text(text: str) -> bytes:
    data = text.encode() if text.isascii() else text.encode("utf-8", _ERRORS)
    if b"\0" in data:
        raise ValueError(f"NUL in {text!r}")
    size = len(data)
    return _U32.pack(size) + data + _PADDING[size % 4]


# Names and paths of one launch are mostly those of the last one.
_pack_often = lru_cache(maxsize=2048)(_pack_text)


def pack_strings(items: Sequence[str]) -> bytes:
    """Pack a count and that many texts."""
    return _U32.pack(len(items)) + b"".join([pack_text(item) for item in items])


_PACKERS: Final[dict[str, Packer]] = {
    SLOT: _U32.pack,
    U32: _U32.pack,
    U64: _U64.pack,
    PATH: pack_text,
    BYTES: pack_bytes,
    STRINGS: pack_strings,
}


@cache
def _packers_of(record: type[attrs.AttrsInstance]) -> tuple[tuple[str, Packer], ...]:
    return tuple((field.name, _PACKERS[field.metadata["wire"]]) for field in attrs.fields(record))


def wire_format(record: type[attrs.AttrsInstance]) -> str:
    """Return the kinds of a record's fields in order, as ckit.h writes them."""
    return "".join(field.metadata["wire"] for field in attrs.fields(record))


def pack_record(record: attrs.AttrsInstance) -> bytes:
    """Pack all fields of a record in order.

    Raises:
        ValueError: a text holds a NUL.
        struct.error: a number does not fit.
    """
    return b"".join([pack(getattr(record, name)) for name, pack in _packers_of(type(record))])


@attrs.define
class Reader:
    """Takes fields off the front of a buffer; anything unexpected is a `ValueError`."""

    data: bytes
    position: int = 0

    def take(self, kind: str) -> int | bytes | str | tuple[str, ...]:
        """Take one field of this kind."""
        match kind:
            case "s" | "u":
                return self.take_number(_U32)
            case "U":
                return self.take_number(_U64)
            case "p":
                return self._take_text()
            case "b":
                return self._take_bytes()
            case "S":
                return tuple(self._take_text() for _ in range(self.take_number(_U32)))
            case _:
                raise ValueError(f"no such kind of field: {kind!r}")

    def take_number(self, layout: struct.Struct = _U32) -> int:
        """Take one integer, 32 bits unless said otherwise."""
        (number,) = layout.unpack(self._take(layout.size))
        return int(number)

    @property
    def at_end(self) -> bool:
        """Say whether everything was taken."""
        return self.position == len(self.data)

    def _take(self, size: int) -> bytes:
        end = self.position + size
        if end > len(self.data):
            raise ValueError(f"{size} bytes wanted at {self.position}, {len(self.data)} there")
        piece = self.data[self.position : end]
        self.position = end
        return piece

    def _take_bytes(self) -> bytes:
        size = self.take_number()
        data = self._take(size)
        padding = self._take(4 - size % 4)
        if any(padding):
            raise ValueError(f"padding before {self.position} is not zero")
        return data

    def _take_text(self) -> str:
        data = self._take_bytes()
        if 0 in data:
            raise ValueError(f"NUL in a text before {self.position}")
        return data.decode("utf-8", _ERRORS)
