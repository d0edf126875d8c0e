"""A simulator of the BPF that seccomp(2) runs: what would this filter answer?

Knows the instructions that this library and libseccomp emit, of those that the kernel
accepts in a seccomp filter; anything else, and any jump out of the program, is an error.
"""

from __future__ import annotations

import enum
import functools
import struct
from collections.abc import Sequence
from typing import TypeAlias

import attrs

from container_kit._plan import seccomp_tables as t

AUDIT_ARCH = {
    "x86_64": t.AUDIT_ARCH_X86_64,
    "x32": t.AUDIT_ARCH_X86_64,
    "i386": t.AUDIT_ARCH_I386,
    "aarch64": t.AUDIT_ARCH_AARCH64,
    "arm": t.AUDIT_ARCH_ARM,
}

_INSTRUCTION = struct.Struct("=HBBI")
_DATA = struct.Struct("<iIQ6Q")  # struct seccomp_data, little-endian

Instruction: TypeAlias = tuple[int, int, int, int]


class Answer(enum.IntEnum):
    """What a filter makes the kernel do."""

    KILL_PROCESS = t.SECCOMP_RET_KILL_PROCESS
    KILL_THREAD = t.SECCOMP_RET_KILL_THREAD
    TRAP = t.SECCOMP_RET_TRAP
    ERRNO = t.SECCOMP_RET_ERRNO
    TRACE = t.SECCOMP_RET_TRACE
    LOG = t.SECCOMP_RET_LOG
    ALLOW = t.SECCOMP_RET_ALLOW


@attrs.frozen
class Verdict:
    """An answer, and with `ERRNO` the number, with `TRACE` the message; `instructions`: how many were executed."""

    answer: Answer
    errno: int = 0
    instructions: int = attrs.field(default=0, eq=False)


def instructions_of(program: bytes) -> list[Instruction]:
    """Return (code, jump if true, jump if false, k) for each instruction."""
    if not program or len(program) % _INSTRUCTION.size or len(program) // _INSTRUCTION.size > t.BPF_MAXINSNS:
        raise ValueError(f"{len(program)} bytes are no BPF program")
    return [(code, yes, no, k) for code, yes, no, k in _INSTRUCTION.iter_unpack(program)]


def simulate(program: bytes, *, arch: int, nr: int, args: Sequence[int] = ()) -> Verdict:
    """Return what a filter answers to one system call.

    Args:
        program: an array of `struct sock_filter`.
        arch: the AUDIT_ARCH_* of the call, see `AUDIT_ARCH`.
        nr: its number.
        args: up to six arguments, unsigned.
    """
    padded = (*args, *(0,) * (6 - len(args)))
    data = _DATA.pack(nr - 2**32 if nr >= 2**31 else nr, arch, 0, *padded)
    return _execute(_decoded(program), data)


@functools.lru_cache(maxsize=16)
def _decoded(program: bytes) -> list[Instruction]:
    return instructions_of(program)


def _execute(instructions: list[Instruction], data: bytes) -> Verdict:
    accumulator = position = executed = 0
    while position < len(instructions):
        code, yes, no, k = instructions[position]
        position += 1
        executed += 1
        if code == t.BPF_LD | t.BPF_W | t.BPF_ABS:
            accumulator = _load(data, k)
        elif code == t.BPF_ALU | t.BPF_AND | t.BPF_K:
            accumulator &= k
        elif code == t.BPF_JMP | t.BPF_JA:
            position += k
        elif code == t.BPF_RET | t.BPF_K:
            return Verdict(Answer(k & t.SECCOMP_RET_ACTION_FULL), k & t.SECCOMP_RET_DATA, executed)
        else:
            position += yes if _holds(code, accumulator, k) else no
    raise ValueError("the program ends without a return")


def _load(data: bytes, offset: int) -> int:
    if offset % 4 or offset + 4 > len(data):
        raise ValueError(f"no word at offset {offset} of struct seccomp_data")
    return int.from_bytes(data[offset : offset + 4], "little")


def _holds(code: int, accumulator: int, k: int) -> bool:
    if code & 0x7 != t.BPF_JMP:
        raise ValueError(f"instruction {code:#x} is not allowed in a filter")
    match code & 0xF8:
        case t.BPF_JEQ:
            return accumulator == k
        case t.BPF_JGT:
            return accumulator > k
        case t.BPF_JGE:
            return accumulator >= k
        case t.BPF_JSET:
            return bool(accumulator & k)
        case _:
            raise ValueError(f"instruction {code:#x} is not allowed in a filter")
