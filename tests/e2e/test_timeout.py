"""Story: a timeout ends a command and everything it started, and keeps what it had said."""

from __future__ import annotations

import subprocess
import time
import uuid

import pytest

import container_kit as ck
from container_kit import errors
from tests.e2e.patience import processes_with


def test_a_timeout_ends_the_command(engine: ck.Engine, image: ck.Image) -> None:
    """The result says so, and comes soon after the time is up."""
    began = time.monotonic()

    completed = ck.run(image, ["payload", "sleep", "1000"], timeout=0.3, engine=engine)

    assert (True, 137) == (completed.timed_out, completed.returncode)
    assert 0.3 <= time.monotonic() - began < 10


def test_a_timeout_ends_the_whole_tree(engine: ck.Engine, image: ck.Image) -> None:
    """Processes that made sessions of their own and lost their parents go too; output up to then is kept."""
    marker = f"tree-of-{uuid.uuid4().hex}"

    completed = ck.run(image, ["payload", "fork-tree", "3", marker], timeout=1.5, engine=engine)

    assert (True, b"ready\n") == (completed.timed_out, completed.stdout)
    assert [] == processes_with(marker)


def test_a_timeout_with_check_raises_what_subprocess_raises(engine: ck.Engine, image: ck.Image) -> None:
    """`subprocess.TimeoutExpired` and `TimeoutError` both catch it; output and limit are kept."""
    with pytest.raises(subprocess.TimeoutExpired) as caught:
        ck.run(image, ["payload", "trap", "HUP"], timeout=1, check=True, engine=engine)

    assert isinstance(caught.value, errors.ExecTimeoutError)
    assert isinstance(caught.value, TimeoutError)
    assert (1, b"ready\n") == (caught.value.timeout, caught.value.output)


def test_a_command_that_is_in_time_is_not_touched(engine: ck.Engine, image: ck.Image) -> None:
    """A generous timeout changes nothing."""
    completed = ck.run(image, ["payload", "exit", "4"], timeout=60, engine=engine)

    assert (False, 4) == (completed.timed_out, completed.returncode)


def test_exec_timeout_ends_its_tree_and_nothing_else(engine: ck.Engine, image: ck.Image) -> None:
    """Only what the timed-out command had started is killed; the container and other commands go on."""
    marker = f"exec-of-{uuid.uuid4().hex}"
    with ck.start(image, ["payload", "sleep", "1000"], engine=engine) as box:
        bystander = box.spawn(["payload", "cat"], stdin=ck.PIPE)

        completed = box.exec(["payload", "fork-tree", "3", marker], timeout=1.5)

        assert (True, 137, b"ready\n") == (completed.timed_out, completed.returncode, completed.stdout)
        assert [] == processes_with(marker)
        assert ["payload sleep 1000", "payload cat"] == [process.command for process in box.top()]
        with bystander:
            assert bystander.stdin is not None
            bystander.stdin.write(b"still here")
            assert (b"still here", b"") == bystander.communicate()
