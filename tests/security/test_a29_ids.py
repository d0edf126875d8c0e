"""A29: an id or a name becomes part of a path."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import container_kit as ck
from container_kit import errors
from tests.security.rigs import Rig

BAD_NAMES = (
    "", "x", ".", "..", "../x", "a/b", "/etc", ".hidden", "-option", "_x", "a b", "a\nb", "a\0b", "a:b", "a%2fb", "ü",
    "x" * 129, "\udcff", "f" * 64, "a\\b", "a;b", "$(id)", "a\u202eb",
)  # fmt: skip


def test_A29_a_name_that_could_be_a_path_is_refused_everywhere(rig: Rig, tmp_path: Path) -> None:
    """By create, run, start and rename; looking for it finds nothing, and nothing appears on disk."""
    box = ck.Container.create(rig.image, ["payload", "true"], name="good", engine=rig.engine)
    before = sorted(str(path) for path in tmp_path.rglob("*"))

    for name in BAD_NAMES:
        for enter in entrances(rig, box, name):
            with pytest.raises(errors.InvalidNameError):
                enter()
        with pytest.raises((errors.ContainerNotFoundError, errors.InvalidNameError)):
            ck.Container.get(name, engine=rig.engine)

    assert "good" == box.name
    assert before == sorted(str(path) for path in tmp_path.rglob("*"))


def entrances(rig: Rig, box: ck.Container, name: str) -> list[Callable[[], object]]:
    """Return what takes a name."""
    return [
        lambda: ck.Container.create(rig.image, ["payload", "true"], name=name, engine=rig.engine),
        lambda: rig.run("true", name=name),
        lambda: rig.start("true", name=name),
        lambda: box.rename(name),
    ]


def test_A29_an_id_that_is_none_finds_nothing(rig: Rig) -> None:
    """Patterns of SQL and of shells are not interpreted either."""
    ck.Container.create(rig.image, ["payload", "true"], engine=rig.engine)

    for name in ("../../etc", "f" * 63 + "/", "..", "%", "_", "*", "f" * 65):
        with pytest.raises(errors.ContainerNotFoundError):
            ck.Container.get(name, engine=rig.engine)
