"""The one parser (decode.c): what it accepts, what it refuses, and that it agrees with the Python half."""

from __future__ import annotations

import errno
import random
import struct
import subprocess
import typing
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs
import pytest

from container_kit._linux import shim
from container_kit._plan import encode, ops
from container_kit._plan.settings import MonitorSettings
from container_kit._plan.wire import wire_format
from tests.unit.native.harness import HERE, Steps, compile_program

MUTATIONS = 200_000
SAMPLES: dict[str, object] = {
    "s": 5,
    "u": 0o755,
    "U": 2**63 + 1,
    "p": "some/path",
    "b": b"by\0tes\xff",
    "S": ("one", "", "three=3"),
}


def op_classes() -> Iterator[type[ops.Step]]:
    """Give every op there is."""
    for value in vars(ops).values():
        if isinstance(value, type) and issubclass(value, ops.Step) and value is not ops.Step:
            yield value


def sample(record: type[attrs.AttrsInstance]) -> typing.Any:
    """Return an instance with something in every field."""
    return record(**{field.name: SAMPLES[field.metadata["wire"]] for field in attrs.fields(record)})


def samples() -> tuple[ops.Step, ...]:
    """Return one step of every op."""
    return tuple(sample(cls) for cls in op_classes())


def settings() -> MonitorSettings:
    """Return settings with something in every field."""
    made = sample(MonitorSettings)
    assert isinstance(made, MonitorSettings)
    return made


def request() -> bytes:
    """Return a request with all sections."""
    return encode.encode_request(settings(), Steps(samples()), Steps(samples()[:3]))


def is_refused(steps: bytes, count: int) -> bool:
    """Say whether the parser refuses a plan; it has one errno for that."""
    return _refuses(lambda: shim.check_plan(steps, count))


def request_is_refused(data: bytes) -> bool:
    """Say whether the parser refuses a request."""
    return _refuses(lambda: shim.check_request(data))


def _refuses(check: Callable[[], None]) -> bool:
    try:
        check()
    except OSError as err:
        if err.errno != errno.EBADMSG:
            raise
        return True
    return False


# ── both halves say the same ─────────────────────────────────────────────────────────────────────


def test_ops_have_the_same_formats_in_both_halves() -> None:
    """Every op code has the fields that its class has, and there are no others."""
    python = {cls.CODE: wire_format(cls) for cls in op_classes()}
    native = {code: shim.op_format(code) for code in range(shim.constant("CK_OP_LIMIT") + 64)}

    assert python == {code: text for code, text in native.items() if text is not None}


def test_settings_have_the_same_format_in_both_halves() -> None:
    """The settings record is field by field the one of ckit.h."""
    assert shim.settings_format() == wire_format(MonitorSettings)


def test_numbers_are_the_same_in_both_halves() -> None:
    """Magic, version, section table."""
    assert shim.constant("CK_MAGIC") == encode.MAGIC
    assert shim.constant("CK_VERSION") == encode.VERSION
    assert shim.constant("CK_MAX_SECTIONS") == encode.MAX_SECTIONS
    assert shim.constant("CK_SIZE_OF_REQUEST") == 16 + 4 * shim.constant("CK_SIZE_OF_SECTION")
    assert shim.constant("CK_FD_COUNT") == shim.MONITOR_FDS


def test_everything_python_encodes_is_accepted() -> None:
    """One step of each op, alone and together, and whole requests with any sections."""
    for step in samples():
        shim.check_plan(encode.encode_steps([step]), 1)
    shim.check_plan(encode.encode_steps(samples()), len(samples()))
    shim.check_plan(b"", 0)
    shim.check_request(request())
    shim.check_request(encode.encode_exec_request(Steps(samples())))


# ── lies ─────────────────────────────────────────────────────────────────────────────────────────


def test_truncated_plan_is_refused_wherever_it_ends() -> None:
    """Every proper beginning of a plan is refused under its own count."""
    data = encode.encode_steps(samples())

    assert [n for n in range(len(data)) if not is_refused(data[:n], len(samples()))] == []


def test_truncated_request_is_refused_wherever_it_ends() -> None:
    """Also when its header tells the size it is cut to."""
    data = request()
    honest = [data[:8] + struct.pack("=I", n) + data[12:n] for n in range(12, len(data) - 7)]

    assert [n for n in range(len(data)) if not request_is_refused(data[:n])] == []
    assert [len(cut) for cut in honest if not request_is_refused(cut)] == []


def test_wrong_count_of_steps_is_refused() -> None:
    """Too many, too few and far too many."""
    data, count = encode.encode_steps(samples()), len(samples())

    assert all(is_refused(data, n) for n in (0, count - 1, count + 1, 4097, 2**32 - 1))
    assert is_refused(encode.encode_steps([ops.LoopbackUp()] * 4097), 4097)


@pytest.mark.parametrize("delta", [-8, -4, -1, 1, 4, 8, 2**31])
def test_step_that_lies_about_its_size_is_refused(delta: int) -> None:
    """Neither a shorter nor a longer step passes, in any op."""
    for step in samples():
        data = encode.encode_steps([step, ops.Ready()])
        code, size = struct.unpack_from("=II", data)
        lie = struct.pack("=II", code, (size + delta) % 2**32) + data[8:]

        assert is_refused(lie, 2), step


@pytest.mark.parametrize("code", [0, 15, 19, 61, 64, 2**32 - 1])
def test_unknown_op_is_refused(code: int) -> None:
    """An op that this executor does not know is no step."""
    assert is_refused(struct.pack("=II", code, 8), 1)


