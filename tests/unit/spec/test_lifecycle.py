"""The lifecycle: one table."""

from __future__ import annotations

import pytest

from container_kit._spec.lifecycle import TRANSITIONS, Action, Status, check_transition, draw_lifecycle
from container_kit.errors import InvalidTransitionError


def test_every_action_has_a_row() -> None:
    """A new action without a row would be allowed nowhere, silently."""
    assert set(Action) == set(TRANSITIONS)


@pytest.mark.parametrize(
    ("action", "before", "after"),
    [
        (Action.START, Status.CREATED, Status.RUNNING),
        (Action.START, Status.EXITED, Status.RUNNING),
        (Action.STOP, Status.RUNNING, Status.EXITED),
        (Action.STOP, Status.EXITED, Status.EXITED),
        (Action.PAUSE, Status.RUNNING, Status.PAUSED),
        (Action.UNPAUSE, Status.PAUSED, Status.RUNNING),
        (Action.REMOVE, Status.EXITED, Status.REMOVED),
        (Action.REMOVE, Status.DEAD, Status.REMOVED),
    ],
)
def test_possible_actions_lead_somewhere(action: Action, before: Status, after: Status) -> None:
    """The table says what an action leads to; stopping what stopped is no error."""
    assert after is check_transition(action, before)


@pytest.mark.parametrize(
    ("action", "status"),
    [
        (Action.START, Status.RUNNING),
        (Action.START, Status.DEAD),
        (Action.EXEC, Status.EXITED),
        (Action.EXEC, Status.PAUSED),
        (Action.PAUSE, Status.PAUSED),
        (Action.UNPAUSE, Status.RUNNING),
        (Action.KILL, Status.EXITED),
        (Action.REMOVE, Status.RUNNING),
    ],
)
def test_impossible_actions_name_action_status_and_container(action: Action, status: Status) -> None:
    """The error has all of it as fields."""
    with pytest.raises(InvalidTransitionError) as caught:
        check_transition(action, status, "web")

    assert (action.value, status.value, "web") == (caught.value.action, caught.value.status, caught.value.container)


def test_hint_says_how_to_get_there() -> None:
    """The common mistakes have an answer."""
    with pytest.raises(InvalidTransitionError, match="force=True"):
        check_transition(Action.REMOVE, Status.RUNNING)


def test_nothing_comes_back_from_removal() -> None:
    """A removed container has no action."""
    assert all(Status.REMOVED not in row for row in TRANSITIONS.values())


def test_drawing_has_a_row_an_action_and_a_column_a_status() -> None:
    """The docs show the table itself."""
    lines = draw_lifecycle().splitlines()

    assert lines[0].split() == ["created", "running", "paused", "restarting", "exited", "dead"]
    first = lines[0].index("created")
    assert [line[:first].strip() for line in lines[1:]] == [action.value for action in Action]
    assert lines[1].split() == ["start", "running", "–", "–", "–", "running", "–"]
