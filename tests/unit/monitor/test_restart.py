"""Restart policies as the monitor carries them out; the arithmetic is in test_pure.py."""

from __future__ import annotations

import signal
import time

import pytest

from tests.unit.monitor import wire
from tests.unit.monitor.harness import Bench, wait_for
from tests.unit.monitor.wire import step, strings, text, u32

pytestmark = pytest.mark.needs_root


def test_no_policy_runs_once(bench: Bench) -> None:
    """Without a policy a failure is the end."""
    monitor, _ = bench.run("count", "/count", "1")

    monitor.owner.expect(wire.EXITED)

    assert 1 == (bench.rootfs / "count").stat().st_size
    assert "0" == monitor.state()["restarts"]


def test_on_failure_stops_at_its_maximum(bench: Bench) -> None:
    """on-failure:2 runs three times, 100 and 200 ms apart, and ends with the last status."""
    begin = time.monotonic()
    monitor, _ = bench.run("count", "/count", "3", restart=wire.RESTART_ON_FAILURE, restart_max=2)

    exited = monitor.owner.expect(wire.EXITED)

    assert 3 == (bench.rootfs / "count").stat().st_size
    assert 3 << 8 == exited.value
    assert "2" == monitor.state()["restarts"]
    assert 0.3 <= time.monotonic() - begin < 10


def test_on_failure_leaves_a_success_alone(bench: Bench) -> None:
    """on-failure does not repeat what went well."""
    monitor, _ = bench.run("count", "/count", "0", restart=wire.RESTART_ON_FAILURE)

    monitor.owner.expect(wire.EXITED)

    assert 1 == (bench.rootfs / "count").stat().st_size


@pytest.mark.parametrize("policy", [wire.RESTART_ALWAYS, wire.RESTART_UNLESS_STOPPED])
def test_always_goes_on_until_stopped(bench: Bench, policy: int) -> None:
    """Always and unless-stopped repeat a success too; STOP during the pause ends it at once."""
    monitor, _ = bench.run("count", "/count", "0", restart=policy)
    counter = bench.rootfs / "count"
    wait_for(lambda: counter.exists() and counter.stat().st_size >= 3, "it ran three times")
    wait_for(lambda: monitor.state()["phase"] == "restarting", "it pauses")
    begin = time.monotonic()

    monitor.connect().send(wire.STOP, a=wire.DEFAULT_TIMEOUT)
    exited = monitor.owner.expect(wire.EXITED)

    assert wire.EXIT_STOPPED == exited.flags
    assert "exited" == monitor.state()["phase"]
    assert time.monotonic() - begin < 8  # a stop's own time is ten


def test_a_restart_is_a_new_run(bench: Bench) -> None:
    """The state file names the new init, and its output goes to the same log."""
    monitor, first = bench.run("trap", "10", "1", restart=wire.RESTART_ALWAYS)
    monitor.wait_ready()

    monitor.connect().ask(wire.SIGNAL, value=int(signal.SIGUSR1))
    monitor.wait_ready(times=2)
    state = monitor.state()

    assert "running" == state["phase"]
    assert str(first) != state["init"].split()[0]
    assert "1" == state["restarts"]


def test_the_policy_can_change_while_it_runs(bench: Bench) -> None:
    """RESTART_POLICY takes effect at the next end."""
    monitor, _ = bench.run("trap", "10", "1", restart=wire.RESTART_ALWAYS)
    monitor.wait_ready()
    channel = monitor.connect()

    changed = channel.ask(wire.RESTART_POLICY, value=wire.RESTART_NO)
    refused = channel.ask(wire.RESTART_POLICY, value=4)
    channel.ask(wire.SIGNAL, value=int(signal.SIGUSR1))
    monitor.owner.expect(wire.EXITED)

    assert (wire.OK, wire.ERROR) == (changed.type, refused.type)
    assert "0" == monitor.state()["restarts"]


def test_a_restart_that_cannot_launch_gives_up(bench: Bench) -> None:
    """When the program is gone the second time, the container is over and the state file says why."""
    plan = bench.plan("trap", "10", "1")
    monitor = bench.launch(plan=plan, restart=wire.RESTART_ALWAYS)
    monitor.start()
    monitor.wait_ready()
    (bench.rootfs / "payload").unlink()

    monitor.connect().ask(wire.SIGNAL, value=int(signal.SIGUSR1))
    exited = monitor.owner.expect(wire.EXITED)

    assert (len(plan) - 1, 2) == (exited.step, exited.error)
    assert f"{len(plan) - 1} 2 0" == monitor.state()["error"]


def test_a_volatile_overlay_can_be_mounted_again(bench: Bench) -> None:
    """DIRTY_WORK clears the mark of a volatile overlay before each run; what was written stays."""
    root = step(
        2, u32(0), strings((str(bench.rootfs),)), text("upper"), text("work"), u32(1), strings(("volatile", "xino=off"))
    )
    monitor = bench.launch(
        plan=bench.plan("count", "/count", "1", root=root),
        flags=wire.LOG | wire.DIRTY_WORK,
        dirs=("upper", "work"),
        restart=wire.RESTART_ON_FAILURE,
        restart_max=2,
    )
    monitor.start()

    exited = monitor.owner.expect(wire.EXITED)

    assert (1 << 8, 0) == (exited.value, exited.error)
    assert 3 == (monitor.directory / "upper" / "count").stat().st_size