def step_of(code: int, *fields: bytes) -> bytes:
    """Return a step from raw fields."""
    body = b"".join(fields)
    return struct.pack("=II", code, 8 + len(body)) + body


def u32(*numbers: int) -> bytes:
    """Return numbers as the wire has them."""
    return struct.pack(f"={len(numbers)}I", *numbers)


@pytest.mark.parametrize(
    "step",
    [
        pytest.param(step_of(20, u32(128)), id="slot out of range"),
        pytest.param(step_of(20, u32(2**32 - 1)), id="slot minus one"),
        pytest.param(step_of(50, u32(3), b"a\0b\0"), id="NUL in a path"),
        pytest.param(step_of(50, u32(4), b"abcd"), id="no NUL at the end"),
        pytest.param(step_of(50, u32(1), b"a\0\0x"), id="padding that is not zero"),
        pytest.param(step_of(50, u32(2**32 - 1), b"a\0\0\0"), id="length that wraps"),
        pytest.param(step_of(50, u32(2**32 - 4), b"a\0\0\0"), id="padded length that wraps"),
        pytest.param(step_of(50, u32(5), b"a\0\0\0"), id="length beyond the step"),
        pytest.param(step_of(50, u32(1), b"a\0\0\0", u32(0)), id="trailing bytes"),
        pytest.param(step_of(60, u32(2**32 - 1), u32(0), u32(0)), id="too many strings"),
        pytest.param(step_of(60, u32(1), u32(0), u32(0)), id="strings short of one"),
        pytest.param(step_of(60, u32(1, 3), b"a\0b\0", u32(0, 0)), id="NUL in a string"),
        pytest.param(step_of(43, u32(2), b"abcd", b"\1\0\0\0"), id="bytes without their NUL"),
    ],
)
def test_malformed_field_is_refused(step: bytes) -> None:
    """Bounds, terminators and padding are checked in every field."""
    assert is_refused(step, 1)


def test_bytes_may_hold_anything() -> None:
    """A NUL is refused in a path, not in a byte string."""
    assert not is_refused(step_of(43, u32(3), b"a\0b\0"), 1)


def patched(offset: int, value: int) -> bytes:
    """Return the request with one word of its header changed."""
    data = bytearray(request())
    struct.pack_into("=I", data, offset, value)
    return bytes(data)


@pytest.mark.parametrize(
    ("offset", "value"),
    [
        pytest.param(0, 0x31544B44, id="magic"),
        pytest.param(4, 2, id="version"),
        pytest.param(8, 2**32 - 1, id="size"),
        pytest.param(12, 5, id="more sections than there are"),
        pytest.param(12, 2, id="a section that is not counted"),
        pytest.param(16, 9, id="kind"),
        pytest.param(16, 2, id="the same kind twice"),
        pytest.param(20, 84, id="offset not aligned"),
        pytest.param(20, 8, id="offset in the header"),
        pytest.param(20, 2**32 - 8, id="offset beyond the end"),
        pytest.param(24, 2**32 - 8, id="size beyond the end"),
        pytest.param(36, 80, id="sections that overlap"),
        pytest.param(44, 1, id="count of steps"),
        pytest.param(64, 1, id="something in the unused section"),
    ],
)
def test_request_with_a_wrong_header_is_refused(offset: int, value: int) -> None:
    """Each word of the header counts."""
    assert request_is_refused(patched(offset, value))


def test_section_that_is_not_aligned_is_refused() -> None:
    """The same section four bytes further on is what the header says, and still refused."""
    data = encode.encode_exec_request(Steps(samples()))
    kind, offset, size, count = struct.unpack_from("=4I", data, 16)
    moved = bytearray(data[:offset] + bytes(4) + data[offset:])
    struct.pack_into("=I", moved, 8, len(moved))
    struct.pack_into("=4I", moved, 16, kind, offset + 4, size, count)

    assert request_is_refused(bytes(moved))


def test_larger_request_than_it_says_is_refused() -> None:
    """Nothing may follow."""
    assert request_is_refused(request() + bytes(8))


# ── anything at all ──────────────────────────────────────────────────────────────────────────────


def test_parser_agrees_with_the_python_reader_about_random_fields() -> None:
    """Plans of random content, encoded in Python, are accepted in C."""
    generator = random.Random(7)
    for _ in range(200):
        words = tuple("x" * generator.randrange(20) for _ in range(generator.randrange(9)))
        blob = generator.randbytes(generator.randrange(40))
        steps = [
            ops.Seccomp(program=blob),
            ops.NewFilesystem(slot=generator.randrange(128), fstype="t" * generator.randrange(9), options=words),
        ]

        shim.check_plan(encode.encode_steps(steps), 2)


def test_no_mutation_makes_the_parser_read_out_of_bounds(session_directory: Path, tmp_path: Path) -> None:
    """Sanitizers watch the parser and a reader of what it accepts; some mutations must be accepted, most not."""
    program = compile_program(
        session_directory / "mutate", (HERE / "mutate.c", "fuzz_decode.c", "decode.c"), ["-DCK_LIBFUZZER"]
    )
    files = {"request": request(), "exec": encode.encode_exec_request(Steps(samples()[-4:]))}
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    command = [str(program), str(MUTATIONS // len(files)), "1", *(str(tmp_path / name) for name in files)]

    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (0, "")
    assert 0 < int(done.stdout) < MUTATIONS // 2
