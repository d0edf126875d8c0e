"""Bytes back into steps: the inverse of `encode`, for tests and for reading a stored plan.

Not the parser that containers depend on: that one is C (`_native/decode.c`).
"""

from __future__ import annotations

import enum
import inspect
import typing
from collections.abc import Callable
from typing import Any, Final

import attrs

from container_kit._plan import ops
from container_kit._plan.wire import Reader

STEP_CLASSES: Final[dict[int, type[ops.Step]]] = {
    member.CODE: member
    for member in vars(ops).values()
    if inspect.isclass(member) and issubclass(member, ops.Step) and member is not ops.Step
}


def decode_steps(data: bytes, count: int) -> tuple[ops.Step, ...]:
    """Return the steps that `encode_steps` wrote.

    Raises:
        ValueError: these are not `count` steps, or something is left over.
    """
    reader = Reader(data)
    steps = tuple(_decode_step(reader) for _ in range(count))
    if not reader.at_end:
        raise ValueError(f"{len(data) - reader.position} bytes left after {count} steps")
    return steps


def _decode_step(reader: Reader) -> ops.Step:
    start = reader.position
    code, size = reader.take_number(), reader.take_number()
    if code not in STEP_CLASSES:
        raise ValueError(f"no such op: {code}")
    step_class = STEP_CLASSES[code]
    fields = {name: convert(reader.take(kind)) for name, kind, convert in _FIELDS[code]}
    if reader.position != start + size:
        raise ValueError(f"{step_class.__name__} says {size} bytes and has {reader.position - start}")
    return step_class(**fields)


def _fields_of(step_class: type[ops.Step]) -> tuple[tuple[str, str, Callable[[Any], Any]], ...]:
    types = typing.get_type_hints(step_class)
    return tuple(
        (field.name, field.metadata["wire"], _converter(types[field.name])) for field in attrs.fields(step_class)
    )


def _converter(declared: object) -> Callable[[Any], Any]:
    if isinstance(declared, type) and issubclass(declared, (enum.IntFlag, enum.IntEnum, bool)):
        return declared
    return _unchanged


def _unchanged(value: Any) -> Any:
    return value


_FIELDS: Final = {code: _fields_of(step_class) for code, step_class in STEP_CLASSES.items()}
