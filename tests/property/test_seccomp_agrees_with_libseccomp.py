"""A31: the filter compiled here decides as the one that libseccomp makes of the same rules, call by call.

Around libseccomp's filter is runc's own rule: a number beyond the last that the profile names is ENOSYS.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from typing import Any

import attrs
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from _native.generate_syscall_tables import NEWER, NEWER_X86_64
from container_kit._plan import seccomp_tables as t
from container_kit._plan.seccomp import (
    ALL_ABIS,
    ALLOW,
    KILL_PROCESS,
    KILL_THREAD,
    LOG,
    TRACE,
    TRAP,
    Rule,
    SeccompProfile,
    call_numbers,
    compile_seccomp,
    refuse,
)
from container_kit._plan.seccomp_profiles import DEFAULT_PROFILE, DOCKER_PROFILE, STRICT_PROFILE
from container_kit._plan.seccomp_program import ALL_BITS, Comparison, Condition
from container_kit._spec.security import CAPABILITIES, DEFAULT_CAPABILITIES, DOCKER_EXTRA_CAPABILITIES
from container_kit.testing.bpf import AUDIT_ARCH, Answer, Verdict, simulate
from tests.libseccomp import reference_numbers, reference_programs

pytestmark = pytest.mark.needs_libseccomp

KERNEL = (6, 18)
ABIS_OF = {"x86_64": ("x86_64", "x32", "i386"), "aarch64": ("aarch64", "arm")}
SCMP = {"x86_64": "X86_64", "x32": "X32", "i386": "X86", "aarch64": "AARCH64", "arm": "ARM"}
DOCKERS = DEFAULT_CAPABILITIES | set(DOCKER_EXTRA_CAPABILITIES)
CAPABILITY_SETS = {
    "docker": DOCKERS,
    "none": frozenset[str](),
    "sys_admin": DOCKERS | {"CAP_SYS_ADMIN"},
    "sys_ptrace": DOCKERS | {"CAP_SYS_PTRACE"},
    "sys_chroot": frozenset({"CAP_SYS_CHROOT"}),
    "bpf_perfmon": DOCKERS | {"CAP_BPF", "CAP_PERFMON"},
    "all": frozenset(CAPABILITIES),
}
ACTIONS = {
    KILL_PROCESS: "KILL_PROCESS",
    KILL_THREAD: "KILL",
    TRAP: "TRAP",
    t.SECCOMP_RET_ERRNO: "ERRNO",
    TRACE: "TRACE",
    LOG: "LOG",
    ALLOW: "ALLOW",
}
MULTIPLEXERS = (102, 117)  # socketcall and ipc


def applied(profile: SeccompProfile, machine: str, capabilities: frozenset[str]) -> list[Rule]:
    """Return the rules that are about such a container."""
    return [rule for rule in profile.rules if rule.applies(machine, capabilities, KERNEL)]


def request_of(profile: SeccompProfile, rules: Iterable[Rule], machine: str) -> dict[str, Any]:
    """Ask for the filter that libseccomp makes of rules."""
    return {
        "abis": [SCMP[abi] for abi in ABIS_OF[machine] if abi == machine or abi in profile.siblings],
        "default": action_of(profile.default),
        "rules": [
            [action_of(rule.action), name, [argument_of(condition) for condition in rule.when]]
            for rule in rules
            for name in rule.names
        ],
    }


def action_of(action: int) -> list[Any]:
    """Return an action as the oracle takes it."""
    return [ACTIONS[action & t.SECCOMP_RET_ACTION_FULL], action & t.SECCOMP_RET_DATA]


def argument_of(condition: Condition) -> list[Any]:
    """Return a condition as the oracle takes it; one of 32 bits is one under a mask."""
    if condition.compare is Comparison.MASKED_EQ:
        return [condition.argument, "MASKED_EQ", condition.mask, condition.value]
    return [condition.argument, condition.compare.name, condition.value, 0]


@attrs.frozen
class Reference:
    """What runc would do: libseccomp's filter, behind the rule about numbers that the profile is too old for."""

    program: bytes
    last: dict[str, int]

    def answer(self, abi: str, nr: int, args: Sequence[int]) -> Verdict:
        """Return the verdict about a call."""
        if nr > self.last.get(abi_of(abi, nr), 2**32):
            return Verdict(Answer.ERRNO, errno.ENOSYS)
        return simulate(self.program, arch=AUDIT_ARCH[abi], nr=nr, args=args)


