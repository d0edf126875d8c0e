"""Laws that hold for the plan of every valid configuration on every host."""

from __future__ import annotations

import typing

from hypothesis import given, settings

from container_kit._plan.decode import decode_steps
from container_kit._plan.encode import encode_steps
from container_kit._plan.ops import (
    Attach,
    Exec,
    GatherStep,
    MakeUserNamespace,
    Mask,
    NewFilesystem,
    NewMappedOverlay,
    NewOverlay,
    OpenSubtree,
    OpenTree,
    Pivot,
    Ready,
    Seccomp,
    Step,
)
from container_kit._plan.slots import MAX_SLOTS, USER_NAMESPACE_SLOT
from container_kit._spec.security import SeccompMode
from tests.property.strategies import Launch, launches

FILLING = (NewFilesystem, NewOverlay, NewMappedOverlay, OpenTree, OpenSubtree, MakeUserNamespace)


def slots_named_by(step: Step) -> set[int]:
    """Return all slots that a step names."""
    return {number for name in ("slot", "of", "null", "empty") if (number := getattr(step, name, None)) is not None}


@settings(deadline=None, max_examples=50)
@given(launches)
def test_slots_are_filled_before_use_and_emptied_once(launch: Launch) -> None:
    """Checked here in the plainest way, independently of the check at construction."""
    filled: set[int] = set()
    attached: set[int] = set()
    for step in launch.compile().steps:
        if isinstance(step, FILLING):
            assert step.slot not in filled
            assert slots_named_by(step) <= filled | {step.slot}
            filled.add(step.slot)
        assert slots_named_by(step) <= filled - attached
        if isinstance(step, Attach | Pivot):
            attached.add(step.slot)
    assert 0 in attached
    numbered = filled - {USER_NAMESPACE_SLOT}
    assert numbered == set(range(len(numbered)))
    assert len(filled) <= MAX_SLOTS


@settings(deadline=None, max_examples=50)
@given(launches)
def test_everything_is_gathered_before_the_pivot(launch: Launch) -> None:
    """After the pivot nothing names a host path; the last step is the only Exec, after Ready."""
    steps = launch.compile().steps

    pivots = [index for index, step in enumerate(steps) if isinstance(step, Pivot)]
    assert len(pivots) == 1
    before, after = steps[: pivots[0]], steps[pivots[0] + 1 :]
    assert not any(isinstance(step, Attach | Mask | Exec) for step in before)
    assert not any(isinstance(step, FILLING) for step in after)
    assert [isinstance(step, Exec) for step in after].count(True) == 1
    assert isinstance(steps[-1], Exec)
    assert isinstance(steps[-2], Ready)


@settings(deadline=None, max_examples=50)
@given(launches)
def test_targets_are_unique_and_parents_come_first(launch: Launch) -> None:
    """A parent attached later would hide its child."""
    targets = [step.target for step in launch.compile().attach if isinstance(step, Attach)]

    assert len(targets) == len(set(targets))
    for index, target in enumerate(targets):
        assert not any(earlier.startswith(f"{target}/") for earlier in targets[:index])
    assert {mount.target for mount in launch.config.mounts} <= set(targets)


@settings(deadline=None, max_examples=50)
@given(launches)
def test_filter_is_there_exactly_when_it_was_asked_for(launch: Launch) -> None:
    """Never silently left out."""
    filters = [step for step in launch.compile().confine if isinstance(step, Seccomp)]

    assert len(filters) == (launch.config.security.seccomp is not SeccompMode.UNCONFINED)


@settings(deadline=None, max_examples=50)
@given(launches)
def test_compiled_plan_survives_the_wire(launch: Launch) -> None:
    """What C reads is what was compiled."""
    steps: tuple[Step, ...] = launch.compile().steps

    assert steps == decode_steps(encode_steps(steps), len(steps))


def test_filling_steps_are_all_that_there_are() -> None:
    """A new step that fills a slot must be added to the laws above."""
    others = {*FILLING} ^ {
        kind for kind in typing.get_args(GatherStep) if kind.__name__.startswith(("New", "Open", "Make"))
    }

    assert others == set()
