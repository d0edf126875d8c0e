"""CPU percentages: from one reading of a run to the next."""

from __future__ import annotations

import time

import pytest

from container_kit._linux.processes import ProcessId
from container_kit._runtime import cpu_clock
from container_kit._runtime.cpu_clock import CpuClock

FIRST, SECOND = ProcessId(10, 1), ProcessId(10, 2)


@pytest.fixture
def seconds(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Give the clock's face: its last element is what time it is."""
    face = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: face[-1])
    return face


def test_the_first_reading_has_no_percentage(seconds: list[float]) -> None:
    """There is nothing to compare it with; a run that reuses the pid is another one."""
    clock = CpuClock()

    assert clock.percent(FIRST, 5.0) is None
    seconds.append(1001.0)
    assert clock.percent(SECOND, 5.0) is None


@pytest.mark.parametrize(("passed", "used", "percent"), [(2.0, 1.0, 50.0), (0.5, 1.0, 200.0), (1.0, 0.0, 0.0)])
def test_a_busy_cpu_is_a_hundred_percent(seconds: list[float], passed: float, used: float, percent: float) -> None:
    """Two busy CPUs are two hundred, as in Docker."""
    clock = CpuClock()
    clock.percent(FIRST, 3.0)

    seconds.append(1000.0 + passed)

    assert percent == clock.percent(FIRST, 3.0 + used)


def test_each_reading_is_compared_with_the_one_before(seconds: list[float]) -> None:
    """Not with the first; what ended and took its time with it does not count below zero."""
    clock = CpuClock()
    clock.percent(FIRST, 0.0)
    seconds.append(1001.0)
    clock.percent(FIRST, 1.0)
    seconds.append(1002.0)

    assert 0.0 == clock.percent(FIRST, 0.5)


def test_only_so_many_runs_are_remembered(seconds: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that was not read for the longest time is forgotten."""
    monkeypatch.setattr(cpu_clock, "_MOST_RUNS", 2)
    clock = CpuClock()
    for run in (FIRST, SECOND, FIRST, ProcessId(11, 1)):
        clock.percent(run, 0.0)

    seconds.append(1001.0)

    assert (0.0, None) == (clock.percent(FIRST, 0.0), clock.percent(SECOND, 0.0))
