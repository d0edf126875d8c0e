"""Story: locks on a container's files end with their holder's block, and leave nothing."""

from __future__ import annotations

import os
import time
from contextlib import ExitStack
from typing import Any

import pytest

import container_kit as ck
from container_kit import errors
from container_kit._runtime import container_locks
from container_kit._runtime.container_locks import hold_commit, hold_directory
from container_kit._trees import container_files
from tests.e2e.boxes import make
from tests.forks import forked


@pytest.mark.parametrize("alone", [True, False])
def test_a_forked_child_keeps_nobody_from_a_containers_directory(
    engine: ck.Engine, image: ck.Image, *, alone: bool
) -> None:
    """It has the descriptor, and with it the lock, if that were only closed."""
    box = make(engine, image)
    box.path("/srv/x").write_text("x")
    first = hold_directory(engine.site, box.id, alone=alone, deadline=time.monotonic())
    first.__enter__()

    with forked():
        first.__exit__(None, None, None)
        with hold_directory(engine.site, box.id, alone=True, deadline=time.monotonic()):
            pass


def test_a_forked_child_keeps_nobody_from_a_commit(
    engine: ck.Engine, image: ck.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same for the lock of commits."""
    box = make(engine, image)
    monkeypatch.setattr(container_locks, "_COMMIT_PATIENCE", 0.0)
    first = hold_commit(engine.site, box.id)
    first.__enter__()

    with forked():
        first.__exit__(None, None, None)
        with hold_commit(engine.site, box.id):
            pass


def test_a_forked_child_of_a_start_keeps_nobody_from_writing(
    engine: ck.Engine, image: ck.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A start has the lock for an instant; that is when another thread may fork."""
    box = make(engine, image)
    box.path("/srv/x").write_text("x")
    acquire = container_locks._acquire

    with ExitStack() as children:

        def acquire_and_fork(*args: Any) -> None:
            acquire(*args)
            children.enter_context(forked())

        monkeypatch.setattr(container_locks, "_acquire", acquire_and_fork)
        container_locks.await_writers(engine.site, box.id)
        monkeypatch.undo()
        with hold_directory(engine.site, box.id, alone=True, deadline=time.monotonic()):
            pass


def test_commits_of_one_container_exclude_each_other(
    engine: ck.Engine, image: ck.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also in one process; those of others go on."""
    box, other = make(engine, image), make(engine, image)
    monkeypatch.setattr(container_locks, "_COMMIT_PATIENCE", 0.0)

    with (
        hold_commit(engine.site, box.id),
        hold_commit(engine.site, other.id),
        pytest.raises(errors.LockTimeoutError),
        hold_commit(engine.site, box.id),
    ):
        pass


def test_a_write_that_a_removal_overtakes_leaves_no_directory(
    engine: ck.Engine, image: ck.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody would remove it before the next engine is opened."""
    box = make(engine, image)

    def hold_late(*args: Any, **options: Any) -> Any:  # what it takes and gives
        box.remove(missing_ok=True)
        return hold_directory(*args, **options)

    monkeypatch.setattr(container_files, "hold_directory", hold_late)
    with pytest.raises(errors.ContainerNotFoundError):
        box.path("/srv/x").write_text("x")

    assert not os.path.lexists(engine.site.home.container_dir(box.id))
