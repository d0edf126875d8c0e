"""Attacks on what is done with containers' files: commits that race with removals."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import container_kit as ck
from container_kit import errors
from container_kit._trees import commit as _commit
from tests.e2e.boxes import Box, make

BASE = "example.org/base:1"
OUT = "example.org/out:1"


@pytest.fixture
def box(engine: ck.Engine, own_rootfs: Path) -> Box:
    """Give a container of an image of the store, with a file of its own."""
    made = make(engine, ck.Image.from_directory(own_rootfs, BASE, engine=engine))
    made.copy_in(b"data", "/added")
    return made


def before(monkeypatch: pytest.MonkeyPatch, name: str, happens: Callable[[], object]) -> None:
    """Let something happen right before a step of a commit."""
    step = getattr(_commit, name)

    def both(*args: Any, **options: Any) -> Any:  # what the step takes and gives
        happens()
        return step(*args, **options)

    monkeypatch.setattr(_commit, name, both)


@pytest.mark.parametrize("step", ["_digests", "_base_of", "_settled", "_own_layers"])
def test_a_container_that_is_removed_while_it_is_committed_leaves_no_image(
    engine: ck.Engine, box: Box, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """Neither one whose layers are gone nor one without what the container had changed."""

    def remove() -> None:
        box.remove(force=True, missing_ok=True)
        ck.Image.prune(all=True, engine=engine)

    before(monkeypatch, step, remove)

    with pytest.raises(errors.ContainerNotFoundError):
        box.commit(OUT)

    assert [] == [image.name for image in ck.Image.list(engine=engine) if image.name == OUT]


def test_a_removal_that_overtakes_the_packing_leaves_no_image(
    engine: ck.Engine, box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A removal does not wait for the packing, which then may have seen half of the tree."""
    made = _commit._own_layers  # to be followed by a removal

    def own_layers(*args: Any) -> Any:  # what it takes and gives
        layers = made(*args)
        box.remove(force=True)
        return layers

    monkeypatch.setattr(_commit, "_own_layers", own_layers)

    with pytest.raises(errors.ContainerNotFoundError):
        box.commit(OUT)

    assert [] == [image.name for image in ck.Image.list(engine=engine) if image.name == OUT]


def test_a_commit_outlives_the_removal_of_its_base_by_force(engine: ck.Engine, box: Box) -> None:
    """The container keeps what it was made from, and its image what they share."""
    ck.Image.get(BASE, engine=engine).remove(force=True)
    ck.Image.prune(all=True, engine=engine)

    image = box.commit(OUT)
    box.remove()
    ck.Image.prune(engine=engine)

    assert b"data" == ck.run(image, ["payload", "read", "/added"], engine=engine, check=True).stdout
