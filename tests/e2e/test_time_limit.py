"""Story: `time_limit` ends a run that lasts longer, also when nobody waits for it."""

from __future__ import annotations

import uuid

import pytest

import container_kit as ck
from container_kit import errors
from tests.e2e.interpreters import Interpreters
from tests.e2e.patience import processes_with


def test_run_says_that_the_time_limit_ended_it(engine: ck.Engine, image: ck.Image) -> None:
    """As with a timeout: the result says so, `check` raises, and nothing it started is left."""
    marker = f"limited-{uuid.uuid4().hex}"

    completed = ck.run(image, ["payload", "fork-tree", "2", marker], time_limit=0.5, engine=engine)

    assert (True, 137, b"ready\n") == (completed.timed_out, completed.returncode, completed.stdout)
    assert [] == processes_with(marker)
    with pytest.raises(errors.ExecTimeoutError) as caught:
        completed.check_returncode()
    assert 0.5 == caught.value.timeout


def test_a_detached_container_is_ended_without_its_maker(engine: ck.Engine, interpreters: Interpreters) -> None:
    """The monitor keeps the time: a later interpreter finds it exited, and why."""
    interpreters.run(
        """
        ck.start(image, ["payload", "ignore-term"], name="late", detach=True, time_limit=0.2, engine=engine)
        """
    )

    box = ck.Container.get("late", engine=engine)
    code = box.wait(timeout=20)

    seen = box.inspect()
    assert (137, "exited", True) == (code, seen.status, seen.timed_out)


def test_an_exec_ends_with_its_container(engine: ck.Engine, image: ck.Image) -> None:
    """What was started later has no longer to live than the container."""
    box = ck.start(image, ["payload", "sleep", "1000"], time_limit=1, engine=engine)

    late = box.exec(["payload", "sleep", "1000"], timeout=30)
    code = box.wait(timeout=20)

    assert (137, False, 137) == (late.returncode, late.timed_out, code)
    assert box.inspect().timed_out


@pytest.mark.needs_cgroup2
def test_a_paused_container_is_ended_in_time(engine: ck.Engine, image: ck.Image) -> None:
    """Standing still does not make it last longer."""
    box = ck.start(image, ["payload", "sleep", "1000"], time_limit=1, engine=engine)

    box.pause()
    code = box.wait(timeout=20)

    assert (137, True) == (code, box.inspect().timed_out)


@pytest.mark.parametrize("seconds", [0, -1, float("nan")])
def test_a_time_limit_of_nothing_is_refused(engine: ck.Engine, image: ck.Image, seconds: float) -> None:
    """Zero would be no limit at all to the monitor."""
    with pytest.raises(errors.InvalidSpecError) as caught:
        ck.run(image, ["payload", "true"], time_limit=seconds, engine=engine)

    assert "time_limit" == caught.value.field
