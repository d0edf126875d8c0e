"""A crew does tasks in lanes, ends them together, and leaves no thread behind."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable

import pytest

from container_kit._images.crew import Crew, Stopped
from container_kit._images.meter import Meter
from container_kit._spec.progress import Progress
from container_kit.errors import ImageError, InvalidSpecError

PATIENCE = 20.0


def do(crew: Crew, *tasks: tuple[str, Callable[[], None]]) -> None:
    """Do tasks, each with its lane, to the end."""
    with crew:
        for lane, task in tasks:
            crew.submit(lane, task)
        crew.finish()


def left_threads() -> list[str]:
    """Return the names of threads that a crew of these tests left behind."""
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("test-")]


def test_every_task_is_done_also_those_that_tasks_submit() -> None:
    """`finish` returns when nothing is left, whoever submitted it."""
    done: list[int] = []

    with Crew("test", {"a": 2, "b": 1}) as crew:
        for number in range(20):
            crew.submit("a", lambda n=number: crew.submit("b", lambda: done.append(n)))  # type: ignore[misc]
        crew.finish()

    assert list(range(20)) == sorted(done)


def test_a_lane_has_no_more_threads_than_it_may() -> None:
    """Two at a time are two at a time, and both are used."""
    both = threading.Barrier(2, timeout=PATIENCE)
    names: set[str] = set()

    def task() -> None:
        names.add(threading.current_thread().name)
        both.wait()

    with Crew("test", {"a": 2}) as crew:
        for _ in range(10):
            crew.submit("a", task)
        crew.finish()

    assert {"test-a-1", "test-a-2"} == names


def test_a_lane_without_threads_is_refused() -> None:
    """Its tasks would wait for ever."""
    with pytest.raises(InvalidSpecError, match="download"):
        Crew("test", {"download": 0})


def test_the_first_failure_ends_the_others_and_is_raised() -> None:
    """What fails afterwards fails because of it and is not told; tasks that have not begun are not begun."""
    begun = threading.Event()
    late: list[str] = []

    def runs_long() -> None:
        begun.set()
        while not crew.is_stopping:
            stopped.wait(PATIENCE)
        raise ImageError(image="second", reason="because of the first")

    def fails() -> None:
        begun.wait(PATIENCE)
        raise ImageError(image="first", reason="broken")

    stopped = threading.Event()
    crew = Crew("test", {"a": 1, "b": 1})
    crew.at_stop(stopped.set)

    with pytest.raises(ImageError) as caught:
        do(crew, ("a", runs_long), ("a", lambda: late.append("begun")), ("b", fails))

    assert "first" == caught.value.image
    assert [] == late


def test_a_task_that_is_stopped_says_nothing() -> None:
    """`check` unwinds a task; the failure of the other one is what comes out."""
    begun = threading.Event()
    unwound = threading.Event()

    def runs_long() -> None:
        begun.set()
        try:
            while True:
                crew.check()
        except Stopped:
            unwound.set()
            raise

    def fails() -> None:
        begun.wait(PATIENCE)
        raise ImageError(image="x", reason="broken")

    crew = Crew("test", {"a": 2})
    with pytest.raises(ImageError):
        do(crew, ("a", runs_long), ("a", fails))

    assert unwound.is_set()


def test_events_come_out_in_the_callers_thread() -> None:
    """The callback need not be thread-safe, and it has been told everything when `finish` returns."""
    told: list[tuple[str, Progress]] = []

    def note(event: Progress) -> None:
        told.append((threading.current_thread().name, event))

    with Crew("test", {"a": 3}, progress=note) as crew:
        for number in range(3):
            meter = Meter(crew.report, "download", subject=str(number), total=1)
            crew.submit("a", meter.finish)
        crew.finish()

    assert {threading.current_thread().name} == {thread for thread, _ in told}
    assert ["0", "1", "2"] == sorted(event.subject for _, event in told)


def test_what_the_callback_raises_ends_the_work() -> None:
    """It is the caller's own error and comes out as it is."""

    def refuse(event: Progress) -> None:
        raise RuntimeError("enough")

    def runs_long() -> None:
        crew.report(Progress(action="download", subject="x"))
        while True:
            crew.check()

    crew = Crew("test", {"a": 1}, progress=refuse)
    with pytest.raises(RuntimeError, match="enough"):
        do(crew, ("a", runs_long))

    assert [] == left_threads()


def test_an_interrupt_ends_every_thread() -> None:
    """KeyboardInterrupt comes out of `finish`, and the threads are joined although they were at work."""
    main = threading.get_ident()

    def runs_long() -> None:
        signal.pthread_kill(main, signal.SIGINT)
        while True:
            crew.check()

    crew = Crew("test", {"a": 2})
    with pytest.raises(KeyboardInterrupt):
        do(crew, ("a", runs_long))

    assert [] == left_threads()


def test_a_meter_tells_the_first_and_the_last_and_few_between() -> None:
    """A million steps in a moment are no million events."""
    told: list[Progress] = []
    meter = Meter(told.append, "download", subject="x", total=10_000)

    for number in range(10_000):
        meter.advance(number)
    meter.finish("good")

    assert 0 == told[0].current
    assert (10_000, True, "good") == (told[-1].current, told[-1].finished, told[-1].message)
    assert len(told) < 100
