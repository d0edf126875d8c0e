"""A seccomp profile and its compilation to a BPF program (seccomp(2), seccomp_filter.rst).

Theory of operation: the kernel runs the whole program once for every system call number
when a filter is attached, to learn which calls are always allowed, so a linear chain of
comparisons costs a millisecond at each start. Here the numbers are cut into ranges that
share a decision, and a balanced tree of "greater or equal" finds the range in about
seven comparisons. A decision is a return, or a few tests of an argument and a return.

Three answers are given besides "allowed":

* A call that the profile names nowhere: EPERM, as Docker does.
* A number that this library knows no call for: ENOSYS, as an older kernel would answer,
  so that a C library falls back (runc's rule). The x32 numbers are among these.
* Any other architecture (int 0x80 and 32-bit programs on x86-64): EPERM for all calls.
  Docker allows its 32-bit siblings; but `socketcall` hides its arguments from a filter,
  and few images need it.

Arguments are compared by their low 32 bits, because that is all the kernel looks at
where this is used (int and flag parameters): with 64 bits, `socket(2**32 + AF_ALG)`
would pass a rule about 38 and still make that socket.
"""

from __future__ import annotations

import enum
import errno
import struct
from collections.abc import Iterable, Mapping
from functools import lru_cache
from itertools import groupby
from operator import itemgetter
from typing import Final

import attrs

from container_kit._plan import seccomp_tables as t

ALLOW: Final = t.SECCOMP_RET_ALLOW

_DATA_NR, _DATA_ARCH, _DATA_ARGS = 0, 4, 16  # offsets in struct seccomp_data
_LOAD = t.BPF_LD | t.BPF_W | t.BPF_ABS
_RETURN = t.BPF_RET | t.BPF_K
_JUMP = t.BPF_JMP | t.BPF_JA
_IF_EQUAL = t.BPF_JMP | t.BPF_JEQ | t.BPF_K
_IF_GREATER_EQUAL = t.BPF_JMP | t.BPF_JGE | t.BPF_K
_IF_ANY_BIT = t.BPF_JMP | t.BPF_JSET | t.BPF_K
_FARTHEST = 255  # a conditional jump has 8 bits
_INSTRUCTION = struct.Struct("=HBBI")

# arch in struct seccomp_data, numbers by name; all are little-endian
_MACHINES: Final[Mapping[str, tuple[int, Mapping[str, int]]]] = {
    "x86_64": (t.AUDIT_ARCH_X86_64, t.X86_64),
    "aarch64": (t.AUDIT_ARCH_AARCH64, t.AARCH64),
}


def refuse(number: int) -> int:
    """Return the action that makes a call fail with this errno."""
    return t.SECCOMP_RET_ERRNO | number


class Comparison(enum.Enum):
    """What is asked about an argument's low 32 bits."""

    ONE_OF = "one of"
    NONE_OF = "none of"
    NO_BIT_OF = "no bit of"


@attrs.frozen(kw_only=True)
class Condition:
    """A test of one argument; `NO_BIT_OF` takes one value, a mask."""

    argument: int
    compare: Comparison
    values: tuple[int, ...]

    def __attrs_post_init__(self) -> None:
        if self.compare is Comparison.NO_BIT_OF and len(self.values) != 1:
            raise ValueError(f"a mask is one value, not {self.values}")


@attrs.frozen(kw_only=True)
class Rule:
    """An action for some calls, under conditions on the call and on the container.

    A name that a machine lacks is skipped there. Of several rules for a call, one without
    `when` decides alone; otherwise the first whose `when` holds does.
    """

    names: tuple[str, ...]
    action: int = ALLOW
    when: Condition | None = None
    capability: str | None = None
    without_capability: str | None = None
    machines: tuple[str, ...] = ()
    since: tuple[int, int] = (0, 0)

    def applies(self, machine: str, capabilities: frozenset[str], kernel: tuple[int, int]) -> bool:
        """Say whether the rule is about such a container on such a host."""
        return (
            (self.capability is None or self.capability in capabilities)
            and (self.without_capability is None or self.without_capability not in capabilities)
            and (not self.machines or machine in self.machines)
            and kernel >= self.since
        )


@attrs.frozen(kw_only=True)
class SeccompProfile:
    """An allow-list: what no rule mentions is refused."""

    rules: tuple[Rule, ...]
    refused: int = refuse(errno.EPERM)
    unknown: int = refuse(errno.ENOSYS)
    foreign: int = refuse(errno.EPERM)


