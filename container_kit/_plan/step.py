"""What all steps of a plan have in common: a number, fields with wire kinds, and their bytes."""

from __future__ import annotations

import struct
from functools import cached_property
from typing import ClassVar

import attrs

from container_kit._plan import wire

_HEADER = struct.Struct("=II")


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Step:
    """What all steps have in common. Comparison and `repr` are written once: generating them imports slowly."""

    CODE: ClassVar[int]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Step) and (self is other or self.encoded == other.encoded)

    def __hash__(self) -> int:
        return hash(self.encoded)

    def __repr__(self) -> str:
        shown = (f"{field.name}={getattr(self, field.name)!r}" for field in attrs.fields(type(self)) if field.repr)
        return f"{type(self).__name__}({', '.join(shown)})"

    @classmethod
    def wire_format(cls) -> str:
        """Return the field kinds in order, as ckit.h writes them."""
        return wire.wire_format(cls)

    @cached_property
    def encoded(self) -> bytes:
        """The step as bytes, header included; kept, because most steps are the same in every launch."""
        fields = wire.pack_record(self)
        return _HEADER.pack(self.CODE, _HEADER.size + len(fields)) + fields
