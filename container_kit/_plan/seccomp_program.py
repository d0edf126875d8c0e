"""Decisions about system calls made into a BPF program (seccomp(2), seccomp_filter.rst).

Theory of operation: the kernel runs the whole program once for every system call number
when a filter is attached, to learn which calls are always allowed, so a linear chain of
comparisons costs a millisecond at each start. Here the numbers are cut into ranges that
share a decision, and a balanced tree of "greater or equal" finds the range in about
seven comparisons. A decision is a return, or a few tests of arguments and a return. Each
architecture has a tree of its own, chosen by one comparison.

Arguments have 64 bits and BPF 32, so a comparison looks at the upper half first. One of
32 bits looks at the lower half alone: it is for what the kernel takes as an int.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Final, TypeAlias

import attrs

from container_kit._plan import seccomp_tables as t

_DATA_NR, _DATA_ARCH, _DATA_ARGS = 0, 4, 16  # offsets in struct seccomp_data, which is little-endian here
_LOAD = t.BPF_LD | t.BPF_W | t.BPF_ABS
_AND = t.BPF_ALU | t.BPF_AND | t.BPF_K
_RETURN = t.BPF_RET | t.BPF_K
_JUMP = t.BPF_JMP | t.BPF_JA
_IF_EQUAL = t.BPF_JMP | t.BPF_JEQ | t.BPF_K
_IF_GREATER = t.BPF_JMP | t.BPF_JGT | t.BPF_K
_IF_GREATER_EQUAL = t.BPF_JMP | t.BPF_JGE | t.BPF_K
_FARTHEST = 255  # a conditional jump has 8 bits
_LOW = 2**32 - 1
_INSTRUCTION = struct.Struct("=HBBI")

ALL_BITS: Final = 2**64 - 1


class Comparison(enum.Enum):
    """What is asked about an argument, by libseccomp's names (seccomp_rule_add(3)); numbers are unsigned."""

    NE = "SCMP_CMP_NE"
    LT = "SCMP_CMP_LT"
    LE = "SCMP_CMP_LE"
    EQ = "SCMP_CMP_EQ"
    GE = "SCMP_CMP_GE"
    GT = "SCMP_CMP_GT"
    MASKED_EQ = "SCMP_CMP_MASKED_EQ"


_OPPOSITE = {
    Comparison.NE: Comparison.EQ,
    Comparison.LT: Comparison.GE,
    Comparison.LE: Comparison.GT,
}


@attrs.frozen
class Condition:
    """A test of one argument: of all its 64 bits, or of the lower 32 only.

    `MASKED_EQ` compares under `mask`; bits of the value outside the mask do not count (libseccomp).
    """

    argument: int
    compare: Comparison
    value: int
    mask: int = ALL_BITS
    bits: int = 64


Case: TypeAlias = tuple[tuple[Condition, ...], int]  # an action if all the conditions hold


@attrs.frozen
class Decision:
    """What becomes of a call: the action of the first case that holds, else `otherwise`."""

    cases: tuple[Case, ...]
    otherwise: int


Ranges: TypeAlias = Sequence[tuple[int, Decision]]  # (first number, decision), in order, from 0 to the last number


def assemble(ranges_of: Mapping[int, Ranges], foreign: int) -> bytes:
    """Return the filter as an array of `struct sock_filter`.

    Args:
        ranges_of: for each architecture (AUDIT_ARCH_*), the first one being the likeliest.
        foreign: the action for all calls of any other architecture.
    """
    program = _Program()
    entries = {arch: program.tree(ranges) for arch, ranges in reversed([*ranges_of.items()])}
    otherwise = program.returns(foreign)
    for arch, entry in entries.items():
        otherwise = program.branch(_IF_EQUAL, arch, entry, otherwise)
    program.go_to(otherwise)
    program.emit(_LOAD, _DATA_ARCH)
    return program.encoded()


