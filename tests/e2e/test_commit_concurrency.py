"""Story: commits of a container that others start, pause, end or commit meanwhile."""

from __future__ import annotations

import select
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import container_kit as ck
from container_kit import errors
from container_kit._linux import cgroup
from container_kit._runtime import container_locks
from container_kit._trees import commit as _commit
from tests.e2e.boxes import Box, make, run
from tests.e2e.patience import PATIENCE

pytestmark = pytest.mark.needs_cgroup2


@pytest.fixture
def stored(engine: ck.Engine, own_rootfs: Path) -> ck.Image:
    """Give an image of the store."""
    return ck.Image.from_directory(own_rootfs, "example.org/base:1", engine=engine)


def around_packing(
    monkeypatch: pytest.MonkeyPatch, box: Box, *, then: Callable[[int], object]
) -> list[tuple[str, str]]:
    """Call `then` with the number of each packing after it, and return the statuses before and after, to be filled."""
    pack = _commit._own_layers
    statuses: list[tuple[str, str]] = []

    def own_layers(*args: Any) -> Any:  # what it takes and gives
        number, before = len(statuses), box.status
        statuses.append((before, ""))
        layers = pack(*args)
        then(number)
        statuses[number] = (before, box.status)
        return layers

    monkeypatch.setattr(_commit, "_own_layers", own_layers)
    return statuses


def before_settling(monkeypatch: pytest.MonkeyPatch, act: Callable[[], object]) -> None:
    """Have something done between a commit's look at its container and the freeze."""
    settle = _commit._settled

    def settled(*args: Any, **options: Any) -> Any:  # what it takes and gives
        act()
        return settle(*args, **options)

    monkeypatch.setattr(_commit, "_settled", settled)


@pytest.mark.parametrize("pause", [None, True])
def test_a_container_that_is_started_while_it_is_packed_is_packed_again(
    engine: ck.Engine, stored: ck.Image, monkeypatch: pytest.MonkeyPatch, pause: bool | None
) -> None:
    """Frozen, as one that ran from the beginning."""
    box = make(engine, stored)
    box.path("/early").write_text("early")

    def start(number: int) -> None:
        if number == 0:
            box.start()
            box.path("/late").write_text("late")

    statuses = around_packing(monkeypatch, box, then=start)
    image = box.commit(pause=pause)

    assert [("created", "running"), ("paused", "paused")] == statuses
    assert "late" == make(engine, image).path("/late").read_text()
    assert "running" == box.status


def test_a_container_that_shall_not_be_paused_is_packed_once(
    engine: ck.Engine, stored: ck.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who does not mind that it changes does not wait for it."""
    box = make(engine, stored)

    statuses = around_packing(monkeypatch, box, then=lambda _: box.start())
    box.commit(pause=False)

    assert [("created", "running")] == statuses


@pytest.mark.parametrize("pause", [None, True])
def test_a_container_that_never_settles_is_committed_only_where_that_is_possible(
    engine: ck.Engine, stored: ck.Image, monkeypatch: pytest.MonkeyPatch, pause: bool | None
) -> None:
    """It is not tried for ever; the error says what to do."""
    box = run(engine, stored)

    statuses = around_packing(monkeypatch, box, then=lambda _: box.restart(0))
    if pause:
        with pytest.raises(errors.InvalidTransitionError) as caught:
            box.commit(pause=pause)
        assert "commit" == caught.value.action
        assert caught.value.hint
    else:
        box.commit(pause=pause)

    assert 1 < len(statuses) < 10
    assert {("paused", "running")} == set(statuses)


def test_two_commits_of_a_container_come_one_after_the_other(
    engine: ck.Engine, stored: ck.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The end of the first does not thaw it under the second."""
    box = run(engine, stored)
    box.path("/new").write_text("new")
    another_came, first_ended = threading.Event(), threading.Event()

    def waiting(*args: Any) -> Any:
        another_came.set()
        return select.select(*args)

    def meet(number: int) -> None:
        if number == 0:
            second.start()
            assert another_came.wait(PATIENCE)
        else:
            another_came.set()
            assert first_ended.wait(PATIENCE)

    second = threading.Thread(target=box.commit)
    statuses = around_packing(monkeypatch, box, then=meet)
    monkeypatch.setattr(container_locks, "select", SimpleNamespace(select=waiting))
    box.commit()
    first_ended.set()
    second.join(PATIENCE)

    assert [("paused", "paused")] * 2 == statuses
    assert "running" == box.status


def test_a_pause_right_before_the_freeze_stays(
    engine: ck.Engine, stored: ck.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What somebody else has frozen is not thawed, though it ran when it was looked at."""
    box = run(engine, stored)
    before_settling(monkeypatch, box.pause)
    box.commit(pause=True)

    assert "paused" == box.status


def test_an_unpause_meanwhile_makes_the_commit_freeze_it_itself(
    engine: ck.Engine, stored: ck.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The user's pause was all that kept the files as they were."""
    box = run(engine, stored)
    box.pause()

    def unpause(number: int) -> None:
        if number == 0:
            box.unpause()

    statuses = around_packing(monkeypatch, box, then=unpause)
    box.commit()

    assert [("paused", "running"), ("paused", "paused")] == statuses
    assert "running" == box.status


def test_a_container_that_ends_before_the_freeze_is_committed_as_one_that_does_not_run(
    engine: ck.Engine, stored: ck.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is nothing to freeze any more, and nothing that had to be frozen."""
    box = run(engine, stored)
    before_settling(monkeypatch, lambda: box.stop(timeout=0))
    statuses = around_packing(monkeypatch, box, then=lambda _: None)
    box.commit(pause=True)

    assert ("exited", "exited") == statuses[-1]


@pytest.mark.parametrize("paused_since", [False, True])
def test_a_container_that_ends_before_the_thaw_is_committed(
    engine: ck.Engine, stored: ck.Image, monkeypatch: pytest.MonkeyPatch, *, paused_since: bool
) -> None:
    """Its control group is gone when it should be thawed; what a later run is made to do stays."""
    box = run(engine, stored)
    freeze = cgroup.freeze

    def end_first(path: str, *, frozen: bool) -> None:
        monkeypatch.setattr(cgroup, "freeze", freeze)
        if frozen:
            freeze(path, frozen=True)
            monkeypatch.setattr(cgroup, "freeze", end_first)
            return
        box.stop(timeout=0)
        if paused_since:
            box.start()
            box.pause()
        freeze(path, frozen=False)

    monkeypatch.setattr(cgroup, "freeze", end_first)
    box.commit(pause=True)

    assert ("paused" if paused_since else "exited") == box.status
