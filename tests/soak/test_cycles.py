"""A thousand times the same, one after the other and at once: nothing is left, nothing grows."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

import container_kit as ck
from container_kit._runtime.state_file import read_state
from tests.soak.growth import size_of

pytestmark = pytest.mark.soak

CYCLES = 1000
WARM_UP = 50
# What an interpreter and SQLite's cache may still take after the warm-up.
ROOM_KIB = 5 << 10
# A monitor allocates nothing: a page or two of its stack may still be touched for the first time.
MONITOR_ROOM_KIB = 64


def test_a_thousand_containers_come_and_go(engine: ck.Engine, image: ck.Image) -> None:
    """Create, start, stop, remove."""
    box = ck.Container.create(image, ["payload", "sleep", "1000"], detach=True, engine=engine)
    box.remove()
    for number in range(WARM_UP + CYCLES):
        if number == WARM_UP:
            before = size_of()
        box = ck.Container.create(image, ["payload", "sleep", "1000"], detach=True, engine=engine)
        box.start()
        box.stop(timeout=0)
        box.remove()

    after = size_of()

    assert before.descriptors == after.descriptors
    assert after.resident_kib - before.resident_kib < ROOM_KIB
    assert [] == ck.Container.list(all=True, engine=engine)


def test_one_container_starts_and_stops_a_thousand_times(engine: ck.Engine, image: ck.Image) -> None:
    """The same one, its files kept in between."""
    box = ck.Container.create(image, ["payload", "sleep", "1000"], detach=True, engine=engine)
    for number in range(WARM_UP + CYCLES):
        if number == WARM_UP:
            before = size_of()
        box.start()
        box.stop(timeout=0)

    after = size_of()

    assert before.descriptors == after.descriptors
    assert after.resident_kib - before.resident_kib < ROOM_KIB
    box.remove()


def test_a_thousand_runs_leave_the_caller_as_it_was(engine: ck.Engine, image: ck.Image) -> None:
    """Each gives its output."""
    for number in range(WARM_UP + CYCLES):
        if number == WARM_UP:
            before = size_of()
        assert b"hello\n" == ck.run(image, ["payload", "echo", "hello"], engine=engine).stdout

    after = size_of()

    assert before.descriptors == after.descriptors
    assert after.resident_kib - before.resident_kib < ROOM_KIB


def test_a_thousand_execs_leave_caller_and_monitor_as_they_were(engine: ck.Engine, image: ck.Image) -> None:
    """All in one container."""
    with ck.start(image, ["payload", "sleep", "1000"], engine=engine) as box:
        state = read_state(engine.site.home.state_file(box.id))
        assert state is not None
        for number in range(WARM_UP + CYCLES):
            if number == WARM_UP:
                before, monitor_before = size_of(), size_of_monitor(state.monitor.pid)
            assert b"hello\n" == box.exec(["payload", "echo", "hello"]).stdout

        after, monitor_after = size_of(), size_of_monitor(state.monitor.pid)

        assert before.descriptors == after.descriptors
        assert after.resident_kib - before.resident_kib < ROOM_KIB
        assert monitor_after - monitor_before < MONITOR_ROOM_KIB
        assert ["payload sleep 1000"] == [process.command for process in box.top()]


def size_of_monitor(pid: int) -> int:
    """Return a monitor's resident KiB; its descriptors cannot be counted by other users than root."""
    with open(f"/proc/{pid}/status", encoding="ascii") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS:"))


@pytest.mark.needs_root
def test_a_thousand_execs_cost_the_monitor_no_descriptor(engine: ck.Engine, image: ck.Image) -> None:
    """Counted as root, since monitors cannot be looked into."""
    with ck.start(image, ["payload", "sleep", "1000"], engine=engine) as box:
        state = read_state(engine.site.home.state_file(box.id))
        assert state is not None
        box.exec(["payload", "true"])
        before = size_of(state.monitor.pid)
        for _ in range(CYCLES):
            box.exec(["payload", "true"])

        assert before.descriptors == size_of(state.monitor.pid).descriptors


def test_five_hundred_runs_thirty_two_at_once(engine: ck.Engine, image: ck.Image) -> None:
    """Each gets its own output, whatever the others do."""
    with ThreadPoolExecutor(32) as pool:
        answers = list(
            pool.map(lambda n: ck.run(image, ["payload", "echo", str(n)], text=True, engine=engine), range(500))
        )

    assert [f"{number}\n" for number in range(500)] == [answer.stdout for answer in answers]
    assert {0} == {answer.returncode for answer in answers}
    assert [] == ck.Container.list(all=True, engine=engine)


def test_ten_thousand_orphans_are_reaped(engine: ck.Engine, image: ck.Image) -> None:
    """With init=True; the payload counts the zombies that are left after its orphans have ended."""
    completed = ck.run(image, ["payload", "zombies", "10000"], init=True, text=True, engine=engine)

    assert ("0\n", 0) == (completed.stdout, completed.returncode)
