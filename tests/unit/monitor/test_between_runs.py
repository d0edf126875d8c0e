"""From the end of one run to the next: what the state file says meanwhile, and what may outlast the run."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.unit.monitor import wire
from tests.unit.monitor.harness import Bench, Channel, Monitor, is_alive, payload_processes, wait_for
from tests.unit.monitor.plans import exec_plan

pytestmark = pytest.mark.needs_root

PTRACE_SEIZE = 0x4206
WAIT_FOR_TRACED = 0x40000000  # __WALL


@contextmanager
def small_disk(place: Path) -> Generator[None]:
    """Mount a file system of a few pages; unmount it afterwards."""
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32k", "none", place], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", place], check=True)


def fill(path: Path) -> None:
    """Write a file until its file system is full."""
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            return


def ended_while_stopped(bench: Bench, restart: int) -> tuple[Monitor, Channel]:
    """Start a container, stop its monitor and kill init: nothing of this was seen yet; return a connection as well."""
    monitor, init = bench.run("sleep", restart=restart)
    channel = monitor.connect()
    assert wire.OK == channel.ask(wire.CLOSE_STDIN).type  # it was accepted
    os.kill(monitor.pid, signal.SIGSTOP)
    os.kill(init, signal.SIGKILL)
    wait_for(lambda: not is_alive(init), "init is dead")
    return monitor, channel


def next_record(monitor: Monitor) -> dict[str, str]:
    """Let a stopped monitor go on; return the record it writes first, which it writes into a FIFO."""
    fifo = monitor.runtime / "state.new"
    os.mkfifo(fifo)
    os.kill(monitor.pid, signal.SIGCONT)
    return dict(line.split("=", 1) for line in fifo.read_text().splitlines())


def trace(pid: int) -> None:
    """Become the tracer of a process: when it is dead, its parent cannot reap it before the tracer has (ptrace(2))."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = [ctypes.c_long] * 4
    assert 0 == libc.ptrace(PTRACE_SEIZE, pid, 0, 0), os.strerror(ctypes.get_errno())


def exec_cgroups(monitor: Monitor) -> set[str]:
    """Return the cgroups of exec sessions that a monitor has open, by their names."""
    links = [os.readlink(entry) for entry in Path(f"/proc/{monitor.pid}/fd").iterdir()]
    return {Path(link.removesuffix(" (deleted)")).name for link in links if "/exec-" in link}


def test_the_file_says_at_once_that_another_run_is_to_come(bench: Bench) -> None:
    """The first record after the death of init says so, with how the run ended; a stop in the same moment holds."""
    monitor, channel = ended_while_stopped(bench, wire.RESTART_ALWAYS)
    channel.send(wire.STOP, a=wire.DEFAULT_TIMEOUT)

    record = next_record(monitor)
    exited = monitor.owner.expect(wire.EXITED)

    assert ("restarting", "9", "0") == (record["phase"], record["status"], record["flags"])
    assert int(record["finished"]) > int(record["started"])
    assert (9, wire.EXIT_STOPPED) == (exited.value, exited.flags)
    assert ("exited", "0") == (monitor.state()["phase"], monitor.state()["restarts"])


def test_the_last_run_ends_with_one_record(bench: Bench) -> None:
    """Where no other run is wanted, the first record after the death of init is the last one."""
    monitor, _ = ended_while_stopped(bench, wire.RESTART_NO)

    record = next_record(monitor)
    monitor.owner.expect(wire.EXITED)

    assert "exited" == record["phase"]


def test_a_kill_before_the_pause_ends_the_restarts(bench: Bench) -> None:
    """SIGKILL is taken from the death of init on, as it is in the pause that follows."""
    monitor, channel = ended_while_stopped(bench, wire.RESTART_ALWAYS)
    channel.send(wire.SIGNAL, value=int(signal.SIGKILL))

    os.kill(monitor.pid, signal.SIGCONT)
    answer = channel.receive()
    exited = monitor.owner.expect(wire.EXITED)

    assert wire.OK == answer.type
    assert (9, wire.EXIT_STOPPED) == (exited.value, exited.flags)
    assert "0" == monitor.state()["restarts"]


def test_a_record_that_could_not_be_written_is_made_up_for(bench: Bench) -> None:
    """A full disk hides a restart from the state file only until there is room."""
    place = bench.place / "r0"
    with small_disk(place):
        monitor, first = bench.run("trap", "10", "1", restart=wire.RESTART_ALWAYS)
        try:
            monitor.wait_ready()
            fill(place / "ballast")
            monitor.connect().ask(wire.SIGNAL, value=int(signal.SIGUSR1))
            monitor.wait_ready(times=2)
            before = monitor.state()

            (place / "ballast").unlink()
            wait_for(lambda: monitor.state()["restarts"] == "1", "the run is in the state file")
            after = monitor.state()
            alive = is_alive(int(after["init"].split()[0]))
        finally:
            monitor.close()

    assert str(first) == before["init"].split()[0]
    assert ("running", "1", True) == (after["phase"], after["launched"], alive)
    assert "finished" not in after


def test_a_probe_that_outlasts_its_run_is_waited_for(cgroup_bench: Bench) -> None:
    """Its session is not taken for another probe, so nothing of it is lost, and it says nothing of the next run."""
    monitor = cgroup_bench.launch(
        "sleep",
        health=exec_plan("sleep", namespaces=wire.NS_MOUNT),
        health_interval_ms=1,
        health_timeout_ms=600_000,
        health_retries=3,
        namespaces=wire.NS_MOUNT,
        restart=wire.RESTART_ALWAYS,
    )
    init = monitor.start()
    wait_for(lambda: len(payload_processes()) == 2, "a probe runs")
    (probe,) = payload_processes() - {init}
    trace(probe)

    os.kill(init, signal.SIGKILL)
    monitor.wait_ready(times=2)  # five seconds are given to the sessions of the first run
    channel = monitor.connect()
    for _ in range(100):  # turns of the monitor, in which a probe would be begun
        channel.ask(wire.CLOSE_STDIN)
    os.waitpid(probe, WAIT_FOR_TRACED)
    wait_for(lambda: len(payload_processes()) == 2, "a probe of the second run runs")

    assert {"exec-2"} == exec_cgroups(monitor)
    assert ("1", "starting", "0") == tuple(monitor.state()[key] for key in ("restarts", "health", "failing"))
    assert not (monitor.runtime / "health").exists()
