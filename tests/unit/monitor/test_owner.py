"""Who a container belongs to: it ends with its owner, unless the owner let go of it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time

import pytest

from tests.unit.monitor import wire
from tests.unit.monitor.harness import Bench, Channel, Monitor, is_alive, payload_processes, wait_for
from tests.unit.monitor.plans import PAYLOAD
from tests.unit.monitor.wire import step, strings, text, u32

pytestmark = pytest.mark.needs_root

OWNER = """
import json, sys, time
from pathlib import Path
from tests.unit.monitor import plans, wire
from tests.unit.monitor.harness import Bench
plans.PAYLOAD = sys.argv[6]
bench = Bench(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]))
monitor = bench.launch("trap", "10", "3", flags=int(sys.argv[4]))
monitor.start()
if sys.argv[5] == "detach":
    monitor.owner.send(wire.DETACH)
print(monitor.pid, flush=True)
sys.stdin.read()
"""


def own(bench: Bench, flags: int, word: str = "") -> tuple[subprocess.Popen[bytes], int]:
    """Start a process that owns a container; return it and the monitor's pid."""
    arguments = [str(bench.program), str(bench.rootfs), str(bench.place), str(flags), word, PAYLOAD]
    pipe = subprocess.PIPE
    owner = subprocess.Popen([sys.executable, "-c", OWNER, *arguments], stdin=pipe, stdout=pipe)
    assert owner.stdout is not None
    return owner, int(owner.stdout.readline())


def finish(owner: subprocess.Popen[bytes]) -> None:
    """Kill the owner as -9 would and collect it."""
    owner.kill()
    owner.communicate()


@pytest.mark.parametrize("flags", [wire.REMOVE, wire.REMOVE_OWNED])
def test_a_container_is_gone_a_second_after_its_owner(bench: Bench, flags: int) -> None:
    """Kill -9 of the owner ends the container and removes its directories at once: in a second, mostly."""
    owner, monitor = own(bench, wire.LOG | wire.OWNED | flags)
    begin = time.monotonic()

    finish(owner)
    wait_for(lambda: not is_alive(monitor), "the monitor is gone")
    took = time.monotonic() - begin

    assert took < 8  # a stop would wait ten for what does not listen
    assert set() == payload_processes()
    assert ["root"] == os.listdir(bench.place)


def test_closing_the_channel_lets_go_as_well(bench: Bench) -> None:
    """An owned container ends when its owner hangs up, though the owner lives."""
    monitor, _ = bench.run("sleep", flags=wire.LOG | wire.OWNED | wire.REMOVE_OWNED)

    monitor.owner.close()

    assert 0 == monitor.wait()
    assert ["root"] == os.listdir(bench.place)


def test_without_remove_an_owned_container_leaves_its_files(bench: Bench) -> None:
    """The owner's end is the container's end; what was not to be removed stays."""
    monitor, _ = bench.run("sleep", flags=wire.LOG | wire.OWNED)

    monitor.owner.close()
    monitor.wait()

    assert (monitor.directory / "log").exists()
    assert ("exited", str(wire.EXIT_STOPPED)) == (monitor.state()["phase"], monitor.state()["flags"])


def test_a_container_nobody_owns_lives_on(bench: Bench) -> None:
    """Without OWNED, hanging up means nothing."""
    monitor, init = bench.run("sleep")

    monitor.owner.close()
    answer = monitor.connect().ask(wire.SIGNAL, value=int(signal.SIGURG))

    assert wire.OK == answer.type
    assert {init} == payload_processes()


def test_detach_is_heard_before_the_death_that_follows(bench: Bench) -> None:
    """DETACH as the owner's last words keeps the container: it ends by itself later, and its files stay."""
    owner, pid = own(bench, wire.LOG | wire.OWNED | wire.REMOVE_OWNED, "detach")
    nobody = Channel(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET))
    monitor = Monitor(pid, nobody, bench.place / "c0", bench.place / "r0")
    monitor.wait_ready()

    finish(owner)  # what it sent and its end are there for the monitor before we are
    channel = monitor.connect()
    channel.ask(wire.SIGNAL, value=int(signal.SIGUSR1))
    wait_for(lambda: not is_alive(pid), "the monitor is gone")
    nobody.close()
    channel.close()

    assert (str(3 << 8), "0") == (monitor.state()["status"], monitor.state()["flags"])
    assert b"ready\n" == monitor.output()


