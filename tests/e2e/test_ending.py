"""Story: PID 1 is dead, and the monitor has not said what comes of it: the run is over, the container may not be.

A monitor that was stopped (SIGSTOP) holds that moment.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

import container_kit as ck
from container_kit import RestartPolicy, errors, wait
from container_kit._linux import processes
from container_kit._linux.processes import ProcessId
from tests.e2e.patience import PATIENCE, eventually

ALWAYS = RestartPolicy.always()
NO = RestartPolicy.no()


@pytest.fixture
def boxes(engine: ck.Engine) -> Iterator[list[ck.Container]]:
    """Give a list of containers whose monitors go on when the test is over."""
    made: list[ck.Container] = []

    yield made

    for box in made:
        for process in monitors_of(engine, box):
            processes.signal_process(process, signal.SIGCONT)


def monitors_of(engine: ck.Engine, box: ck.Container) -> list[ProcessId]:
    """Return the monitor of a container, while it is known."""
    rows = engine.site.database.query("SELECT monitor FROM containers WHERE id = ?", (box.id,))
    return [ProcessId.parse(str(row[0])) for row in rows if row[0]]


def start_box(engine: ck.Engine, image: ck.Image, restart: RestartPolicy) -> ck.Container:
    """Start a container that only sleeps."""
    return ck.start(image, ["payload", "sleep", "1000"], restart=restart, detach=True, engine=engine)


def end(engine: ck.Engine, box: ck.Container) -> ProcessId:
    """Stop the monitor and kill PID 1; return the monitor."""
    monitor = monitors_of(engine, box)[0]
    init = box.pid
    assert init is not None
    os.kill(monitor.pid, signal.SIGSTOP)
    os.kill(init, signal.SIGKILL)
    eventually(lambda: box.pid is None, "PID 1 is dead")
    return monitor


def test_one_that_will_be_started_again_is_not_exited(
    engine: ck.Engine, image: ck.Image, boxes: list[ck.Container]
) -> None:
    """Nor is it removed by those who remove what does not run."""
    box = start_box(engine, image, ALWAYS)
    boxes.append(box)
    end(engine, box)

    with pytest.raises(errors.InvalidTransitionError) as caught:
        box.remove()
    removed = ck.Container.prune(engine=engine)

    assert "restarting" == caught.value.status == box.status
    assert removed is not None
    assert [box] == ck.Container.list(engine=engine)


def test_removing_it_by_force_leaves_nothing_that_runs(
    engine: ck.Engine, image: ck.Image, boxes: list[ck.Container]
) -> None:
    """The monitor hears of it before the container's files go, and starts nothing anew."""
    box = start_box(engine, image, ALWAYS)
    boxes.append(box)
    monitor = end(engine, box)

    box.remove(force=True)

    assert not processes.is_alive(monitor)
    assert [] == ck.Container.list(all=True, engine=engine)


def test_a_stop_is_the_end(engine: ck.Engine, image: ck.Image, boxes: list[ck.Container]) -> None:
    """It does not run again."""
    box = start_box(engine, image, ALWAYS)
    boxes.append(box)
    monitor = end(engine, box)

    box.stop()

    assert not processes.is_alive(monitor)
    assert "exited" == box.status


def test_the_exit_code_is_that_of_the_last_run(engine: ck.Engine, image: ck.Image, boxes: list[ck.Container]) -> None:
    """Not of the one before, while the last one's is not known."""
    command = ["payload", "trap", "USR1"]
    box = ck.start(image, command, wait=wait.log("ready"), detach=True, engine=engine)
    boxes.append(box)
    box.stop()
    first = box.exit_code
    box.start()
    monitor = end(engine, box)
    unknown = box.exit_code
    os.kill(monitor.pid, signal.SIGCONT)

    assert (None, 137) == (unknown, box.wait(timeout=PATIENCE))
    assert first not in (None, 137)


def test_it_starts_once_the_monitor_has_ended(engine: ck.Engine, image: ck.Image, boxes: list[ck.Container]) -> None:
    """A monitor that was stopped goes on for it."""
    box = start_box(engine, image, NO)
    boxes.append(box)
    monitor = end(engine, box)
    status = box.status

    box.start()

    assert ("exited", "running") == (status, box.status)
    assert not processes.is_alive(monitor)


def test_a_signal_wakes_the_monitor(engine: ck.Engine, image: ck.Image, boxes: list[ck.Container]) -> None:
    """Otherwise it would be a success that did nothing."""
    command = ["payload", "trap", "USR1"]
    box = ck.start(image, command, wait=wait.log("ready"), detach=True, engine=engine)
    boxes.append(box)
    os.kill(monitors_of(engine, box)[0].pid, signal.SIGSTOP)

    box.kill("USR1")

    eventually(lambda: "SIGUSR1" in box.log_tail(), "the signal is received")
