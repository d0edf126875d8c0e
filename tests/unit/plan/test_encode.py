"""Requests as bytes: header, section table, sections (ckit.h, struct ck_request)."""

from __future__ import annotations

import struct

import pytest

from container_kit._plan import wire
from container_kit._plan.decode import decode_steps
from container_kit._plan.encode import encode_exec_request, encode_request, encode_steps
from container_kit._plan.flags import Namespace
from container_kit._plan.ops import Exec, Hostname, LoopbackUp, Step, Uid
from container_kit._plan.plans import ExecPlan
from container_kit._plan.settings import MonitorFlag, MonitorSettings
from container_kit._spec.paths import ContainerPath, HostPath
from tests.unit.plan.cases import execute, launch

EXEC = Exec(candidates=(ContainerPath("/bin/true"),), argv=("true",), env=("A=1",))
SETTINGS = MonitorSettings(
    flags=MonitorFlag.OWNED | MonitorFlag.LOG,
    owner_pid=42,
    namespaces=Namespace.MOUNT,
    container_dir=HostPath("/c"),
    runtime_dir=HostPath("/r"),
    dirs=("upper", "work"),
)


def _words(*numbers: int) -> bytes:
    return struct.pack(f"={len(numbers)}I", *numbers)


def test_steps_are_these_bytes() -> None:
    """The bytes of a small plan, written by hand from ckit.h."""
    plan = ExecPlan(gather=(LoopbackUp(),), confine=(Hostname(hostname="box"), Uid(uid=1000)), exec=EXEC)

    expected = b"".join(
        (
            _words(11, 8),
            _words(40, 24, 3) + b"box\0" + _words(0, 0),
            _words(45, 12, 1000),
            _words(60, 56),
            _words(1, 9) + b"/bin/true\0\0\0",
            _words(1, 4) + b"true\0\0\0\0",
            _words(1, 3) + b"A=1\0",
        )
    )

    assert expected == encode_steps(plan.steps)


def test_request_has_a_header_a_table_and_aligned_sections() -> None:
    """Every section is where the table says and is what it says."""
    plan, health = launch(), execute()

    request = encode_request(SETTINGS, plan, health)

    magic, version, size, count = struct.unpack_from("=IIII", request)
    assert (magic, version, size, count) == (0x31544B43, 1, len(request), 3)
    table = [struct.unpack_from("=IIII", request, 16 + 16 * index) for index in range(4)]
    assert [kind for kind, *_ in table] == [1, 2, 3, 0]
    assert table[3] == (0, 0, 0, 0)
    assert all(offset % 8 == 0 for _, offset, _, _ in table)
    parts = [request[offset : offset + length] for _, offset, length, _ in table[:3]]
    assert parts[0] == wire.pack_record(SETTINGS)
    assert decode_steps(parts[1], table[1][3]) == plan.steps
    assert decode_steps(parts[2], table[2][3]) == health.steps


def test_exec_request_holds_a_plan_and_nothing_else() -> None:
    """A running monitor has its settings already."""
    plan = execute()

    request = encode_exec_request(plan)

    kind, offset, size, count = struct.unpack_from("=IIII", request, 16)
    assert (kind, count) == (2, len(plan.steps))
    assert request[20 + 12 :].startswith(bytes(48))
    assert request[offset : offset + size] == encode_steps(plan.steps)


def test_settings_are_in_wire_order() -> None:
    """The record begins with flags, owner, namespaces and two paths, as CK_SETTINGS_FORMAT says."""
    packed = wire.pack_record(SETTINGS)

    assert packed.startswith(_words(0x21, 42, 2, 2) + b"/c\0\0" + _words(2) + b"/r\0\0" + _words(2, 5) + b"upper")
    assert wire.wire_format(MonitorSettings) == "uuuppSuppSuUuuUuUUuUUU"


@pytest.mark.parametrize(
    ("data", "count"),
    [
        (_words(11, 8), 2),
        (_words(11, 8, 0), 1),
        (_words(11, 12, 0), 1),
        (_words(63, 8), 1),
        (_words(45, 8, 1000), 1),
        (b"\0" * 7, 1),
    ],
)
def test_decoder_refuses_what_is_not_a_plan(data: bytes, count: int) -> None:
    """Too few steps, bytes left over, wrong sizes, unknown ops."""
    with pytest.raises(ValueError, match=r"wanted|left|says|no such op"):
        decode_steps(data, count)


def test_decoder_gives_back_flags_and_booleans_as_such() -> None:
    """What was a flag is a flag again, so that a decoded plan prints like the original."""
    steps: tuple[Step, ...] = launch().steps

    decoded = decode_steps(encode_steps(steps), len(steps))

    assert [repr(step) for step in steps] == [repr(step) for step in decoded]
