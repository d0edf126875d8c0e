"""Plans and settings as the bytes that travel to the monitor: the request of `_native/ckit.h`.

A request is a header, a table of sections, and the sections: settings, the plan, and
the plan of a health probe. `decode` reads steps back.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Iterable
from typing import Final, Protocol

from container_kit._plan import wire
from container_kit._plan.ops import Step
from container_kit._plan.settings import MonitorSettings

MAGIC: Final = 0x31544B43
VERSION: Final = 1
MAX_SECTIONS: Final = 4

_HEADER = struct.Struct("=IIII")
_SECTION = struct.Struct("=IIII")
_TABLE_SIZE = _HEADER.size + MAX_SECTIONS * _SECTION.size


class Section(enum.IntEnum):
    """What a section holds."""

    SETTINGS = 1
    PLAN = 2
    HEALTH = 3


class Plan(Protocol):
    """Anything that is a list of steps."""

    @property
    def steps(self) -> tuple[Step, ...]:
        """All steps in order."""
        ...


def encode_steps(steps: Iterable[Step]) -> bytes:
    """Return steps as bytes, one after another."""
    return b"".join([step.encoded for step in steps])


def encode_request(settings: MonitorSettings, plan: Plan, health: Plan | None = None) -> bytes:
    """Return the whole request that starts a monitor.

    Args:
        settings: what the monitor does besides running the plan.
        plan: what init walks through.
        health: the exec plan of the health probe, if there is one.
    """
    sections = [(Section.SETTINGS, 0, wire.pack_record(settings)), _plan_section(Section.PLAN, plan)]
    if health is not None:
        sections.append(_plan_section(Section.HEALTH, health))
    return _join(sections)


def encode_exec_request(plan: Plan) -> bytes:
    """Return the request that asks a running monitor for one more process."""
    return _join([_plan_section(Section.PLAN, plan)])


def _plan_section(kind: Section, plan: Plan) -> tuple[Section, int, bytes]:
    steps = plan.steps
    return kind, len(steps), encode_steps(steps)


def _join(sections: list[tuple[Section, int, bytes]]) -> bytes:
    offset = _TABLE_SIZE
    table: list[bytes] = []
    contents: list[bytes] = []
    for kind, count, data in sections:
        padding = -len(data) % 8
        table.append(_SECTION.pack(kind, offset, len(data), count))
        contents += (data, bytes(padding))
        offset += len(data) + padding
    unused = bytes(_SECTION.size * (MAX_SECTIONS - len(sections)))
    return b"".join((_HEADER.pack(MAGIC, VERSION, offset, len(sections)), *table, unused, *contents))
