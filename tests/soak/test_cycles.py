"""A thousand times the same, one after the other and at once: nothing is left, nothing grows."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

import container_kit as ck
from container_kit._runtime.state_file import read_state
from tests.soak.growth import resident_kib, size_of

pytestmark = pytest.mark.soak

SLEEP = ["payload", "sleep", "1000"]
CYCLES = 1000
WARM_UP = 50
# What an interpreter and SQLite's cache may still take after the warm-up.
ROOM_KIB = 5 << 10
# A monitor allocates nothing: a page or two of its stack may still be touched for the first time.
MONITOR_ROOM_KIB = 64


def assert_steady(action: Callable[[], object]) -> None:
    """Do it a thousand times after a warm-up; this process must not have grown."""
    for _ in range(WARM_UP):
        action()
    before = size_of()

    for _ in range(CYCLES):
        action()

    after = size_of()
    assert before.descriptors == after.descriptors
    assert after.resident_kib - before.resident_kib < ROOM_KIB


def test_a_thousand_containers_come_and_go(engine: ck.Engine, image: ck.Image) -> None:
    """Create, start, stop, remove."""

    def cycle() -> None:
        box = ck.Container.create(image, SLEEP, detach=True, engine=engine)
        box.start()
        box.stop(timeout=0)
        box.remove()

    assert_steady(cycle)

    assert [] == ck.Container.list(all=True, engine=engine)


def test_one_container_starts_and_stops_a_thousand_times(engine: ck.Engine, image: ck.Image) -> None:
    """The same one, its files kept in between."""
    box = ck.Container.create(image, SLEEP, detach=True, engine=engine)

    def cycle() -> None:
        box.start()
        box.stop(timeout=0)

    assert_steady(cycle)

    box.remove()


def test_a_thousand_runs_leave_the_caller_as_it_was(engine: ck.Engine, image: ck.Image) -> None:
    """Each gives its output."""

    def cycle() -> None:
        assert b"hello\n" == ck.run(image, ["payload", "echo", "hello"], engine=engine).stdout

    assert_steady(cycle)


def test_a_thousand_execs_leave_caller_and_monitor_as_they_were(engine: ck.Engine, image: ck.Image) -> None:
    """All in one container, whose monitor allocates nothing."""
    with ck.start(image, SLEEP, engine=engine) as box:
        state = read_state(engine.site.home.state_file(box.id))
        assert state is not None

        def cycle() -> None:
            assert b"hello\n" == box.exec(["payload", "echo", "hello"]).stdout

        cycle()
        monitor_before = resident_kib(state.monitor.pid)
        assert_steady(cycle)

        assert resident_kib(state.monitor.pid) - monitor_before < MONITOR_ROOM_KIB
        assert ["payload sleep 1000"] == [process.command for process in box.top()]


@pytest.mark.needs_root
def test_a_thousand_execs_cost_the_monitor_no_descriptor(engine: ck.Engine, image: ck.Image) -> None:
    """Counted as root, since monitors cannot be looked into."""
    with ck.start(image, SLEEP, engine=engine) as box:
        state = read_state(engine.site.home.state_file(box.id))
        assert state is not None
        box.exec(["payload", "true"])
        before = size_of(state.monitor.pid)
        for _ in range(CYCLES):
            box.exec(["payload", "true"])

        assert before.descriptors == size_of(state.monitor.pid).descriptors


def test_five_hundred_runs_thirty_two_at_once(engine: ck.Engine, image: ck.Image) -> None:
    """Each gets its own output, whatever the others do."""

    def run(number: int) -> ck.Completed[str]:
        return ck.run(image, ["payload", "echo", str(number)], text=True, engine=engine)

    with ThreadPoolExecutor(32) as pool:
        answers = list(pool.map(run, range(500)))

    assert [f"{number}\n" for number in range(500)] == [answer.stdout for answer in answers]
    assert {0} == {answer.returncode for answer in answers}
    assert [] == ck.Container.list(all=True, engine=engine)


def test_ten_thousand_orphans_are_reaped(engine: ck.Engine, image: ck.Image) -> None:
    """With init=True; the payload counts the zombies that are left after its orphans have ended."""
    completed = ck.run(image, ["payload", "zombies", "10000"], init=True, text=True, engine=engine)

    assert ("0\n", 0) == (completed.stdout, completed.returncode)
