"""The filter compiler: what a profile says is what the program answers."""

from __future__ import annotations

import errno

import attrs
import pytest

from container_kit._plan import seccomp_tables as t
from container_kit._plan.seccomp import (
    ALL_SIBLINGS,
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
from container_kit._plan.seccomp_program import Comparison, Condition
from container_kit.errors import InvalidSpecError
from container_kit.testing.bpf import AUDIT_ARCH, Answer, Verdict, instructions_of, simulate

NONE: frozenset[str] = frozenset()
EPERM, ENOSYS, ALLOWED = Verdict(Answer.ERRNO, errno.EPERM), Verdict(Answer.ERRNO, errno.ENOSYS), Verdict(Answer.ALLOW)
LAST = Rule(names=("file_setattr",))  # so that hardly a number is too new for the profile


def ask(profile: SeccompProfile, abi: str, nr: int, *args: int, machine: str = "x86_64") -> Verdict:
    """Compile a profile and ask for one number of an ABI."""
    program = compile_seccomp(profile, machine=machine, capabilities=NONE, kernel=(6, 1))
    return simulate(program, arch=AUDIT_ARCH[abi], nr=nr, args=args)


def answer(*rules: Rule, name: str, args: tuple[int, ...] = (), capabilities: frozenset[str] = NONE) -> Verdict:
    """Compile rules for x86-64 and ask for one call."""
    profile = SeccompProfile(rules=(*rules, LAST))
    program = compile_seccomp(profile, machine="x86_64", capabilities=capabilities, kernel=(6, 1))
    return simulate(program, arch=AUDIT_ARCH["x86_64"], nr=t.X86_64[name], args=args)


def when(argument: int, compare: Comparison, value: int, *, mask: int = 2**64 - 1, bits: int = 64) -> tuple[Condition]:
    """Return one condition."""
    return (Condition(argument, compare, value, mask, bits),)


def test_what_no_rule_mentions_is_refused() -> None:
    """The profile is an allow-list."""
    assert answer(Rule(names=("read",)), name="read") == ALLOWED
    assert answer(Rule(names=("read",)), name="write") == EPERM
    assert answer(name="read") == EPERM


def test_rule_for_a_name_that_the_machine_lacks_is_skipped() -> None:
    """One profile serves all machines."""
    assert answer(Rule(names=("fork", "no_such_call", "read")), name="read") == ALLOWED


@pytest.mark.parametrize(
    ("compare", "value", "mask", "allowed"),
    [
        (Comparison.EQ, 2**33 + 5, 0, [False, False, True, False, False]),
        (Comparison.NE, 2**33 + 5, 0, [True, True, False, True, True]),
        (Comparison.LT, 2**33 + 5, 0, [True, True, False, False, False]),
        (Comparison.LE, 2**33 + 5, 0, [True, True, True, False, False]),
        (Comparison.GE, 2**33 + 5, 0, [False, False, True, True, True]),
        (Comparison.GT, 2**33 + 5, 0, [False, False, False, True, True]),
        (Comparison.MASKED_EQ, 5, 0xF, [True, False, True, False, True]),
        (Comparison.MASKED_EQ, 2**33 + 0xF5, 2**33 + 0xF, [False, False, True, False, False]),
        (Comparison.MASKED_EQ, 1, 0, [True, True, True, True, True]),
    ],
)
def test_condition_compares_all_64_bits(compare: Comparison, value: int, mask: int, allowed: list[bool]) -> None:
    """Each comparison, with arguments that differ in the lower or in the upper half."""
    rule = Rule(names=("ioctl",), when=when(1, compare, value, mask=mask))

    answers = [answer(rule, name="ioctl", args=(99, one)) for one in (5, 2**33 + 4, 2**33 + 5, 2**33 + 6, 2**34 + 5)]

    assert [ALLOWED if one else EPERM for one in allowed] == answers


def test_condition_of_32_bits_cannot_be_fooled_by_the_upper_half_of_an_argument() -> None:
    """The kernel looks at 32 bits of an int; so must the filter."""
    rule = Rule(names=("socket",), when=when(0, Comparison.NE, 38, bits=32))

    assert EPERM == answer(rule, name="socket", args=((1 << 32) + 38,))
    assert ALLOWED == answer(rule, name="socket", args=((38 << 32) + 1,))


def test_all_conditions_of_a_rule_must_hold_and_one_of_its_rules() -> None:
    """Conditions are joined by and, rules by or."""
    both = Rule(names=("kill",), when=(*when(0, Comparison.EQ, 1), *when(1, Comparison.EQ, 2)))
    other = Rule(names=("kill",), when=when(0, Comparison.EQ, 7))

    answers = [answer(both, other, name="kill", args=args) for args in ((1, 2), (1, 3), (0, 2), (7, 0))]

    assert [ALLOWED, EPERM, EPERM, ALLOWED] == answers


def test_most_restrictive_of_several_actions_decides() -> None:
    """The order of the kernel for several filters, whatever that of the rules."""
    actions = (ALLOW, LOG, TRACE | 1, refuse(5), TRAP, KILL_THREAD, KILL_PROCESS)
    rules = [
        Rule(names=("kill",), action=action, when=when(0, Comparison.GE, index)) for index, action in enumerate(actions)
    ]

    answers = [answer(*rules, name="kill", args=(value,)).answer for value in range(len(actions))]

    assert [Answer(action & t.SECCOMP_RET_ACTION_FULL) for action in actions] == answers


def test_rule_that_says_what_the_default_is_changes_nothing() -> None:
    """It would hide the exceptions that other rules make."""
    general = Rule(names=("kill",), action=refuse(errno.EPERM))
    exception = Rule(names=("kill",), when=when(0, Comparison.EQ, 1))

    assert [ALLOWED, EPERM] == [answer(general, exception, name="kill", args=(value,)) for value in (1, 2)]


def test_rule_without_condition_decides_alone() -> None:
    """A capability that lifts a restriction lifts it wherever the rule stands."""
    narrow = Rule(names=("clone",), when=when(0, Comparison.MASKED_EQ, 0, mask=1))
    wide = Rule(names=("clone",), capabilities=("CAP_SYS_ADMIN",))

    assert answer(narrow, wide, name="clone", args=(1,)) == EPERM
    assert answer(narrow, wide, name="clone", args=(1,), capabilities=frozenset({"CAP_SYS_ADMIN"})) == ALLOWED


def test_rules_apply_by_capability_machine_and_kernel() -> None:
    """Every clause of a rule must hold."""
    here = Rule(
        names=("a",), capabilities=("C", "E"), without_capabilities=("D", "F"), machines=("x86_64",), since=(5, 0),
        before=(6, 0),
    )  # fmt: skip
    elsewhere = Rule(names=("a",), not_machines=("x86_64",))

    assert here.applies("x86_64", frozenset("CE"), (5, 0))
    assert not here.applies("x86_64", frozenset("CED"), (5, 0))
    assert not here.applies("x86_64", frozenset("C"), (5, 0))
    assert not here.applies("aarch64", frozenset("CE"), (5, 0))
    assert not here.applies("x86_64", frozenset("CE"), (4, 20))
    assert not here.applies("x86_64", frozenset("CE"), (6, 0))
    assert elsewhere.applies("aarch64", NONE, (5, 0))
    assert not elsewhere.applies("x86_64", NONE, (5, 0))


def test_number_beyond_the_last_named_call_is_enosys() -> None:
    """As an older kernel would answer; a gap before it is refused like any call that is not named."""
    profile = SeccompProfile(rules=(Rule(names=("read", "mseal")),))

    answers = [ask(profile, "x86_64", nr) for nr in (400, t.X86_64["write"], t.X86_64["mseal"] + 1, 999)]

    assert [EPERM, EPERM, ENOSYS, ENOSYS] == answers


@pytest.mark.parametrize("default", [ALLOW, LOG, TRACE | 1])
def test_profile_that_lets_calls_pass_lets_new_ones_pass(default: int) -> None:
    """A list of what is refused says nothing about what is to come."""
    profile = SeccompProfile(rules=(Rule(names=("read",), action=refuse(5)),), default=default)

    assert [5, default & 1] == [ask(profile, "x86_64", nr).errno for nr in (0, 999)]
    assert Answer(default & t.SECCOMP_RET_ACTION_FULL) is ask(profile, "x86_64", 999).answer


@pytest.mark.parametrize(
    ("machine", "foreign"),
    [("x86_64", "i386"), ("x86_64", "x32"), ("x86_64", "aarch64"), ("aarch64", "arm"), ("aarch64", "i386")],
)
def test_foreign_abi_is_refused_altogether(machine: str, foreign: str) -> None:
    """A filter by number is meaningless for calls that are numbered otherwise."""
    profile = SeccompProfile(rules=(Rule(names=tuple({**t.X86_64, **t.AARCH64})),), foreign=KILL_THREAD)
    first = 0x40000000 if foreign == "x32" else 0

    answers = {ask(profile, foreign, first + nr, machine=machine).answer for nr in range(500)}

    assert answers == {Answer.KILL_THREAD}


@pytest.mark.parametrize(("machine", "sibling"), [("x86_64", "i386"), ("x86_64", "x32"), ("aarch64", "arm")])
def test_sibling_has_the_rules_under_its_own_numbers(machine: str, sibling: str) -> None:
    """Names that it lacks are skipped, its arguments have 32 bits."""
    conditional = Rule(names=("kill",), when=when(0, Comparison.GT, 2**32 + 1))
    profile = SeccompProfile(rules=(Rule(names=("read", "execve")), conditional, LAST), siblings=frozenset({sibling}))
    numbers = call_numbers(sibling)

    allowed = {nr for nr in numbers.values() if ask(profile, sibling, nr, 2, machine=machine) == ALLOWED}

    assert {numbers[name] for name in ("read", "execve", "kill", "file_setattr")} == allowed
    assert EPERM == ask(profile, sibling, numbers["kill"], 1, machine=machine)


def test_multiplexed_calls_of_i386_cannot_be_used_around_a_rule() -> None:
    """`socket` may also be called as `socketcall`, with its number as the first argument."""
    refused = Rule(names=("socket", "shmget"), action=refuse(5))
    profile = SeccompProfile(rules=(refused,), default=ALLOW, siblings=frozenset({"i386"}))
    numbers = call_numbers("i386")

    answers = {(name, nr): ask(profile, "i386", numbers[name], nr).errno for name in ("socketcall", "ipc")
               for nr in range(30)}  # fmt: skip

    assert {("socketcall", 1), ("ipc", 23)} == {call for call, number in answers.items() if number == 5}


def test_program_that_the_kernel_would_not_take_is_an_error() -> None:
    """It has 4096 instructions at most; the limit counts, not the rules."""
    rules = tuple(Rule(names=("ioctl",), when=when(1, Comparison.GE, value << 32)) for value in range(1, 1400))

    with pytest.raises(InvalidSpecError, match="4096"):
        compile_seccomp(SeccompProfile(rules=rules), machine="x86_64", capabilities=NONE, kernel=(6, 1))


def test_every_sibling_costs_its_own_tree_only() -> None:
    """Who does not run 32-bit programs does not pay for them."""
    one = SeccompProfile(rules=(Rule(names=("read",)), LAST))
    sizes = [
        len(compile_seccomp(profile, machine="x86_64", capabilities=NONE, kernel=(6, 1)))
        for profile in (one, attrs.evolve(one, siblings=ALL_SIBLINGS))
    ]

    assert sizes[0] < sizes[1]


def test_jumps_reach_across_a_program_of_any_size() -> None:
    """A conditional jump spans 255 instructions; decisions that alternate need several times that."""
    numbers = sorted(t.X86_64.items(), key=lambda item: item[1])
    rules = tuple(
        Rule(
            names=(name,),
            action=ALLOW if number % 3 else refuse(number % 100 + 2),
            when=()
            if number % 7
            else (
                Condition(number % 6, Comparison.GE, number),
                Condition(number % 6, Comparison.LT, number + 9),
                *(Condition(number % 6, Comparison.NE, 2**40 + offset) for offset in range(9)),
            ),
        )
        for name, number in numbers
    )
    program = compile_seccomp(SeccompProfile(rules=rules), machine="x86_64", capabilities=NONE, kernel=(6, 1))

    assert len(instructions_of(program)) > 4 * 255
    for name, number in numbers:
        for value in (number, number + 8, number + 9):
            holds = number % 7 or number <= value < number + 9
            action = ALLOWED if number % 3 else Verdict(Answer.ERRNO, number % 100 + 2)
            expected = action if holds else EPERM
            actual = simulate(program, arch=AUDIT_ARCH["x86_64"], nr=number, args=(value,) * 6)
            assert expected == actual, name


def test_program_is_made_once() -> None:
    """The same question has the same object for an answer: launches share it."""
    profile = SeccompProfile(rules=(Rule(names=("read",)),))
    one = compile_seccomp(profile, machine="x86_64", capabilities=NONE, kernel=(6, 1))

    assert compile_seccomp(profile, machine="x86_64", capabilities=NONE, kernel=(6, 1)) is one
