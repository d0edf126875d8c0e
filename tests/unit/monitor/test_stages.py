"""Launches in two stages: init is the process that goes on in a user namespace of its own."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Unpack

import pytest

from tests.unit.monitor import wire
from tests.unit.monitor.harness import Bench, Monitor, is_alive, wait_for
from tests.unit.monitor.plans import NAMESPACES, Settings, container_plan
from tests.unit.monitor.wire import step, text, u32

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_userns]

FIRST_ID = 600000
MAP = f"0 {FIRST_ID} 65536\n"
NAMESPACE_SLOT = 9
READY = step(53)  # in the first stage: it waits for a word that comes after its end


def staged(
    bench: Bench, *argv: str, first: Sequence[bytes] = (), second: Sequence[bytes] = (), uid_map: str = MAP
) -> list[bytes]:
    """Return the plan of a small container with ids of its own, and with more steps in each stage."""
    death, root, *rest = container_plan(bench.rootfs, *argv)
    made = step(16, u32(NAMESPACE_SLOT), text(uid_map), text(MAP))
    entered = step(19, u32(NAMESPACE_SLOT), u32(NAMESPACES))
    return [death, made, root, *first, entered, death, *second, *rest]


def launch(bench: Bench, plan: list[bytes], flags: int = wire.LOG, **settings: Unpack[Settings]) -> Monitor:
    """Start a monitor that waits for GO."""
    all_settings: Settings = {"namespaces": wire.NS_MOUNT, **settings}
    return bench.launch(plan=plan, flags=flags | wire.STAGES, **all_settings)


def children_of(monitor: Monitor) -> list[int]:
    """Return the monitor's children."""
    return [int(word) for word in Path(f"/proc/{monitor.pid}/task/{monitor.pid}/children").read_text().split()]


def held(bench: Bench, flags: int = wire.LOG) -> tuple[Monitor, int]:
    """Launch one that does not get out of its first stage; return that stage's process."""
    monitor = launch(bench, staged(bench, "sleep", "1000", first=[READY]), flags)
    monitor.owner.send(wire.GO)
    wait_for(lambda: len(children_of(monitor)) == 1, "the first stage is there")
    return monitor, children_of(monitor)[0]


def uid_map_of(pid: int) -> list[str]:
    """Return the map of a process's user namespace."""
    return Path(f"/proc/{pid}/uid_map").read_text().split()


@pytest.mark.parametrize("flags", [wire.LOG, wire.LOG | wire.OWN_MEMORY], ids=["shared", "own memory"])
def test_init_is_the_process_that_goes_on(bench: Bench, flags: int) -> None:
    """Its pid is told, recorded and the monitor's only child; signals and its end are its own."""
    monitor = launch(bench, staged(bench, "sleep", "1000"), flags)

    pid = monitor.start()

    known = (monitor.state()["init"].split()[0], children_of(monitor))
    monitor.connect().send(wire.SIGNAL, value=int(signal.SIGKILL))
    assert (str(pid), [pid]) == known
    assert signal.SIGKILL == monitor.owner.expect(wire.EXITED).value


def test_the_process_that_goes_on_has_ids_and_namespaces_of_its_own(bench: Bench) -> None:
    """Nothing is shared with the monitor but the network, which was not asked for."""
    monitor = launch(bench, staged(bench, "sleep", "1000"))

    pid = monitor.start()

    assert ["0", str(FIRST_ID), "65536"] == uid_map_of(pid)
    assert FIRST_ID == os.stat(f"/proc/{pid}").st_uid
    different = [
        name
        for name in ("user", "mnt", "pid", "ipc", "uts", "net")
        if os.readlink(f"/proc/{pid}/ns/{name}") != os.readlink(f"/proc/{monitor.pid}/ns/{name}")
    ]
    assert ["user", "mnt", "pid", "ipc", "uts"] == different


def test_a_step_that_fails_is_named_in_either_stage(bench: Bench) -> None:
    """By its number in the whole plan, with its error."""
    broken = step(21, u32(77), text("/proc"), u32(0))  # attaches what is not there
    plans = [
        staged(bench, "true", uid_map="nonsense"),
        staged(bench, "true", uid_map=""),
        staged(bench, "true", first=[broken]),
        staged(bench, "true", second=[broken]),
    ]
    failures: list[tuple[int, int]] = []

    for plan in plans:
        monitor = launch(bench, plan)
        monitor.owner.send(wire.GO)
        failed = monitor.owner.expect(wire.FAILED)
        failures.append((failed.step, failed.error))
        monitor.wait()

    assert [(1, errno.EINVAL), (1, errno.EINVAL), (3, errno.EBADF), (5, errno.EBADF)] == failures


def test_the_first_stage_killed_is_a_launch_that_was_lost(bench: Bench) -> None:
    """Nothing was recorded, nobody waits for what cannot come."""
    monitor, first = held(bench)

    os.kill(first, signal.SIGKILL)

    failed = monitor.owner.expect(wire.FAILED)
    assert (wire.STEP_LOST, errno.ECHILD) == (failed.step, failed.error)
    assert 0 == monitor.wait()


@pytest.mark.parametrize("how", ["signal", "stop", "owner", "monitor"])
def test_a_first_stage_does_not_outlive_its_end(bench: Bench, how: str) -> None:
    """Ended by request, with its owner or with its monitor, however early that is."""
    monitor, first = held(bench, flags=wire.LOG | wire.OWNED | wire.REMOVE)

    if how == "signal":
        monitor.owner.send(wire.SIGNAL, value=int(signal.SIGKILL))
    elif how == "stop":
        monitor.owner.send(wire.STOP, a=0)
    elif how == "owner":
        monitor.owner.close()
    else:
        os.kill(monitor.pid, signal.SIGKILL)

    monitor.wait()
    wait_for(lambda: not is_alive(first), "the first stage is gone")
    assert how == "monitor" or not monitor.directory.exists()


def test_init_does_not_outlive_its_monitor(bench: Bench) -> None:
    """The second stage has asked for a signal of its own."""
    monitor = launch(bench, staged(bench, "sleep", "1000"))
    pid = monitor.start()

    os.kill(monitor.pid, signal.SIGKILL)

    monitor.wait()
    wait_for(lambda: not is_alive(pid), "init is gone")


def test_each_restart_has_two_stages_again(bench: Bench) -> None:
    """The state file tells of each run, with its own init."""
    monitor = launch(bench, staged(bench, "exit", "3"), restart=wire.RESTART_ON_FAILURE, restart_max=2)
    first = monitor.start()

    exited = monitor.owner.expect(wire.EXITED)
    monitor.wait()

    state = monitor.state()
    assert (3, "2") == (os.waitstatus_to_exitcode(exited.value), state["restarts"])
    assert str(first) != state["init"].split()[0]
