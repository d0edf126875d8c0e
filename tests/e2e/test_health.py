"""Story: a health check says whether a container does its work."""

from __future__ import annotations

import pytest

import container_kit as ck
from container_kit import errors, wait
from tests.e2e.interpreters import Interpreters
from tests.e2e.patience import eventually

SLEEP = ["payload", "sleep", "1000"]
FLAG = ["payload", "read", "/run/ok"]


def test_without_a_check_there_is_no_health(engine: ck.Engine, image: ck.Image) -> None:
    """`none`, also when the image's check is switched off."""
    checked = ck.Image.from_directory(
        image.name, config=ck.ImageConfig(healthcheck=ck.Healthcheck(["payload", "true"], interval=0.05))
    )
    plain = ck.start(image, SLEEP, engine=engine)
    off = ck.start(checked, SLEEP, healthcheck=ck.Healthcheck.none(), engine=engine)
    on = ck.start(checked, SLEEP, wait=wait.healthy().within(20), engine=engine)

    assert ("none", "none", "healthy") == (plain.health, off.health, on.health)


def test_a_container_starts_and_becomes_healthy(engine: ck.Engine, image: ck.Image) -> None:
    """`starting` until the first success."""
    check = ck.Healthcheck(FLAG, interval=0.05, retries=1000)
    box = ck.start(image, SLEEP, healthcheck=check, engine=engine)
    first = box.health

    box.exec(["payload", "write", "/run/ok", "1"], check=True)
    box.wait(timeout=20, condition=wait.healthy())

    assert ("starting", "healthy") == (first, box.health)


def test_failures_in_a_row_make_it_unhealthy_and_one_success_healthy(engine: ck.Engine, image: ck.Image) -> None:
    """The number of failures is told; it goes on running."""
    check = ck.Healthcheck(FLAG, interval=0.05, retries=3)
    box = ck.start(image, SLEEP, healthcheck=check, engine=engine)

    eventually(lambda: box.health == "unhealthy", "unhealthy")
    failing = box.inspect().failing
    box.exec(["payload", "write", "/run/ok", "1"], check=True)
    eventually(lambda: box.health == "healthy", "healthy")
    failing_then = box.inspect().failing
    box.exec(["payload", "unlink", "/run/ok"], check=True)
    eventually(lambda: box.health == "unhealthy", "unhealthy again")

    assert failing >= 3
    assert 0 == failing_then
    assert "running" == box.status


def test_failures_in_the_start_period_do_not_count(engine: ck.Engine, image: ck.Image) -> None:
    """A slow start is no illness."""
    check = ck.Healthcheck(FLAG, interval=0.05, start_interval=0.05, retries=1, start_period=1000)
    box = ck.start(image, SLEEP, healthcheck=check, engine=engine)

    with pytest.raises(errors.WaitTimeoutError):
        box.wait(timeout=0.5, condition=wait.healthy())

    assert ("starting", 0) == (box.health, box.inspect().failing)


def test_a_check_that_takes_too_long_has_failed_and_is_ended(engine: ck.Engine, image: ck.Image) -> None:
    """With everything it had started."""
    check = ck.Healthcheck(["payload", "fork-tree", "2"], interval=0.05, timeout=0.2, retries=2)
    box = ck.start(image, SLEEP, healthcheck=check, engine=engine)

    eventually(lambda: box.health == "unhealthy", "unhealthy")

    eventually(lambda: len(box.top()) <= 5, "its own process and those of one check that is under way")


def test_waiting_for_health_fails_with_the_container(engine: ck.Engine, host: ck.Image) -> None:
    """At once, with its last words."""
    check = ck.Healthcheck(["false"], interval=0.05, retries=1000)

    with pytest.raises(errors.WaitFailedError) as caught:
        ck.start(host, ck.shell("echo bye; exit 9"), healthcheck=check, wait=wait.healthy().within(60), engine=engine)

    assert (9, "bye") == (caught.value.exit_code, caught.value.log_tail)


def test_checks_go_on_without_python(engine: ck.Engine, interpreters: Interpreters) -> None:
    """The container was healthy when its maker left; it falls ill when nobody looks."""
    interpreters.run(
        """
        check = ck.Healthcheck(["payload", "read", "/run/ok"], interval=0.05, retries=2)
        box = ck.start(image, ["payload", "sleep", "1000"], name="web", healthcheck=check, detach=True, engine=engine)
        box.exec(["payload", "write", "/run/ok", "1"], check=True)
        box.wait(condition=wait.healthy())
        """
    )
    box = ck.Container.get("web", engine=engine)
    at_first = box.health

    box.exec(["payload", "unlink", "/run/ok"], check=True)

    eventually(lambda: box.health == "unhealthy", "unhealthy")
    assert "healthy" == at_first


def test_the_shell_form_uses_the_containers_shell(engine: ck.Engine, host: ck.Image) -> None:
    """As Docker's CMD-SHELL, with the container's environment and user."""
    check = ck.Healthcheck.shell('test "$WORD" = yes', interval=0.05)

    box = ck.start(
        host, ["sleep", "1000"], env={"WORD": "yes"}, healthcheck=check, wait=wait.healthy().within(20), engine=engine
    )

    assert "healthy" == box.health
