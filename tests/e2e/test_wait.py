"""Story: wait for a container's end, or until it is ready."""

from __future__ import annotations

import threading
import time

import pytest

import container_kit as ck
from container_kit import errors, wait


def test_wait_returns_the_exit_code_again_and_again(engine: ck.Engine, image: ck.Image) -> None:
    """Also long after the end."""
    box = ck.start(image, ["payload", "exit", "7"], engine=engine)

    assert [7, 7, 7] == [box.wait(), box.wait(timeout=0), box.exit_code]


def test_wait_gives_up_in_time_and_the_container_goes_on(engine: ck.Engine, image: ck.Image) -> None:
    """A TimeoutError that says what was waited for."""
    box = ck.start(image, ["payload", "sleep", "1000"], engine=engine)

    with pytest.raises(TimeoutError) as caught:
        box.wait(timeout=0.2)

    assert isinstance(caught.value, errors.WaitTimeoutError)
    assert 0.2 == caught.value.timeout
    assert "running" == box.status


def test_waiting_for_what_was_never_started_waits_for_its_first_run(engine: ck.Engine, image: ck.Image) -> None:
    """Another thread starts it meanwhile."""
    box = ck.Container.create(image, ["payload", "exit", "5"], engine=engine)
    starter = threading.Timer(0.1, box.start)
    starter.start()

    code = box.wait(timeout=20)

    starter.join()
    assert 5 == code


def test_start_waits_for_a_log_line(engine: ck.Engine, image: ck.Image) -> None:
    """The condition is a regular expression."""
    box = ck.start(image, ["payload", "trap", "HUP"], wait=wait.log(r"^rea.y$"), engine=engine)

    assert ["ready"] == [line.text for line in box.logs()]


def test_start_waits_for_a_port(engine: ck.Engine, image: ck.Image) -> None:
    """Something listens inside; nothing needs to be published."""
    with ck.start(image, ["payload", "listen", "5432"], wait=wait.port(5432).within(20), engine=engine) as box:
        assert 5432 in box.listening_ports()


def test_conditions_are_composed(engine: ck.Engine, image: ck.Image) -> None:
    """`&` wants both, `|` one of them."""
    command = ["payload", "listen", "5432"]
    both = wait.port(5432) & wait.log("ready")
    either = wait.log("never written") | wait.log("ready")

    with ck.start(image, command, wait=both.within(20), engine=engine) as box:
        box.wait(condition=either.within(20))
        with pytest.raises(errors.WaitTimeoutError) as caught:
            box.wait(condition=(wait.log("never written") & wait.log("ready")).within(0.2))

    assert "never written" in str(caught.value)


def test_the_end_can_be_the_condition(engine: ck.Engine, image: ck.Image) -> None:
    """With a code or with any; another code is a failure."""
    box = ck.start(image, ["payload", "exit", "3"], wait=wait.exit().within(20), engine=engine)

    box.wait(condition=wait.exit(3))
    with pytest.raises(errors.WaitFailedError) as caught:
        box.wait(condition=wait.exit(0))

    assert 3 == caught.value.exit_code


def test_waiting_fails_at_once_when_the_container_ends(engine: ck.Engine, host: ck.Image) -> None:
    """With exit code and last words, not after the time is up; nothing is left of the container."""
    began = time.monotonic()

    with pytest.raises(errors.WaitFailedError) as caught:
        ck.start(host, ck.shell("echo cannot open socket >&2; exit 3"), wait=wait.port(80).within(60), engine=engine)

    assert time.monotonic() - began < 20
    assert (3, "cannot open socket") == (caught.value.exit_code, caught.value.log_tail)
    assert [] == ck.Container.list(all=True, engine=engine)


def test_waiting_in_vain_ends_in_time_with_the_log(engine: ck.Engine, image: ck.Image) -> None:
    """Also from `start`, which leaves nothing then."""
    with pytest.raises(errors.WaitTimeoutError) as caught:
        ck.start(image, ["payload", "trap", "HUP"], wait=wait.log("never").within(1), engine=engine)

    assert (1, "ready") == (caught.value.timeout, caught.value.log_tail)
    assert [] == ck.Container.list(all=True, engine=engine)


def test_a_restarting_container_may_still_become_ready(engine: ck.Engine, host: ck.Image) -> None:
    """One that fails at first and is started again has not ended."""
    script = "test -e /second && { echo ready; exec sleep 1000; }; touch /second; exit 1"

    box = ck.start(
        host, ck.shell(script), restart="on-failure:3", detach=True, wait=wait.log("ready").within(20), engine=engine
    )

    assert ("running", 1) == (box.status, box.inspect().restarts)
