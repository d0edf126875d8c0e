"""Row F34: a fork bomb inside `pids`. The host and its neighbours do not notice, and ending it takes no time."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

import container_kit as ck
from tests.e2e.patience import PATIENCE, eventually

pytestmark = [pytest.mark.guest, pytest.mark.needs_root, pytest.mark.needs_controllers("pids", "cpu")]

ROUNDS = 100
MOST = 12  # processes of a bomb


@pytest.fixture
def neighbour(engine: ck.Engine, image: ck.Image) -> ck.Container:
    """Give a container that only has to answer."""
    return ck.start(image, ["payload", "sleep", "1000"], detach=True, engine=engine)


def answers(box: ck.Container) -> bool:
    """Say whether a new process in the container does its work in time."""
    return box.exec(["payload", "echo", "here"], text=True, timeout=PATIENCE).stdout == "here\n"


def count_payloads() -> int:
    """Return how many processes of containers the host has, those included that only wait to be collected."""
    return sum(is_payload(Path("/proc", name)) for name in os.listdir("/proc") if name.isdigit())


def is_payload(process: Path) -> bool:
    """Say whether a process runs the program of the tests."""
    try:
        return (process / "comm").read_text() == "payload\n"
    except OSError:
        return False  # it has just ended


def group_of(box: ck.Container, engine: ck.Engine) -> Path:
    """Return a container's cgroup directory."""
    path = engine.site.cgroup_of(box.id)
    assert path is not None
    return Path(path)


def test_f34_every_fork_bomb_is_held_and_ended(engine: ck.Engine, image: ck.Image, neighbour: ck.Container) -> None:
    """In every round: as many processes as allowed and not one more, answers next door, nothing left at the end."""
    before = count_payloads()

    for number in range(ROUNDS):
        bomb = ck.start(image, ["payload", "fork-bomb"], resources=ck.Resources(pids=MOST), detach=True, engine=engine)
        eventually(lambda bomb=bomb: bomb.stats().pids == MOST, "a bomb at its limit")  # type: ignore[misc]
        most, inside, answered = bomb.stats().pids, count_payloads() - before, answers(neighbour)
        group, began = group_of(bomb, engine), time.monotonic()
        bomb.remove(force=True)
        took = time.monotonic() - began
        assert (number, MOST, True, False) == (number, most, answered, group.exists())
        assert inside <= MOST
        assert took < PATIENCE

    assert before == count_payloads()


def test_f34_the_kernel_counts_what_it_refused(engine: ck.Engine, image: ck.Image) -> None:
    """`pids.events` shows that the limit was what held it; stats tell the limit."""
    bomb = ck.start(image, ["payload", "fork-bomb"], resources=ck.Resources(pids=MOST), detach=True, engine=engine)
    events = group_of(bomb, engine) / "pids.events"

    eventually(lambda: "max 0\n" not in events.read_text(), "a refused fork")

    seen = bomb.stats()
    assert (MOST, MOST) == (seen.pids, seen.pids_limit)


def test_f34_stop_and_kill_end_a_fork_bomb(engine: ck.Engine, image: ck.Image) -> None:
    """`kill` goes through cgroup.kill: whatever the bomb does meanwhile, nothing survives."""
    bomb = ck.start(image, ["payload", "fork-bomb"], resources=ck.Resources(pids=MOST), detach=True, engine=engine)
    eventually(lambda: bomb.stats().pids == MOST, "a bomb at its limit")
    group, began = group_of(bomb, engine), time.monotonic()

    bomb.kill()
    code = bomb.wait(timeout=PATIENCE)

    assert (137, False) == (code, group.exists())
    assert time.monotonic() - began < PATIENCE


def test_f34_a_timeout_ends_a_fork_bomb_and_leaves_the_container(engine: ck.Engine, image: ck.Image) -> None:
    """Each exec has a cgroup of its own: the bomb goes with it, orphans and new sessions included."""
    limit = ck.Resources(pids=MOST)
    # With an init that collects orphans: those of a bomb would count until somebody does.
    box = ck.start(image, ["payload", "sleep", "1000"], init=True, resources=limit, detach=True, engine=engine)
    before = box.top()

    bomb = box.exec(["payload", "fork-bomb"], timeout=1.0)

    assert (True, 137) == (bomb.timed_out, bomb.returncode)
    assert [process.pid for process in before] == [process.pid for process in box.top()]
    eventually(lambda: box.stats().pids == 2, "the last orphan's burial")
    assert answers(box)


def test_f34_killing_a_process_ends_what_it_started(engine: ck.Engine, image: ck.Image) -> None:
    """Double-forked and in sessions of their own: `Process.kill` reaches them, and only them."""
    box = ck.start(image, ["payload", "sleep", "1000"], detach=True, engine=engine)
    with box.spawn(["payload", "cat"], stdin=ck.PIPE), box.spawn(["payload", "fork-tree", "3"]) as tree:
        assert tree.stdout is not None
        assert b"ready\n" == tree.stdout.readline()
        grown = box.stats().pids

        tree.kill()
        tree.wait()

        assert 6 == grown
        assert ["payload sleep 1000", "payload cat"] == [process.command for process in box.top()]
