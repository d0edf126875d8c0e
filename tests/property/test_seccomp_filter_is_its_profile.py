"""Law: the compiled filter answers what the profile says, for every profile, call and argument."""

from __future__ import annotations

import errno
import operator

from hypothesis import given, settings
from hypothesis import strategies as st

from container_kit._plan import seccomp_tables as t
from container_kit._plan.seccomp import ALLOW, LOG, SeccompProfile, compile_seccomp, refuse, severity
from container_kit._plan.seccomp_program import Comparison, Condition
from container_kit.testing.bpf import AUDIT_ARCH, simulate
from tests.property.strategies import profiles

NAMES = {number: name for name, number in t.X86_64.items()}
COMPARE = {
    Comparison.NE: operator.ne,
    Comparison.LT: operator.lt,
    Comparison.LE: operator.le,
    Comparison.EQ: operator.eq,
    Comparison.GE: operator.ge,
    Comparison.GT: operator.gt,
}


def expected(profile: SeccompProfile, nr: int, args: list[int]) -> int:
    """Answer from the rules alone, in the plainest way."""
    named = [t.X86_64[name] for rule in profile.rules for name in rule.names]
    if 0x40000000 <= nr < 2**32 - 1:
        return profile.foreign
    if nr > max(named, default=2**32) and nr < 0x40000000 and profile.default not in (ALLOW, LOG):
        return refuse(errno.ENOSYS)
    rules = [rule for rule in profile.rules if NAMES.get(nr) in rule.names and rule.action != profile.default]
    for rule in rules:
        if not rule.when:
            return rule.action
    answers = [rule.action for rule in rules if all(holds(condition, args) for condition in rule.when)]
    return min(answers, key=severity, default=profile.default)


def holds(condition: Condition, args: list[int]) -> bool:
    """Evaluate a condition."""
    low = (1 << condition.bits) - 1
    value, other = args[condition.argument] & low, condition.value & low
    if condition.compare is Comparison.MASKED_EQ:
        return value & condition.mask == other & condition.mask
    return bool(COMPARE[condition.compare](value, other))


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
    """Random rules, random calls; all known calls with small arguments and with those that are compared."""
    program = compile_seccomp(profile, machine="x86_64", capabilities=frozenset[str](), kernel=(6, 1))
    compared = [one.value for rule in profile.rules for one in rule.when][:6]
    arguments = [calls[0][1], [*compared, *calls[0][1]][:6]]

    for nr, args in [*calls, *((nr, args) for nr in NAMES for args in arguments)]:
        verdict = simulate(program, arch=AUDIT_ARCH["x86_64"], nr=nr, args=args)
        assert expected(profile, nr, args) == verdict.answer | verdict.errno
