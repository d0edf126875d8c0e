"""The filter compiler: what a profile says is what the program answers."""

from __future__ import annotations

import errno

import pytest

from container_kit._plan import seccomp_tables as t
from container_kit._plan.seccomp import ALLOW, Comparison, Condition, Rule, SeccompProfile, compile_seccomp, refuse
from container_kit.testing.bpf import AUDIT_ARCH, Answer, Verdict, instructions_of, simulate

NONE: frozenset[str] = frozenset()
EPERM, ENOSYS, ALLOWED = Verdict(Answer.ERRNO, errno.EPERM), Verdict(Answer.ERRNO, errno.ENOSYS), Verdict(Answer.ALLOW)


def answer(*rules: Rule, name: str, args: tuple[int, ...] = (), capabilities: frozenset[str] = NONE) -> Verdict:
    """Compile rules for x86-64 and ask for one call."""
    program = compile_seccomp(SeccompProfile(rules=rules), machine="x86_64", capabilities=capabilities, kernel=(6, 1))
    return simulate(program, arch=AUDIT_ARCH["x86_64"], nr=t.X86_64[name], args=args)


def test_what_no_rule_mentions_is_refused() -> None:
    """The profile is an allow-list."""
    assert answer(Rule(names=("read",)), name="read") == ALLOWED
    assert answer(Rule(names=("read",)), name="write") == EPERM
    assert answer(name="read") == EPERM


def test_rule_for_a_name_that_the_machine_lacks_is_skipped() -> None:
    """One profile serves all machines."""
    assert answer(Rule(names=("fork", "no_such_call", "read")), name="read") == ALLOWED


@pytest.mark.parametrize(
    ("compare", "values", "allowed"),
    [
        (Comparison.ONE_OF, (3, 5), [False, True, False, True, False]),
        (Comparison.NONE_OF, (3, 5), [True, False, True, False, True]),
        (Comparison.NO_BIT_OF, (0x6,), [False, False, False, False, False]),
        (Comparison.NO_BIT_OF, (0x8,), [True, True, True, True, True]),
        (Comparison.NO_BIT_OF, (0x1,), [True, False, True, False, True]),
        (Comparison.ONE_OF, (), [False] * 5),
    ],
)
def test_condition_looks_at_one_argument(compare: Comparison, values: tuple[int, ...], allowed: list[bool]) -> None:
    """Each kind of test, on arguments 2 to 6."""
    rule = Rule(names=("ioctl",), when=Condition(argument=1, compare=compare, values=values))

    answers = [answer(rule, name="ioctl", args=(99, value)) for value in (2, 3, 4, 5, 6)]

    assert [ALLOWED if one else EPERM for one in allowed] == answers


def test_condition_cannot_be_fooled_by_the_upper_half_of_an_argument() -> None:
    """The kernel looks at 32 bits of an int; so must the filter."""
    rule = Rule(names=("socket",), when=Condition(argument=0, compare=Comparison.NONE_OF, values=(38,)))

    assert answer(rule, name="socket", args=((1 << 32) + 38,)) == EPERM


def test_first_case_that_holds_decides() -> None:
    """Several conditional rules for a call are tried in order."""
    first = Rule(names=("kill",), action=refuse(5), when=Condition(argument=0, compare=Comparison.ONE_OF, values=(1,)))
    second = Rule(names=("kill",), when=Condition(argument=0, compare=Comparison.ONE_OF, values=(1, 2)))

    answers = [answer(first, second, name="kill", args=(value,)) for value in (1, 2, 3)]

    assert answers == [Verdict(Answer.ERRNO, 5), ALLOWED, EPERM]


def test_rule_without_condition_decides_alone() -> None:
    """A capability that lifts a restriction lifts it wherever the rule stands."""
    narrow = Rule(names=("clone",), when=Condition(argument=0, compare=Comparison.NO_BIT_OF, values=(1,)))
    wide = Rule(names=("clone",), capability="CAP_SYS_ADMIN")

    assert answer(narrow, wide, name="clone", args=(1,)) == EPERM
    assert answer(narrow, wide, name="clone", args=(1,), capabilities=frozenset({"CAP_SYS_ADMIN"})) == ALLOWED


def test_rules_apply_by_capability_machine_and_kernel() -> None:
    """Every clause of a rule must hold."""
    here = Rule(names=("a",), capability="C", without_capability="D", machines=("x86_64",), since=(5, 0))

    assert here.applies("x86_64", frozenset("C"), (5, 0))
    assert not here.applies("x86_64", frozenset("CD"), (5, 0))
    assert not here.applies("x86_64", frozenset(), (5, 0))
    assert not here.applies("aarch64", frozenset("C"), (5, 0))
    assert not here.applies("x86_64", frozenset("C"), (4, 20))


def test_number_without_a_call_is_enosys() -> None:
    """As an older kernel would answer: gaps, calls to come, x32, negative numbers."""
    program = compile_seccomp(
        SeccompProfile(rules=(Rule(names=tuple(t.X86_64)),)), machine="x86_64", capabilities=NONE, kernel=(6, 1)
    )

    answers = {nr: simulate(program, arch=AUDIT_ARCH["x86_64"], nr=nr) for nr in (400, 999, 0x40000000, 2**32 - 1)}

    assert set(answers.values()) == {ENOSYS}


@pytest.mark.parametrize(
    ("machine", "foreign"), [("x86_64", "i386"), ("x86_64", "aarch64"), ("aarch64", "x86_64"), ("aarch64", "i386")]
)
def test_foreign_architecture_is_refused_altogether(machine: str, foreign: str) -> None:
    """A filter by number is meaningless for calls that are numbered otherwise."""
    profile = SeccompProfile(rules=(Rule(names=tuple({**t.X86_64, **t.AARCH64})),))
    program = compile_seccomp(profile, machine=machine, capabilities=NONE, kernel=(6, 1))

    answers = {simulate(program, arch=AUDIT_ARCH[foreign], nr=nr) for nr in range(500)}

    assert answers == {EPERM}


def test_jumps_reach_across_a_program_of_any_size() -> None:
    """A conditional jump spans 255 instructions; decisions that alternate need several times that."""
    numbers = sorted(t.X86_64.items(), key=lambda item: item[1])
    rules = tuple(
        Rule(
            names=(name,),
            action=ALLOW if number % 3 else refuse(number % 100 + 2),
            when=None
            if number % 7
            else Condition(argument=number % 6, compare=Comparison.ONE_OF, values=tuple(range(number, number + 9))),
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