def test_without_go_nothing_is_done(bench: Bench) -> None:
    """An owner that goes away before GO leaves a monitor that did nothing."""
    monitor = bench.launch("sleep", flags=wire.LOG | wire.REMOVE)

    monitor.owner.close()

    assert 0 == monitor.wait()
    assert ["root"] == os.listdir(bench.place)


def test_an_owner_that_is_not_the_parent_is_refused(bench: Bench) -> None:
    """The owner must be who started the monitor: a pid can be reused before the monitor looks."""
    monitor = bench.launch("sleep", flags=wire.OWNED, owner_pid=1)

    assert wire.STEP_REQUEST == monitor.owner.expect(wire.FAILED).step
    assert 0 == monitor.wait()


def test_remove_takes_an_overlay_away(bench: Bench) -> None:
    """After REMOVE neither the overlay's work directory of mode 000 nor anything else is left."""
    root = step(2, u32(0), strings((str(bench.rootfs),)), text("upper"), text("work"), u32(1), strings(()))
    monitor = bench.launch(
        plan=bench.plan("files", "/new", "3", "10", root=root), flags=wire.LOG | wire.REMOVE, dirs=("upper", "work")
    )
    monitor.start()

    exited = monitor.owner.expect(wire.EXITED)

    assert (0, wire.EXIT_CLEAN) == (exited.value, exited.flags)
    assert ["root"] == os.listdir(bench.place)


@pytest.mark.parametrize(("depth", "files"), [(0, 3000), (15, 10), (40, 10), (1500, 1)])
def test_any_tree_is_removed(bench: Bench, depth: int, files: int) -> None:
    """Neither many files nor a depth beyond any path's length keeps REMOVE from removing."""
    place = bench.place / "c0"
    plan = [
        *bench.plan()[:-2],
        step(53),
        step(60, strings(("/payload",)), strings((PAYLOAD, "files", "/tmp/tree", str(depth), str(files))), strings(())),
    ]
    plan.insert(2, step(3, u32(3), text("tree"), u32(0)))
    plan.insert(-2, step(21, u32(3), text("/tmp"), u32(0)))
    monitor = bench.launch(plan=plan, flags=wire.LOG | wire.REMOVE, dirs=("tree",))
    monitor.start()

    exited = monitor.owner.expect(wire.EXITED)

    assert (0, wire.EXIT_CLEAN) == (exited.value, exited.flags)
    assert not place.exists()


def test_removal_follows_no_symlink(bench: Bench) -> None:
    """A symlink in the container's directory is removed itself; what it points to stays."""
    victim = bench.place / "victim"
    victim.mkdir()
    (victim / "file").write_text("mine")
    monitor, _ = bench.run("sleep", flags=wire.LOG | wire.REMOVE)
    (monitor.directory / "link").symlink_to(victim)
    (monitor.directory / "file-link").symlink_to(victim / "file")

    monitor.connect().ask(wire.SIGNAL, value=9)
    exited = monitor.owner.expect(wire.EXITED)

    assert wire.EXIT_CLEAN & exited.flags
    assert "mine" == (victim / "file").read_text()


def test_a_monitor_that_only_removes_runs_nothing(bench: Bench) -> None:
    """REMOVE_ONLY takes away what another monitor left, and says so."""
    first, _ = bench.run("say", "left behind", "")
    first.owner.expect(wire.EXITED)
    first.wait()
    monitor = bench.launch(
        "count",
        "/count",
        "1",
        flags=wire.REMOVE_ONLY,
        container_dir=str(first.directory),
        runtime_dir=str(first.runtime),
    )

    monitor.owner.send(wire.GO)
    exited = monitor.owner.expect(wire.EXITED)

    assert (0, wire.EXIT_CLEAN, 0) == (exited.value, exited.flags, exited.error)
    assert ["root"] == os.listdir(bench.place)
    assert not (bench.rootfs / "count").exists()
