"""A run that lasts longer than it may is killed by its monitor, whoever waits for it."""

from __future__ import annotations

import signal

import pytest

from tests.unit.monitor import wire
from tests.unit.monitor.harness import Bench

pytestmark = pytest.mark.needs_root


def test_a_run_that_lasts_too_long_is_killed_and_that_is_said(bench: Bench) -> None:
    """The message and the state file have a flag of their own; nobody asked it to stop."""
    monitor, _ = bench.run("sleep", time_limit_ms=100)

    exited = monitor.owner.expect(wire.EXITED)

    assert (signal.SIGKILL, wire.EXIT_TIME_LIMIT) == (exited.value, exited.flags)
    assert str(wire.EXIT_TIME_LIMIT) == monitor.state()["flags"]


def test_each_run_has_its_time_anew(bench: Bench) -> None:
    """A restart policy takes the limit for a failure; the next run is limited as well."""
    monitor, _ = bench.run("sleep", time_limit_ms=50, restart=wire.RESTART_ON_FAILURE, restart_max=1)

    exited = monitor.owner.expect(wire.EXITED)

    assert (signal.SIGKILL, wire.EXIT_TIME_LIMIT) == (exited.value, exited.flags)
    assert "1" == monitor.state()["restarts"]


def test_a_run_in_time_is_not_touched(bench: Bench) -> None:
    """A limit that is not reached leaves no trace."""
    monitor, _ = bench.run("count", "/count", "3", time_limit_ms=60_000)

    exited = monitor.owner.expect(wire.EXITED)

    assert (3 << 8, 0) == (exited.value, exited.flags)