@attrs.frozen
class Decision:
    """What becomes of a call: the first case whose condition holds, else `otherwise`."""

    cases: tuple[tuple[Condition, int], ...]
    otherwise: int


def supported_machines() -> frozenset[str]:
    """Return the machines (uname(2)) that filters can be made for."""
    return frozenset(_MACHINES)


@lru_cache(maxsize=64)
def compile_seccomp(
    profile: SeccompProfile, *, machine: str, capabilities: frozenset[str], kernel: tuple[int, int]
) -> bytes:
    """Return the filter as an array of `struct sock_filter`.

    Args:
        profile: what is allowed.
        machine: as uname(2) says it, one of `supported_machines()`.
        capabilities: names of what the container may hold, e.g. `CAP_SYS_ADMIN`.
        kernel: major and minor version of the host.
    """
    arch, _ = _MACHINES[machine]
    decisions = decide(profile, machine=machine, capabilities=capabilities, kernel=kernel)
    return _assemble(_ranges(decisions, Decision((), profile.unknown)), arch=arch, foreign=profile.foreign)


def decide(
    profile: SeccompProfile, *, machine: str, capabilities: frozenset[str], kernel: tuple[int, int]
) -> dict[int, Decision]:
    """Return the profile's decision for every call number the machine has."""
    _, numbers = _MACHINES[machine]
    cases: dict[str, list[tuple[Condition | None, int]]] = {name: [] for name in numbers}
    for rule in profile.rules:
        if rule.applies(machine, capabilities, kernel):
            for name in rule.names:
                if name in cases:
                    cases[name].append((rule.when, rule.action))
    return {number: _decision(cases[name], profile.refused) for name, number in numbers.items()}


def _decision(cases: list[tuple[Condition | None, int]], refused: int) -> Decision:
    for condition, action in cases:
        if condition is None:
            return Decision((), action)
    return Decision(tuple((condition, action) for condition, action in cases if condition is not None), refused)


def _ranges(decisions: Mapping[int, Decision], unknown: Decision) -> list[tuple[int, Decision]]:
    """Return (first number, decision) for ranges that together cover all numbers, in order."""
    every = ((number, decisions.get(number, unknown)) for number in range(max(decisions) + 2))
    return [(next(group)[0], decision) for decision, group in groupby(every, key=itemgetter(1))]


def _assemble(ranges: list[tuple[int, Decision]], *, arch: int, foreign: int) -> bytes:
    program = _Program()
    leaves = {decision: program.place(decision) for decision in sorted({d for _, d in ranges}, key=_size, reverse=True)}
    foreign_leaf = program.returns(foreign)
    tree = program.search([(first, leaves[decision]) for first, decision in ranges])
    program.go_to(tree)
    number = program.emit(_LOAD, _DATA_NR)
    program.branch(_IF_EQUAL, arch, number, foreign_leaf)
    program.emit(_LOAD, _DATA_ARCH)
    return program.encoded()


def _size(decision: Decision) -> int:
    return sum(len(condition.values) for condition, _ in decision.cases)


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

    def place(self, decision: Decision) -> int:
        """Put the tests of a decision and return where they begin."""
        next_place = self.returns(decision.otherwise)
        for condition, action in reversed(decision.cases):
            next_place = self._test(condition, self.returns(action), next_place)
        return next_place

    def search(self, ranges: list[tuple[int, int]]) -> int:
        """Put a balanced tree over (first number, place) and return where it begins."""
        if len(ranges) == 1:
            return ranges[0][1]
        middle = len(ranges) // 2
        upper = self.search(ranges[middle:])
        lower = self.search(ranges[:middle])
        return self.branch(_IF_GREATER_EQUAL, ranges[middle][0], upper, lower)

    def _test(self, condition: Condition, holds: int, fails: int) -> int:
        match condition.compare:
            case Comparison.NO_BIT_OF:
                self.branch(_IF_ANY_BIT, condition.values[0], fails, holds)
            case Comparison.ONE_OF:
                self._chain(condition.values, holds, fails)
            case Comparison.NONE_OF:
                self._chain(condition.values, fails, holds)
        return self.emit(_LOAD, _DATA_ARGS + 8 * condition.argument)

    def _chain(self, values: Iterable[int], equal: int, other: int) -> None:
        for value in values:
            other = self.branch(_IF_EQUAL, value, equal, other)
        self.go_to(other)

    def _distance(self, place: int) -> int:
        return len(self._backward) - 1 - place

    def _near(self, place: int) -> int:
        return place if self._distance(place) < _FARTHEST else self.emit(_JUMP, self._distance(place))
