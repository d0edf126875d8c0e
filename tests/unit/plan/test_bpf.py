"""The simulator itself, on programs written by hand."""

from __future__ import annotations

import struct

import pytest

from container_kit._plan import seccomp_tables as t
from container_kit.testing.bpf import AUDIT_ARCH, Answer, Verdict, instructions_of, simulate

LOAD, RETURN, JUMP = t.BPF_LD | t.BPF_W | t.BPF_ABS, t.BPF_RET | t.BPF_K, t.BPF_JMP | t.BPF_JA
ALLOW = (RETURN, 0, 0, t.SECCOMP_RET_ALLOW)
REFUSE = (RETURN, 0, 0, t.SECCOMP_RET_ERRNO | 7)
X86_64 = AUDIT_ARCH["x86_64"]


def program(*instructions: tuple[int, int, int, int]) -> bytes:
    """Assemble instructions."""
    return b"".join(struct.pack("=HBBI", *one) for one in instructions)


@pytest.mark.parametrize(
    ("code", "k", "allowed"),
    [
        (t.BPF_JMP | t.BPF_JEQ, 5, [False, True, False]),
        (t.BPF_JMP | t.BPF_JGT, 5, [False, False, True]),
        (t.BPF_JMP | t.BPF_JGE, 5, [False, True, True]),
        (t.BPF_JMP | t.BPF_JSET, 2, [False, False, True]),
    ],
)
def test_conditional_jumps_compare_the_loaded_word(code: int, k: int, allowed: list[bool]) -> None:
    """The first offset is for yes, the second for no."""
    text = program((LOAD, 0, 0, 0), (code, 1, 0, k), REFUSE, ALLOW)

    answers = [simulate(text, arch=X86_64, nr=number).answer is Answer.ALLOW for number in (4, 5, 6)]

    assert allowed == answers


def test_loads_reach_number_architecture_and_both_halves_of_arguments() -> None:
    """The layout of struct seccomp_data."""

    def loads(offset: int, k: int) -> bool:
        text = program((LOAD, 0, 0, offset), (t.BPF_JMP | t.BPF_JEQ, 0, 1, k), ALLOW, REFUSE)
        args = (0x1111111122222222, 0, 0, 0, 0, 0x3333333344444444)
        return simulate(text, arch=X86_64, nr=39, args=args).answer is Answer.ALLOW

    assert loads(0, 39)
    assert loads(4, X86_64)
    assert loads(16, 0x22222222)
    assert loads(20, 0x11111111)
    assert loads(56, 0x44444444)
    assert loads(60, 0x33333333)


def test_mask_and_plain_jump_are_executed_and_counted() -> None:
    """The verdict says how many instructions it took."""
    text = program(
        (LOAD, 0, 0, 0), (t.BPF_ALU | t.BPF_AND, 0, 0, 0xF), (JUMP, 0, 0, 1), ALLOW,
        (t.BPF_JMP | t.BPF_JEQ, 0, 1, 7), REFUSE, ALLOW,
    )  # fmt: skip

    verdict = simulate(text, arch=X86_64, nr=0x17)

    assert (verdict, verdict.instructions) == (Verdict(Answer.ERRNO, 7), 5)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\0" * 7,
        program((LOAD, 0, 0, 0)),
        program((JUMP, 0, 0, 9), ALLOW),
        program((LOAD, 0, 0, 2), ALLOW),
        program((LOAD, 0, 0, 64), ALLOW),
        program((t.BPF_LD | 0x20 | 0x08, 0, 0, 0), ALLOW),
        program((t.BPF_JMP | 0x80, 0, 0, 0), ALLOW),
        program((t.BPF_ALU | t.BPF_JEQ, 0, 0, 0), ALLOW),
        program(*[ALLOW] * (t.BPF_MAXINSNS + 1)),
    ],
)
def test_program_that_the_kernel_would_not_take_is_an_error(text: bytes) -> None:
    """Empty, ragged, endless, out of bounds, unknown instructions, too long."""
    with pytest.raises(ValueError, match=r"program|offset|allowed"):
        simulate(text, arch=X86_64, nr=0)


def test_instructions_are_listed_in_order() -> None:
    """For tests that look at a program's size or shape."""
    assert instructions_of(program(ALLOW, REFUSE)) == [ALLOW, REFUSE]