def abi_of(abi: str, nr: int) -> str:
    """Return which of the two ABIs with the same architecture a number is of: x32 has a bit set."""
    return abi if AUDIT_ARCH[abi] != t.AUDIT_ARCH_X86_64 else "x32" if nr & 0x40000000 else "x86_64"


def references(profiles: Sequence[tuple[SeccompProfile, Sequence[Rule], str]]) -> list[Reference]:
    """Return the reference for each profile."""
    answers = reference_programs([request_of(profile, rules, machine) for profile, rules, machine in profiles])
    found: list[Reference] = []
    for (profile, rules, machine), answer in zip(profiles, answers, strict=True):
        passing = profile.default & t.SECCOMP_RET_ACTION_FULL in (ALLOW, LOG, TRACE)
        names = {name for rule in rules for name in rule.names}
        abis = [abi for abi in ABIS_OF[machine] if abi == machine or abi in profile.siblings]
        named = {abi: [call_numbers(abi)[name] for name in names & call_numbers(abi).keys()] for abi in abis}
        last = {abi: max(numbers) for abi, numbers in named.items() if numbers and not passing}
        found.append(Reference(bytes.fromhex(answer["program"]), last))
    return found


def numbers_to_try(abi: str) -> Iterator[int]:
    """Every number that a call has, between and a little beyond them, and the borders."""
    first = 0x40000000 if abi == "x32" else 0
    yield from range(first, first + 600)
    yield from (0x3FFFFFFF, 0x40000000, 0x7FFFFFFF, 0xC0000000, 0xFFFFFFFE, 0xFFFFFFFF)
    yield from range(0xF0000, 0xF0010)


def arguments_to_try(conditions: Iterable[Condition]) -> list[int]:
    """Values around everything that is compared, every bit, and the same with upper bits set."""
    constants = {number for condition in conditions for number in (condition.value, condition.mask)}
    around = {(number + offset) % 2**64 for number in constants | {0, 2**32} for offset in (-1, 0, 1)}
    bits = {1 << bit for bit in range(64)}
    return sorted(around | bits | {(value + high) % 2**64 for value in around for high in (2**32, 2**63)})


@cache
def blind_spots(abi: str) -> frozenset[int]:
    """Numbers of calls that this libseccomp is too old for: it cannot be asked about them."""
    ours = call_numbers(abi)
    theirs = reference_numbers(SCMP[abi], list(ours))
    return frozenset(number for name, number in ours.items() if name not in theirs)


def calls_to_try(abi: str, rules: Sequence[Rule]) -> Iterator[tuple[int, tuple[int, ...]]]:
    """Every number, and where a rule looks at arguments all values that could make a difference."""
    conditional = {call_numbers(abi).get(name) for rule in rules if rule.when for name in rule.names}
    conditions = [condition for rule in rules for condition in rule.when]
    values = arguments_to_try(conditions)
    for nr in numbers_to_try(abi):
        if nr in conditional:
            yield from ((nr, (value,) * 6) for value in values)
        elif abi == "i386" and nr in MULTIPLEXERS:
            others = {0, *(condition.value for condition in conditions)}
            yield from ((nr, (number, *(value,) * 5)) for number in range(26) for value in others)
        elif nr not in blind_spots(abi_of(abi, nr)):
            yield nr, (0,) * 6


def differences(
    program: bytes, reference: Reference, abis: Iterable[str], rules: Sequence[Rule]
) -> list[tuple[str, int, tuple[int, ...], Verdict, Verdict]]:
    """Return every call that the two filters judge differently."""
    return [
        (abi, nr, args, expected, actual)
        for abi in abis
        for nr, args in calls_to_try(abi, rules)
        if (expected := reference.answer(abi, nr, args))
        != (actual := simulate(program, arch=AUDIT_ARCH[abi], nr=nr, args=args))
    ]


@pytest.mark.parametrize("machine", ABIS_OF)
def test_a31_docker_profile_decides_as_under_libseccomp_and_runc(machine: str) -> None:
    """For every capability set, number and ABI of a machine, and every argument that could make a difference."""
    sets = CAPABILITY_SETS.values()
    rules = [applied(DOCKER_PROFILE, machine, capabilities) for capabilities in sets]
    made = references([(DOCKER_PROFILE, some, machine) for some in rules])

    for capabilities, some, reference in zip(sets, rules, made, strict=True):
        program = compile_seccomp(DOCKER_PROFILE, machine=machine, capabilities=capabilities, kernel=KERNEL)
        assert [] == differences(program, reference, ABIS_OF[machine], some)


