"""Law: the compiled filter answers what the profile says, for every profile, call and argument."""

from __future__ import annotations

import errno

from hypothesis import given, settings
from hypothesis import strategies as st

from container_kit._plan import seccomp_tables as t
from container_kit._plan.seccomp import Comparison, Condition, SeccompProfile, compile_seccomp, refuse
from container_kit.testing.bpf import AUDIT_ARCH, simulate
from tests.property.strategies import profiles

NAMES = {number: name for name, number in t.X86_64.items()}


def expected(profile: SeccompProfile, nr: int, args: list[int]) -> int:
    """Answer from the rules alone."""
    if nr not in NAMES:
        return refuse(errno.ENOSYS)
    rules = [rule for rule in profile.rules if NAMES[nr] in rule.names]
    for rule in rules:
        if rule.when is None:
            return rule.action
    for rule in rules:
        if rule.when is not None and holds(rule.when, args):
            return rule.action
    return refuse(errno.EPERM)


def holds(condition: Condition, args: list[int]) -> bool:
    """Evaluate a condition on the low halves of the arguments."""
    value = args[condition.argument] & 0xFFFFFFFF
    if condition.compare is Comparison.NO_BIT_OF:
        return value & condition.values[0] == 0
    return (value in condition.values) is (condition.compare is Comparison.ONE_OF)


@settings(deadline=None)
@given(
    profiles,
    st.lists(
        st.tuples(
            st.integers(0, 600) | st.integers(0, 2**32 - 1),
            st.lists(st.integers(0, 9) | st.integers(0, 2**64 - 1), min_size=6, max_size=6),
        ),
        min_size=1,
        max_size=20,
    ),
)
def test_filter_answers_what_the_profile_says(profile: SeccompProfile, calls: list[tuple[int, list[int]]]) -> None:
    """Random rules, random calls; all known calls with small arguments as well."""
    program = compile_seccomp(profile, machine="x86_64", capabilities=frozenset[str](), kernel=(6, 1))

    for nr, args in [*calls, *((nr, calls[0][1]) for nr in NAMES)]:
        verdict = simulate(program, arch=AUDIT_ARCH["x86_64"], nr=nr, args=args)
        assert expected(profile, nr, args) == verdict.answer | verdict.errno
