"""Locks between processes: exclusive, bounded, and gone with their holder."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from container_kit._state.locks import hold_lock
from container_kit.errors import LockTimeoutError
from tests.forks import forked

HOLDER = """
import sys
from container_kit._state.locks import hold_lock
with hold_lock(sys.argv[1], timeout=5):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def path(tmp_path: Path) -> str:
    """Where the lock is."""
    return str(tmp_path / "lock")


def start_holder(path: str) -> subprocess.Popen[bytes]:
    """Return a process that holds the lock until its stdin is closed."""
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=os.getcwd()
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    return holder


def end(holder: subprocess.Popen[bytes]) -> None:
    """Collect a holder."""
    holder.communicate(timeout=10)


def test_lock_can_be_taken_again_and_again(path: str) -> None:
    """Released at the end of the block, also by an exception."""
    with hold_lock(path, timeout=0):
        pass
    with pytest.raises(RuntimeError), hold_lock(path, timeout=0):
        raise RuntimeError
    with hold_lock(path, timeout=0):
        assert Path(path).read_text() == f"{os.getpid()}\n"


def test_holder_is_named_when_the_time_is_up(path: str) -> None:
    """So that a person can see whom to ask."""
    holder = start_holder(path)

    with pytest.raises(LockTimeoutError) as caught, hold_lock(path, timeout=0.05):
        pass

    assert (path, 0.05, holder.pid) == (caught.value.path, caught.value.timeout, caught.value.holder)
    end(holder)


def test_lock_is_released_when_its_holder_is_killed(path: str) -> None:
    """The kernel does it, whatever happened."""
    holder = start_holder(path)
    holder.send_signal(signal.SIGKILL)
    end(holder)

    with hold_lock(path, timeout=5):
        pass


def test_waiting_ends_when_the_holder_lets_go(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A waiter gets the lock, not an error."""
    holder = start_holder(path)
    pauses: list[float] = []

    def let_go(seconds: float) -> None:
        pauses.append(seconds)
        monkeypatch.undo()
        end(holder)

    monkeypatch.setattr(time, "sleep", let_go)
    with hold_lock(path, timeout=10):
        assert len(pauses) == 1


def test_threads_of_one_process_exclude_each_other(path: str) -> None:
    """Each taking opens the file anew."""
    with hold_lock(path, timeout=0), pytest.raises(LockTimeoutError), hold_lock(path, timeout=0):
        pass


def test_a_forked_child_does_not_keep_the_lock(path: str) -> None:
    """It has the descriptor, and with it the lock, if that were only closed."""
    first = hold_lock(path, timeout=0)
    first.__enter__()

    with forked():
        first.__exit__(None, None, None)
        with hold_lock(path, timeout=0):
            pass


def test_planted_symlink_is_not_followed(path: str, tmp_path: Path) -> None:
    """A lock file is ours or an error."""
    os.symlink(tmp_path / "victim", path)

    with pytest.raises(OSError, match="symbolic"), hold_lock(path, timeout=0):
        pass

    assert not (tmp_path / "victim").exists()
