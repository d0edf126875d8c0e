"""Law: a device filter allows what its rules do, whatever the rules and whatever is asked."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from container_kit._plan.device_filter import DeviceRule, compile_device_filter
from tests.device_programs import execute, is_allowed

# Few numbers, so that rules meet each other and the requests.
numbers = st.integers(0, 3)
accesses = st.sampled_from(("r", "w", "m", "rw", "rm", "wm", "rwm"))
rules = st.builds(DeviceRule, st.sampled_from("bc"), st.none() | numbers, st.none() | numbers, accesses)
requests = st.tuples(st.sampled_from("bc"), numbers, numbers, accesses)


@given(st.lists(rules, max_size=8), st.lists(requests, min_size=1, max_size=20))
def test_a_program_answers_as_its_rules_say(
    given_rules: list[DeviceRule], asked: list[tuple[str, int, int, str]]
) -> None:
    """Compared with the rules read one by one."""
    program = compile_device_filter(given_rules)

    answers = [bool(execute(program, *request)) for request in asked]

    assert [is_allowed(given_rules, *request) for request in asked] == answers
