"""Story: freeze a container and let it go on."""

from __future__ import annotations

import select

import pytest

import container_kit as ck
from container_kit import errors

pytestmark = pytest.mark.needs_cgroup2


def test_a_paused_container_does_nothing_until_it_goes_on(engine: ck.Engine, image: ck.Image) -> None:
    """A process that echoes what it reads is silent while paused, and has lost nothing afterwards."""
    box = ck.start(image, ["payload", "sleep", "1000"], engine=engine)
    with box.spawn(["payload", "cat"], stdin=ck.PIPE) as echo:
        assert echo.stdin is not None
        assert echo.stdout is not None

        box.pause()
        echo.stdin.write(b"wake up")
        answered_while_paused = select.select([echo.stdout], [], [], 0.3)[0]
        paused = box.status
        box.unpause()

        assert [] == answered_while_paused
        assert ("paused", "running") == (paused, box.status)
        assert b"wake up" == echo.stdout.read(7)


def test_a_paused_container_is_listed_and_cannot_be_entered(engine: ck.Engine, image: ck.Image) -> None:
    """exec says what to do; logs and inspection work."""
    box = ck.start(image, ["payload", "sleep", "1000"], engine=engine)
    box.pause()

    with pytest.raises(errors.InvalidTransitionError) as caught:
        box.exec(["payload", "true"])

    assert [box] == ck.Container.list(engine=engine)
    assert ("exec", "paused") == (caught.value.action, caught.value.status)
    assert "unpause" in (caught.value.hint or "")
    assert "paused" == box.inspect().status


def test_what_a_paused_container_uses_can_be_seen(engine: ck.Engine, image: ck.Image) -> None:
    """top and stats only look; that is when one wants to know."""
    box = ck.start(image, ["payload", "sleep", "1000"], engine=engine)
    box.pause()

    assert ["payload sleep 1000"] == [process.command for process in box.top()]
    assert 1 == box.stats().pids


@pytest.mark.parametrize("way", ["stop", "kill", "remove"])
def test_a_paused_container_can_be_ended(engine: ck.Engine, image: ck.Image, way: str) -> None:
    """Without unpausing it first."""
    box = ck.start(image, ["payload", "trap", "HUP"], wait=ck.wait.log("ready"), detach=True, engine=engine)
    box.pause()

    if way == "stop":
        box.stop(timeout=20)
        assert 15 == box.exit_code
    elif way == "kill":
        box.kill()
        assert 137 == box.wait(timeout=10)
    box.remove(force=True)

    assert [] == ck.Container.list(all=True, engine=engine)


def test_a_container_paused_twice_is_an_error(engine: ck.Engine, image: ck.Image) -> None:
    """As with Docker; the same for one that is not paused."""
    box = ck.start(image, ["payload", "sleep", "1000"], engine=engine)

    with pytest.raises(errors.InvalidTransitionError):
        box.unpause()
    box.pause()
    with pytest.raises(errors.InvalidTransitionError):
        box.pause()

    assert "paused" == box.status
