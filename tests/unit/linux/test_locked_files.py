"""Locks and forks: a child has copies of all open files, and keeps none of their locks."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import pytest

from container_kit._spec.paths import HostPath
from container_kit._state.locks import hold_lock
from container_kit._store.claims import claim_work, remove_unclaimed
from container_kit.errors import LockTimeoutError

Take: TypeAlias = Callable[[str], object]


class LeavingError(Exception):
    """Leads a child out of the block that its parent is in."""


def leave() -> None:
    """Leave the block in a child."""
    raise LeavingError


def lock(path: str) -> object:
    """Take a lock for good."""
    held = hold_lock(path, timeout=0)
    held.__enter__()
    return held


def claim(path: str) -> object:
    """Claim a piece of work."""
    return claim_work(HostPath(path), lambda: False, stall_seconds=0)


def is_free(path: str) -> bool:
    """Say whether nobody has the lock of a file."""
    try:
        with hold_lock(path, timeout=0):
            return True
    except LockTimeoutError:
        return False


@pytest.mark.parametrize("take", [lock, claim])
def test_the_child_of_a_holder_that_died_does_not_keep_the_lock(tmp_path: Path, take: Take) -> None:
    """The holder let go of nothing itself."""
    path = str(tmp_path / "lock")
    there, end = os.pipe()
    told, tell = os.pipe()
    holder = os.fork()
    if holder == 0:
        kept = take(path)
        if os.fork() == 0:
            os.close(end)
            os.write(tell, b"x")
            os.read(there, 1)  # until the test is over
        os._exit(0 if kept else 1)
    os.close(there)
    os.read(told, 1)
    os.waitpid(holder, 0)

    free = is_free(path)
    for fd in (end, told, tell):
        os.close(fd)

    assert free


def test_a_child_that_leaves_the_block_takes_nothing_from_its_parent(tmp_path: Path) -> None:
    """Neither the lock nor a file that is claimed."""
    path = str(tmp_path / "lock")
    work = HostPath(str(tmp_path / "work"))
    claimed = claim_work(work, lambda: False)
    assert claimed is not None
    child = -1
    try:
        with hold_lock(path, timeout=0):
            child = os.fork()
            if child == 0:
                leave()
            os.waitpid(child, 0)
            free = is_free(path), remove_unclaimed(work, older_than=float("inf"))
    except LeavingError:
        claimed.release(remove=True)
        os._exit(0)
    was_there = os.path.exists(work)
    claimed.release(remove=True)

    assert (False, False) == free
    assert was_there
