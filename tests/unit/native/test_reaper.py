"""The process that stays behind as an init or a subreaper (reaper.c)."""

from __future__ import annotations

import errno
import os
import signal
from pathlib import Path

import pytest

from container_kit._plan.ops import (
    Chdir,
    EnterPidNamespace,
    ForkInit,
    InitFlag,
    JoinNamespaces,
    Namespace,
    Step,
)
from container_kit._spec.paths import ContainerPath
from tests.unit.native.harness import (
    SIX,
    Driver,
    Running,
    container,
    run_payload,
)

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_overlay]

BOTH_MEMORIES = pytest.mark.parametrize("flags", ["", "m"], ids=["shared memory", "own memory"])


def test_init_reaps_orphans(driver: Driver, payload_rootfs: Path) -> None:
    """Under the stub no zombies stay."""
    end = (ForkInit(), *run_payload("zombies", "20"))

    assert driver.run(container(payload_rootfs, end=end), flags="m").lines == ["0"]


@pytest.mark.parametrize("status", [0, 7, 255])
def test_init_exits_as_its_child(driver: Driver, payload_rootfs: Path, status: int) -> None:
    """PID 1's exit status is the payload's."""
    launch = driver.run(container(payload_rootfs, end=(ForkInit(), *run_payload("exit", str(status)))), flags="m")

    assert launch.status == status << 8


def test_init_forwards_signals(driver: Driver, payload_rootfs: Path) -> None:
    """A signal to PID 1 reaches the payload, for which it means what it usually means."""
    running = driver.start(container(payload_rootfs, end=(ForkInit(), *run_payload("cat"))), flags="m")
    running.read_until("outcome")

    os.kill(running.pid, signal.SIGTERM)
    running.read_until("status")  # before stdin closes, which would end it as well

    assert running.finish().status == (128 + signal.SIGTERM) << 8


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGHUP, 33, 64])
def test_init_forwards_every_signal(driver: Driver, payload_rootfs: Path, number: int) -> None:
    """Those that a libc keeps for itself as well; USR1 is an ordinary signal without SUBREAPER."""
    running = driver.start(container(payload_rootfs, end=(ForkInit(), *run_payload("cat"))), flags="m")
    running.read_until("outcome")

    os.kill(running.pid, number)
    running.read_until("status")

    assert running.finish().status == (128 + number) << 8


def test_init_reports_the_failure_of_its_child(driver: Driver, payload_rootfs: Path) -> None:
    """Steps after FORK_INIT fail with their number; the process ends with the failed child's status."""
    launch = driver.run(container(payload_rootfs, ForkInit(), Chdir(path=ContainerPath("/no/such"))), flags="m")

    assert launch.failure == (5, errno.ENOENT)
    assert launch.status == 125 << 8


def test_init_never_stays_in_shared_memory(driver: Driver, payload_rootfs: Path) -> None:
    """FORK_INIT in a process that lives in its launcher's memory is refused."""
    assert driver.run(container(payload_rootfs, ForkInit())).failure == (4, errno.EINVAL)


def test_init_keeps_no_descriptor(driver: Driver, payload_rootfs: Path) -> None:
    """The process that stays behind holds nothing open: not stdio, not the report, no directory."""
    running = driver.start(container(payload_rootfs, end=(ForkInit(), *run_payload("cat"))), flags="m")
    running.read_until("outcome")

    descriptors = os.listdir(f"/proc/{running.pid}/fd")
    running.finish()

    assert descriptors == []


def processes_in(namespace_of: int) -> set[int]:
    """Return the pids in the pid namespace of a process."""
    wanted = os.readlink(f"/proc/{namespace_of}/ns/pid")
    found: set[int] = set()
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            if os.readlink(f"/proc/{name}/ns/pid") == wanted:
                found.add(int(name))
        except OSError:  # ended meanwhile
            continue
    return found


def start_session(driver: Driver, into: Running, *steps: Step) -> tuple[Running, int]:
    """Start an exec session of five orphans in sessions of their own, under a reaper; return both."""
    under_reaper = (ForkInit(flags=InitFlag.SUBREAPER), *steps, *run_payload("fork-tree", "5"))
    running = driver.start(
        (JoinNamespaces(namespaces=SIX), EnterPidNamespace(), *under_reaper),
        namespaces=Namespace(0),
        target=into.pid,
        flags="m",
    )
    reaper = int(running.read_until("outcome").split()[-1])
    assert running.driver.stdout is not None
    assert running.driver.stdout.readline() == "ready\n"
    return running, reaper


@pytest.fixture
def session(driver: Driver, inhabited: Running) -> tuple[Running, int]:
    """Give such a session and its reaper."""
    running, reaper = start_session(driver, inhabited)
    assert len(processes_in(inhabited.pid)) == 8

    return running, reaper


def test_subreaper_ends_everything_it_stands_above(session: tuple[Running, int], inhabited: Running) -> None:
    """On SIGUSR1 the session and all its descendants end, and nothing else of the container."""
    running, reaper = session

    os.kill(reaper, signal.SIGUSR1)
    launch = running.finish()

    assert launch.joined_status == 137 << 8
    assert processes_in(inhabited.pid) == {inhabited.pid}


def test_subreaper_ends_children_that_become_orphans_by_it(driver: Driver, inhabited: Running) -> None:
    """Killing a parent makes its children ours, and they are next."""
    running, reaper = start_session(driver, inhabited, ForkInit())
    assert len(processes_in(inhabited.pid)) == 9

    os.kill(reaper, signal.SIGUSR1)
    launch = running.finish()

    assert launch.joined_status == 137 << 8
    assert processes_in(inhabited.pid) == {inhabited.pid}


def test_subreaper_ends_by_the_signal_that_ended_its_child(session: tuple[Running, int], inhabited: Running) -> None:
    """The wait status is the payload's; what it left running stays with the container."""
    running, reaper = session

    os.kill(reaper, signal.SIGTERM)
    running.read_until("status")
    left = processes_in(inhabited.pid)
    os.kill(inhabited.pid, signal.SIGKILL)

    assert running.finish().joined_status == signal.SIGTERM
    assert len(left) == 6
