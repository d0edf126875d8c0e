"""Story: a container is started again when it ends, also when nobody is there."""

from __future__ import annotations

import os
import signal

import pytest

import container_kit as ck
from container_kit import wait
from tests.e2e.interpreters import Interpreters
from tests.e2e.patience import eventually

READY = wait.log("ready").within(20)


def restarts(box: ck.Container) -> int:
    """Return how often the policy has started it again."""
    return box.inspect().restarts


def test_without_a_policy_the_end_is_the_end(engine: ck.Engine, image: ck.Image) -> None:
    """`no` is the default."""
    box = ck.start(image, ["payload", "exit", "1"], restart="no", detach=True, engine=engine)

    assert (1, "exited", 0) == (box.wait(timeout=20), box.status, restarts(box))


def test_always_starts_again_whatever_the_code(engine: ck.Engine, image: ck.Image) -> None:
    """Success is no reason to stop; stop() is."""
    box = ck.start(image, ["payload", "echo", "again"], restart="always", detach=True, engine=engine)

    eventually(lambda: restarts(box) >= 3, "three restarts")
    box.stop(timeout=0)
    stopped_at = restarts(box)

    assert "exited" == box.status
    # The last run may have been killed before it spoke.
    assert stopped_at <= sum(1 for line in box.logs() if line.text == "again") <= stopped_at + 1


def test_on_failure_gives_up_after_the_given_number(engine: ck.Engine, image: ck.Image) -> None:
    """wait() waits for the last end."""
    box = ck.start(image, ["payload", "exit", "4"], restart="on-failure:2", detach=True, engine=engine)

    assert (4, 2, "exited") == (box.wait(timeout=30), restarts(box), box.status)


def test_on_failure_leaves_success_alone(engine: ck.Engine, image: ck.Image) -> None:
    """Code 0 is no failure."""
    box = ck.start(image, ["payload", "true"], restart="on-failure", detach=True, engine=engine)

    assert (0, 0) == (box.wait(timeout=20), restarts(box))


@pytest.mark.parametrize("policy", ["always", "unless-stopped", "on-failure"])
def test_policies_go_on_after_the_python_that_made_them(
    engine: ck.Engine, interpreters: Interpreters, policy: str
) -> None:
    """Its process 1 is killed from outside when no interpreter is there: it comes back."""
    interpreters.run(
        f"""
        ck.start(
            image, ["payload", "trap", "HUP"], name="web", restart="{policy}", detach=True, wait=wait.log("ready"),
            engine=engine
        )
        """
    )
    box = ck.Container.get("web", engine=engine)
    first = box.pid
    assert first is not None

    os.kill(first, signal.SIGKILL)

    eventually(lambda: restarts(box) == 1 and box.status == "running", "it runs again")
    assert first != box.pid
    eventually(lambda: 2 == sum(1 for line in box.logs() if line.text == "ready"), "its new run speaks")


@pytest.mark.parametrize("policy", ["always", "unless-stopped"])
def test_a_stopped_container_stays_stopped(engine: ck.Engine, image: ck.Image, policy: str) -> None:
    """Until it is started, which begins a new count."""
    box = ck.start(image, ["payload", "trap", "HUP"], restart=policy, detach=True, wait=READY, engine=engine)

    box.stop()
    after_stop = (box.status, restarts(box))
    box.start()

    assert ("exited", 0) == after_stop
    assert ("running", 0) == (box.status, restarts(box))


def test_a_container_that_waits_for_its_restart_can_be_stopped_and_removed(engine: ck.Engine, image: ck.Image) -> None:
    """The time between runs grows; in it the status is `restarting`."""
    box = ck.start(image, ["payload", "exit", "3"], restart="always", detach=True, engine=engine)
    eventually(lambda: restarts(box) >= 2 and box.status == "restarting", "it waits for a restart")

    box.stop(timeout=20)
    stopped = (box.status, box.exit_code)
    box.remove()

    assert ("exited", 3) == stopped
    assert [] == ck.Container.list(all=True, engine=engine)


def test_an_owned_container_is_restarted_while_its_owner_lives(engine: ck.Engine, image: ck.Image) -> None:
    """Policies do not need `detach`; the `with` block ends them."""
    with ck.start(image, ["payload", "exit", "1"], restart="always", engine=engine) as box:
        eventually(lambda: restarts(box) >= 2, "two restarts")

    assert [] == ck.Container.list(all=True, engine=engine)


def test_each_run_keeps_the_files_and_goes_on_in_the_log(engine: ck.Engine, host: ck.Image) -> None:
    """A restart is the same container."""
    script = "echo run $(cat /count 2>/dev/null); echo x >> /count; exit 1"

    box = ck.start(host, ck.shell(script), restart="on-failure:2", detach=True, engine=engine)
    box.wait(timeout=30)

    assert ["run", "run x", "run x x"] == [line.text.strip() for line in box.logs()]
