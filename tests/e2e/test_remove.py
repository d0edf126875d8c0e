"""Story: containers go away, with everything they wrote, once and for all."""

from __future__ import annotations

from pathlib import Path

import pytest

import container_kit as ck
from container_kit import errors
from tests.e2e.interpreters import Interpreters, first_line


def test_remove_takes_everything(engine: ck.Engine, image: ck.Image) -> None:
    """Its files, its log and its name; the object then knows nothing."""
    box = ck.start(image, ["payload", "write", "/file", "x"], name="web", detach=True, engine=engine)
    box.wait()
    files = Path(engine.root, "containers", box.id)
    was_there = files.exists()

    box.remove()

    assert was_there
    assert not files.exists()
    assert [] == ck.Container.list(all=True, engine=engine)
    with pytest.raises(errors.ContainerNotFoundError):
        _ = box.status


def test_a_running_container_is_removed_by_force_only(engine: ck.Engine, image: ck.Image) -> None:
    """Without force it stays as it is."""
    box = ck.start(image, ["payload", "sleep", "1000"], engine=engine)

    with pytest.raises(errors.InvalidTransitionError) as caught:
        box.remove()
    still = box.status
    box.remove(force=True)

    assert ("remove", "running", "running") == (caught.value.action, caught.value.status, still)
    assert "force" in (caught.value.hint or "")
    assert [] == ck.Container.list(all=True, engine=engine)


def test_removing_twice_is_an_error_unless_said(engine: ck.Engine, image: ck.Image) -> None:
    """`missing_ok` makes teardown idempotent."""
    box = ck.Container.create(image, ["payload", "true"], engine=engine)
    box.remove()

    box.remove(missing_ok=True)
    with pytest.raises(errors.ContainerNotFoundError):
        box.remove()


def test_leaving_the_with_block_removes(engine: ck.Engine, image: ck.Image) -> None:
    """Also when the block fails, and when the container is gone already."""
    with pytest.raises(ZeroDivisionError), ck.start(image, ["payload", "sleep", "1000"], engine=engine):
        _ = 1 / 0
    with ck.start(image, ["payload", "true"], engine=engine) as box:
        box.remove(force=True)

    assert [] == ck.Container.list(all=True, engine=engine)


@pytest.mark.parametrize("detach", [False, True])
def test_auto_removal_does_not_lose_the_exit_code(engine: ck.Engine, image: ck.Image, detach: bool) -> None:
    """However the end of the container and the call of wait() fall, wait() knows the code."""
    codes: list[int] = []
    for code in range(10, 20):
        box = ck.start(image, ["payload", "exit", str(code)], remove=True, detach=detach, engine=engine)
        codes.append(box.wait(timeout=20))

    assert list(range(10, 20)) == codes
    assert [] == ck.Container.list(all=True, engine=engine)


def test_a_container_that_removes_itself_is_gone_when_stopped(engine: ck.Engine, image: ck.Image) -> None:
    """Nobody has to call remove(); calling it is fine."""
    box = ck.start(image, ["payload", "sleep", "1000"], remove=True, engine=engine)

    box.stop(timeout=0)

    assert [] == ck.Container.list(all=True, engine=engine)
    box.remove(missing_ok=True)


def test_another_process_that_waits_learns_the_code_of_what_removes_itself(
    engine: ck.Engine, image: ck.Image, interpreters: Interpreters
) -> None:
    """Its wait() began while the container ran."""
    box = ck.start(image, ["payload", "trap", "HUP"], name="web", remove=True, engine=engine)
    stranger = interpreters.start(
        """
        box = ck.Container.get("web", engine=engine)
        print("waiting", flush=True)
        print(box.wait(), flush=True)
        """
    )
    waiting = first_line(stranger)

    box.kill()

    assert ("waiting", "137") == (waiting, first_line(stranger))