@pytest.mark.parametrize(
    "profile", [DOCKER_PROFILE, DEFAULT_PROFILE, STRICT_PROFILE], ids=["docker", "default", "strict"]
)
def test_a31_calls_of_other_architectures_are_not_allowed(profile: SeccompProfile) -> None:
    """Numbers mean something else there."""
    for machine, foreign in (("x86_64", "arm"), ("x86_64", "aarch64"), ("aarch64", "i386"), ("aarch64", "x86_64")):
        program = compile_seccomp(profile, machine=machine, capabilities=CAPABILITY_SETS["all"], kernel=KERNEL)
        answers = {simulate(program, arch=AUDIT_ARCH[foreign], nr=nr).answer for nr in numbers_to_try(foreign)}
        assert Answer.ALLOW not in answers


def test_tables_have_the_numbers_that_libseccomp_has() -> None:
    """What it lacks is what Linux has got since its release."""
    for abi in ALL_ABIS:
        ours = call_numbers(abi)
        theirs = reference_numbers(SCMP[abi], list(ours))
        too_new = {name for name in ours if name not in theirs}
        direct = {name: number for name, number in theirs.items() if abi != "i386" or number not in MULTIPLEXERS}

        assert {name: ours[name] for name in direct} == direct
        assert too_new <= NEWER.keys() | NEWER_X86_64.keys()
        assert len(too_new) < 40


# ── random profiles ──────────────────────────────────────────────────────────────────────────────

# Calls that all ABIs have: before a call that is not there, libseccomp 2.5 forgets to load the number.
_NAMES = st.sampled_from(
    """read write kill ioctl clone personality socket socketpair bind accept4 shmat msgctl execve openat2
    futex_waitv""".split()
)
_VALUES = st.integers(0, 4) | st.sampled_from((2**31, 2**32 - 1, 2**32, 2**32 + 1, 2**63, 2**64 - 1))
_ARGUMENTS = st.integers(0, 5)
_ACTIONS = st.sampled_from(
    (KILL_PROCESS, KILL_THREAD, TRAP, refuse(0), refuse(errno.EACCES), TRACE | 7, LOG, ALLOW, refuse(errno.EPERM))
)


def _condition(argument: int, compare: Comparison, value: int, mask: int) -> Condition:
    return Condition(argument, compare, value, mask=mask if compare is Comparison.MASKED_EQ else ALL_BITS)


_CONDITIONS = st.builds(_condition, _ARGUMENTS, st.sampled_from(Comparison), _VALUES, _VALUES)
_OF_SEVERAL_ARGUMENTS = st.lists(_CONDITIONS, max_size=4, unique_by=lambda condition: condition.argument)
_EQUAL = st.builds(_condition, st.integers(0, 2), st.just(Comparison.EQ), _VALUES, _VALUES)
# libseccomp 2.5 errs about several ranges of one argument, so one rule has many conditions, or many rules have one.
_WHENS = (
    _OF_SEVERAL_ARGUMENTS.map(lambda conditions: [tuple(conditions)])
    | _OF_SEVERAL_ARGUMENTS.map(lambda conditions: [(condition,) for condition in conditions])
    | st.lists(_EQUAL, min_size=1, max_size=5).map(lambda conditions: [(condition,) for condition in conditions])
)


def _profile(
    calls: dict[str, tuple[int, list[tuple[Condition, ...]]]], default: int, siblings: set[str]
) -> SeccompProfile:
    rules = [Rule(names=(name,), action=action, when=when) for name, (action, whens) in calls.items() for when in whens]
    return SeccompProfile(rules=tuple(rules), default=default, siblings=frozenset(siblings), foreign=KILL_THREAD)


# A call has one action: which of several libseccomp chooses depends on how it sorts.
_PROFILES = st.builds(
    _profile,
    st.dictionaries(_NAMES, st.tuples(_ACTIONS, _WHENS), min_size=1, max_size=6),
    _ACTIONS,
    st.sets(st.sampled_from(("x32", "i386", "arm"))),
)


@settings(deadline=None, max_examples=30, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(_PROFILES, st.sampled_from(sorted(ABIS_OF)))
def test_random_profiles_are_decided_as_by_libseccomp(profile: SeccompProfile, machine: str) -> None:
    """All actions, comparisons, ABIs and defaults."""
    (reference,) = references([(profile, profile.rules, machine)])

    program = compile_seccomp(profile, machine=machine, capabilities=frozenset[str](), kernel=KERNEL)

    assert [] == differences(program, reference, ABIS_OF[machine], profile.rules)
