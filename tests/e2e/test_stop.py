"""Story: end containers in every way, and start them again."""

from __future__ import annotations

import signal
import threading
import time
import uuid

import pytest

import container_kit as ck
from container_kit import errors, wait
from tests.e2e.patience import PATIENCE, processes_with

TRAP_READY = wait.log("ready").within(20)


def test_stop_asks_with_sigterm(engine: ck.Engine, image: ck.Image) -> None:
    """A command that heeds it ends by itself, well before it would be killed."""
    box = ck.start(image, ["payload", "trap", "HUP"], wait=TRAP_READY, engine=engine)

    began = time.monotonic()
    box.stop(timeout=60)

    assert time.monotonic() - began < 30
    assert ("exited", int(signal.SIGTERM)) == (box.status, box.exit_code)


def test_stop_kills_what_does_not_listen(engine: ck.Engine, image: ck.Image) -> None:
    """After the timeout, with everything it started."""
    marker = f"tree-of-{uuid.uuid4().hex}"
    box = ck.start(image, ["payload", "fork-tree", "2", marker], wait=TRAP_READY, engine=engine)

    began = time.monotonic()
    box.stop(timeout=0.3)

    assert 0.3 <= time.monotonic() - began < 10
    assert ("exited", 137) == (box.status, box.exit_code)
    assert [] == processes_with(marker)


def test_the_containers_own_timeout_counts_unless_said(engine: ck.Engine, image: ck.Image) -> None:
    """`stop_timeout` is part of the container."""
    box = ck.start(image, ["payload", "ignore-term"], stop_timeout=0.2, wait=TRAP_READY, engine=engine)

    began = time.monotonic()
    box.stop()

    assert 0.2 <= time.monotonic() - began < 8
    assert 137 == box.exit_code


@pytest.mark.parametrize("by", ["option", "image"])
def test_the_stop_signal_can_be_chosen(engine: ck.Engine, image: ck.Image, by: str) -> None:
    """By the caller or by the image."""
    command = ["payload", "trap", "USR1", "TERM"]
    if by == "image":
        image = ck.Image.from_directory(image.name, config=ck.ImageConfig(stop_signal=signal.SIGUSR1))
        box = ck.start(image, command, wait=TRAP_READY, detach=True, engine=engine)
    else:
        box = ck.start(image, command, stop_signal="USR1", wait=TRAP_READY, detach=True, engine=engine)

    stopping = threading.Thread(target=lambda: box.stop(timeout=PATIENCE))
    stopping.start()
    box.wait(condition=wait.log("SIGUSR1").within(PATIENCE))
    box.kill()
    stopping.join(PATIENCE)

    assert ["ready", "SIGUSR1"] == [line.text for line in box.logs()]


def test_stopping_what_does_not_run_is_fine(engine: ck.Engine, image: ck.Image) -> None:
    """Teardown is idempotent."""
    box = ck.Container.create(image, ["payload", "exit", "3"], engine=engine)

    box.stop()
    box.start()
    code = box.wait()
    box.stop()

    assert (3, 3) == (code, box.exit_code)


def test_kill_sends_any_signal(engine: ck.Engine, image: ck.Image) -> None:
    """By name, with or without SIG, or by number; the container goes on if the command does."""
    box = ck.start(image, ["payload", "trap", "HUP", "USR1", "USR2"], wait=TRAP_READY, engine=engine)

    for sent, name in (("HUP", "SIGHUP"), ("SIGUSR1", "SIGUSR1"), (int(signal.SIGUSR2), "SIGUSR2")):
        box.kill(sent)
        box.wait(condition=wait.log(f"^{name}$").within(10))

    assert "running" == box.status


def test_kill_ends_the_whole_container(engine: ck.Engine, image: ck.Image) -> None:
    """SIGKILL is for every process in it."""
    marker = f"tree-of-{uuid.uuid4().hex}"
    box = ck.start(image, ["payload", "fork-tree", "3", marker], wait=TRAP_READY, engine=engine)

    box.kill()

    assert 137 == box.wait(timeout=10)
    assert [] == processes_with(marker)


@pytest.mark.parametrize("action", ["kill", "pause", "unpause"])
def test_what_needs_a_running_container_says_so(engine: ck.Engine, image: ck.Image, action: str) -> None:
    """A typed error with the status in it."""
    box = ck.Container.create(image, ["payload", "true"], engine=engine)

    with pytest.raises(errors.InvalidTransitionError) as caught:
        getattr(box, action)()

    assert (action, "created") == (caught.value.action, caught.value.status)


def test_start_of_a_running_container_is_an_error(engine: ck.Engine, image: ck.Image) -> None:
    """And does not disturb it."""
    box = ck.start(image, ["payload", "sleep", "1000"], engine=engine)
    pid = box.pid

    with pytest.raises(errors.InvalidTransitionError) as caught:
        box.start()

    assert ("start", "running") == (caught.value.action, caught.value.status)
    assert pid == box.pid


@pytest.mark.parametrize("detach", [False, True])
def test_a_stopped_container_starts_again_with_what_it_wrote(engine: ck.Engine, image: ck.Image, detach: bool) -> None:
    """Its files and its log outlive the run."""
    box = ck.start(image, ["payload", "trap", "HUP"], detach=detach, wait=TRAP_READY, engine=engine)
    box.exec(["payload", "write", "/srv/kept", "of the first run"], check=True)

    box.stop()
    box.start()

    kept = box.exec(["payload", "cat", "/srv/kept"]).stdout
    box.wait(condition=wait.log("ready"))
    box.stop()
    assert b"of the first run" == kept
    assert ["ready", "ready"] == [line.text for line in box.logs()]


def test_restart_gives_a_new_process(engine: ck.Engine, image: ck.Image) -> None:
    """Stop and start in one; also from created and exited."""
    box = ck.Container.create(image, ["payload", "trap", "HUP"], engine=engine)

    box.restart()
    first = box.pid
    box.wait(condition=TRAP_READY)
    box.restart(timeout=20)
    second = box.pid
    box.kill()
    box.wait()
    box.restart()

    assert "running" == box.status
    assert 3 == len({first, second, box.pid})