class _Program:
    """Instructions, last one first: BPF jumps only forward, so a target is always known before its jumps.

    A place is the index of an instruction counted from the end of the program.
    """

    def __init__(self) -> None:
        self._backward: list[tuple[int, int, int, int]] = []
        self._returns: dict[int, int] = {}

    def encoded(self) -> bytes:
        """Return the bytes of the whole program."""
        return b"".join(_INSTRUCTION.pack(*instruction) for instruction in reversed(self._backward))

    def emit(self, code: int, k: int, yes: int = 0, no: int = 0) -> int:
        """Put an instruction before all others and return its place."""
        self._backward.append((code, yes, no, k))
        return len(self._backward) - 1

    def returns(self, action: int) -> int:
        """Return the place of a return of this action, near enough for a conditional jump."""
        place = self._returns.get(action)
        if place is None or self._distance(place) > _FARTHEST - 2:
            place = self._returns[action] = self.emit(_RETURN, action)
        return place

    def branch(self, code: int, k: int, yes: int, no: int) -> int:
        """Put a conditional jump to two places; far ones are reached by way of a plain jump."""
        yes = self._near(yes)
        no = self._near(no)
        # The second detour may have pushed the first target one instruction away, no more.
        return self.emit(code, k, self._distance(yes), self._distance(no))

    def go_to(self, place: int) -> None:
        """Make what is put next continue at a place."""
        if self._distance(place):
            self.emit(_JUMP, self._distance(place))

    def tree(self, ranges: Ranges) -> int:
        """Put all decisions of an architecture with the search for them; return where it begins."""
        largest_first = sorted({decision for _, decision in ranges}, key=_size, reverse=True)
        leaves = {decision: self._decide(decision) for decision in largest_first}
        self.go_to(self._search([(first, leaves[decision]) for first, decision in ranges]))
        return self.emit(_LOAD, _DATA_NR)

    def _search(self, ranges: Sequence[tuple[int, int]]) -> int:
        """Put a balanced tree over (first number, place) and return where it begins."""
        if len(ranges) == 1:
            return ranges[0][1]
        middle = len(ranges) // 2
        upper = self._search(ranges[middle:])
        lower = self._search(ranges[:middle])
        return self.branch(_IF_GREATER_EQUAL, ranges[middle][0], upper, lower)

    def _decide(self, decision: Decision) -> int:
        """Put the tests of a decision and return where they begin."""
        place = self.returns(decision.otherwise)
        for similar, cases in groupby(reversed(decision.cases), key=_similarity):
            if similar is None:
                for conditions, action in cases:
                    place = self._all_hold(conditions, action, place)
            else:
                place = self._one_equals([(conditions[0], action) for conditions, action in cases], place)
        return place

    def _all_hold(self, conditions: tuple[Condition, ...], action: int, fails: int) -> int:
        place = self.returns(action)
        for condition in reversed(conditions):
            place = self._test(condition, place, fails)
        return place

    def _one_equals(self, similar: Sequence[tuple[Condition, int]], fails: int) -> int:
        """Put comparisons of one argument, which is loaded once."""
        place, first = fails, similar[0][0]
        for condition, action in similar:
            place = self.branch(_IF_EQUAL, condition.value & _LOW, self.returns(action), place)
        self.go_to(place)
        place = self._load(first, 0)
        if first.bits == 64:
            self.branch(_IF_EQUAL, first.value >> 32, place, fails)
            place = self._load(first, 32)
        return place

    def _test(self, condition: Condition, holds: int, fails: int) -> int:
        """Put one comparison, which continues at either place."""
        opposite = _OPPOSITE.get(condition.compare)
        if opposite is not None:
            return self._test(attrs.evolve(condition, compare=opposite), fails, holds)
        if condition.compare in (Comparison.EQ, Comparison.MASKED_EQ):
            return self._equal(condition, holds, fails)
        return self._greater(condition, holds, fails)

    def _equal(self, condition: Condition, holds: int, fails: int) -> int:
        mask = condition.mask if condition.compare is Comparison.MASKED_EQ else ALL_BITS
        place = self._equal_half(condition, 0, mask & _LOW, holds, fails)
        if condition.bits == 64:
            place = self._equal_half(condition, 32, mask >> 32, place, fails)
        return place

    def _equal_half(self, condition: Condition, shift: int, mask: int, holds: int, fails: int) -> int:
        if mask == 0:
            return holds
        self.branch(_IF_EQUAL, condition.value >> shift & mask, holds, fails)
        if mask != _LOW:
            self.emit(_AND, mask)
        return self._load(condition, shift)

    def _greater(self, condition: Condition, holds: int, fails: int) -> int:
        code = _IF_GREATER if condition.compare is Comparison.GT else _IF_GREATER_EQUAL
        self.branch(code, condition.value & _LOW, holds, fails)
        lower = self._load(condition, 0)
        if condition.bits == 32:
            return lower
        same = self.branch(_IF_EQUAL, condition.value >> 32, lower, fails)
        self.branch(_IF_GREATER, condition.value >> 32, holds, same)
        return self._load(condition, 32)

    def _load(self, condition: Condition, shift: int) -> int:
        return self.emit(_LOAD, _DATA_ARGS + 8 * condition.argument + shift // 8)

    def _distance(self, place: int) -> int:
        return len(self._backward) - 1 - place

    def _near(self, place: int) -> int:
        return place if self._distance(place) < _FARTHEST else self.emit(_JUMP, self._distance(place))


def _similarity(case: Case) -> tuple[int, int, int] | None:
    """Return what cases that compare one argument with values of the same upper half have in common."""
    conditions, _ = case
    if len(conditions) != 1 or conditions[0].compare is not Comparison.EQ:
        return None
    return conditions[0].argument, conditions[0].bits, conditions[0].value >> 32


def _size(decision: Decision) -> int:
    return sum(len(conditions) for conditions, _ in decision.cases)
