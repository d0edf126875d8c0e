"""Ending a container: signals, stop with a timeout, waiting, freezing."""

from __future__ import annotations

import os
import signal
import time

import pytest

from tests.unit.monitor import wire
from tests.unit.monitor.harness import Bench, wait_for

pytestmark = pytest.mark.needs_root


def test_stop_sends_the_configured_signal(bench: Bench) -> None:
    """A container that handles its stop signal leaves with its own code; every client is told."""
    monitor, _ = bench.run("trap", str(int(signal.SIGUSR1)), "7", stop_signal=int(signal.SIGUSR1))
    monitor.wait_ready()
    waiting, stopping = monitor.connect(), monitor.connect()
    waiting.send(wire.WAIT)

    stopping.send(wire.STOP, a=wire.DEFAULT_TIMEOUT)
    messages = [channel.expect(wire.EXITED) for channel in (waiting, stopping, monitor.owner)]

    assert [(7 << 8, wire.EXIT_STOPPED)] * 3 == [(message.value, message.flags) for message in messages]


def test_stop_can_name_another_signal(bench: Bench) -> None:
    """The message's signal goes before the configured one."""
    monitor, _ = bench.run("trap", str(int(signal.SIGINT)), "9")
    monitor.wait_ready()

    monitor.connect().send(wire.STOP, value=int(signal.SIGINT), a=wire.DEFAULT_TIMEOUT)

    assert 9 << 8 == monitor.owner.expect(wire.EXITED).value


def test_stop_forces_when_the_time_is_up(bench: Bench) -> None:
    """A container that ignores its stop signal is killed after the timeout, and that is said."""
    monitor, _ = bench.run("sleep")
    monitor.wait_ready()
    begin = time.monotonic()

    monitor.connect().send(wire.STOP, a=200)
    exited = monitor.owner.expect(wire.EXITED)

    assert signal.SIGKILL == exited.value
    assert wire.EXIT_STOPPED | wire.EXIT_FORCED == exited.flags
    assert 0.2 <= time.monotonic() - begin < 8  # a stop's own time is ten


def test_the_shortest_of_several_timeouts_wins(bench: Bench) -> None:
    """A second, more impatient stop shortens the wait of the first, and no later one makes it longer."""
    monitor, _ = bench.run("sleep")
    channel = monitor.connect()
    begin = time.monotonic()

    for timeout in (60_000, 100, 60_000):
        channel.send(wire.STOP, a=timeout)
    exited = channel.expect(wire.EXITED)

    assert exited.flags & wire.EXIT_FORCED
    assert time.monotonic() - begin < 20


def test_kill_ends_at_once(bench: Bench) -> None:
    """SIGNAL with SIGKILL ends the container and counts as a request."""
    monitor, _ = bench.run("sleep", restart=wire.RESTART_ALWAYS)

    answer = monitor.connect().ask(wire.SIGNAL, value=int(signal.SIGKILL))
    exited = monitor.owner.expect(wire.EXITED)

    assert wire.OK == answer.type
    assert (signal.SIGKILL, wire.EXIT_STOPPED) == (exited.value, exited.flags)


def test_another_signal_is_just_delivered(bench: Bench) -> None:
    """A signal that is not the stop signal reaches init and means nothing to the monitor."""
    monitor, _ = bench.run("trap", str(int(signal.SIGHUP)), "4")
    monitor.wait_ready()

    monitor.connect().ask(wire.SIGNAL, value=int(signal.SIGHUP))
    exited = monitor.owner.expect(wire.EXITED)

    assert (4 << 8, 0) == (exited.value, exited.flags)


@pytest.mark.parametrize("number", [-1, 0, 65, 2**31 - 1])
def test_a_signal_that_is_none_is_refused(bench: Bench, number: int) -> None:
    """Numbers outside 1 to 64 are errors."""
    monitor, _ = bench.run("sleep")

    answer = monitor.connect().ask(wire.SIGNAL, value=number)

    assert (wire.ERROR, 22) == (answer.type, answer.error)


def test_sigterm_of_the_monitor_is_a_stop(bench: Bench) -> None:
    """A monitor that is asked to end stops its container first."""
    monitor, _ = bench.run("trap", "15", "5")
    monitor.wait_ready()

    os.kill(monitor.pid, signal.SIGTERM)
    exited = monitor.owner.expect(wire.EXITED)

    assert (5 << 8, wire.EXIT_STOPPED) == (exited.value, exited.flags)


def test_wait_outlasts_restarts(bench: Bench) -> None:
    """WAIT is answered when the container is over, not when one run is."""
    counter = bench.rootfs / "count"
    monitor, _ = bench.run("count", "/count", "1", restart=wire.RESTART_ON_FAILURE, restart_max=2)

    channel = monitor.connect()
    channel.send(wire.WAIT)
    channel.expect(wire.EXITED)

    assert 3 == counter.stat().st_size


@pytest.mark.parametrize("kind", [wire.STOP, wire.SIGNAL])
def test_a_frozen_container_is_thawed_to_end(cgroup_bench: Bench, kind: int) -> None:
    """A paused container can be stopped and killed: it is thawed for that."""
    monitor, _ = cgroup_bench.run("trap", "15", "6")
    monitor.wait_ready()
    group = cgroup_bench.cgroup()
    (group / "cgroup.freeze").write_text("1")
    wait_for(lambda: "frozen 1" in (group / "cgroup.events").read_text(), "the container is frozen")

    monitor.connect().send(kind, value=15 if kind == wire.STOP else 9, a=wire.DEFAULT_TIMEOUT)
    exited = monitor.owner.expect(wire.EXITED)

    assert (6 << 8 if kind == wire.STOP else 9) == exited.value


def test_a_stop_during_the_launch_is_kept(cgroup_bench: Bench) -> None:
    """STOP before the exec is not lost on a process that cannot handle it yet."""
    monitor = cgroup_bench.launch("sleep", cgroup_writes=("cgroup.freeze", "1"))
    monitor.owner.send(wire.GO)
    wait_for((monitor.runtime / "control.sock").exists, "the control socket is there")
    channel = monitor.connect()
    channel.send(wire.STOP, a=300)
    heard = channel.ask(wire.SIGNAL, value=-1)  # its answer says that the stop before it was read
    group = cgroup_bench.cgroup()

    (group / "cgroup.freeze").write_text("0")
    started = monitor.owner.receive()
    exited = monitor.owner.expect(wire.EXITED)

    assert wire.ERROR == heard.type
    assert wire.STARTED == started.type
    assert wire.EXIT_STOPPED | wire.EXIT_FORCED == exited.flags
