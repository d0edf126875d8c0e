"""Story: create containers, find them again, name them, sort them out."""

from __future__ import annotations

import re

import pytest

import container_kit as ck
from container_kit import errors


def test_create_records_a_container_and_start_runs_it(engine: ck.Engine, image: ck.Image) -> None:
    """Created means that nothing runs; the object has always the present status."""
    box = ck.Container.create(image, ["payload", "sleep", "1000"], name="web", engine=engine)
    same = ck.Container.get("web", engine=engine)

    before = (box.status, box.pid, box.exit_code)
    box.start()

    assert ("created", None, None) == before
    assert ("running", "running") == (box.status, same.status)
    assert box == same
    assert 1 == len({box, same})


def test_a_container_is_found_by_name_id_and_beginning_of_its_id(engine: ck.Engine, image: ck.Image) -> None:
    """As with Docker."""
    box = ck.Container.create(image, ["payload", "true"], name="web", engine=engine)

    assert [box] * 4 == [ck.Container.get(key, engine=engine) for key in ("web", box.id, box.short_id, box.id[:20])]
    assert re.fullmatch("[0-9a-f]{64}", box.id)


def test_an_unknown_name_is_an_error_with_its_neighbours(engine: ck.Engine, image: ck.Image) -> None:
    """A LookupError that helps with typing errors."""
    ck.Container.create(image, ["payload", "true"], name="postgres", engine=engine)

    with pytest.raises(LookupError) as caught:
        ck.Container.get("postgras", engine=engine)

    assert isinstance(caught.value, errors.ContainerNotFoundError)
    assert ("postgras", ("postgres",)) == (caught.value.name, caught.value.near)


def test_an_ambiguous_id_is_an_error(engine: ck.Engine, image: ck.Image) -> None:
    """Of 17 ids two begin with the same digit."""
    boxes = [ck.Container.create(image, ["payload", "true"], engine=engine) for _ in range(17)]
    first = [box.id[0] for box in boxes]
    digit = next(digit for digit in first if first.count(digit) > 1)

    with pytest.raises(errors.AmbiguousIdError):
        ck.Container.get(digit, engine=engine)


def test_list_shows_what_runs_and_all_shows_all(engine: ck.Engine, image: ck.Image) -> None:
    """Oldest first."""
    first = ck.Container.create(image, ["payload", "true"], engine=engine)
    second = ck.start(image, ["payload", "sleep", "1000"], engine=engine)
    third = ck.start(image, ["payload", "true"], engine=engine)
    third.wait()

    assert [second] == ck.Container.list(engine=engine)
    assert [first, second, third] == ck.Container.list(all=True, engine=engine)


def test_list_can_be_narrowed_by_labels(engine: ck.Engine, image: ck.Image) -> None:
    """All given labels must be there; None stands for any value."""

    def create(**labels: str) -> ck.Container:
        return ck.Container.create(image, ["payload", "true"], labels=labels, engine=engine)

    def found(label: dict[str, str | None]) -> list[ck.Container]:
        return ck.Container.list(all=True, label=label, engine=engine)

    web, db, other = create(app="web", tier="1"), create(app="db", tier="1"), create()

    assert [web] == found({"app": "web"})
    assert [web, db] == found({"app": None})
    assert [db] == found({"app": "db", "tier": "1"})
    assert [] == found({"app": "db", "tier": "2"})
    assert [web, db, other] == found({})


def test_names_are_generated(engine: ck.Engine, image: ck.Image) -> None:
    """Like Docker's: an adjective and a surname, each used once."""
    names = [ck.Container.create(image, ["payload", "true"], engine=engine).name for _ in range(5)]

    assert 5 == len(set(names))
    assert all(re.fullmatch("[a-z]+_[a-z]+[0-9]*", name) for name in names)


def test_a_name_is_taken_once(engine: ck.Engine, image: ck.Image) -> None:
    """The second taker gets an error and leaves nothing."""
    first = ck.Container.create(image, ["payload", "true"], name="web", engine=engine)

    with pytest.raises(errors.NameInUseError):
        ck.start(image, ["payload", "true"], name="web", engine=engine)

    assert [first] == ck.Container.list(all=True, engine=engine)


def test_a_running_container_can_be_renamed(engine: ck.Engine, image: ck.Image) -> None:
    """The new name finds it, the old one is free."""
    box = ck.start(image, ["payload", "sleep", "1000"], name="old", engine=engine)

    box.rename("new")

    other = ck.Container.create(image, ["payload", "true"], name="old", engine=engine)
    assert ("new", "running") == (box.name, box.status)
    assert (box, other) == (ck.Container.get("new", engine=engine), ck.Container.get("old", engine=engine))
    with pytest.raises(errors.NameInUseError):
        other.rename("new")
    with pytest.raises(errors.InvalidNameError):
        other.rename("no spaces")


def test_prune_removes_what_does_not_run(engine: ck.Engine, image: ck.Image) -> None:
    """Created and exited ones go, running ones stay; the ids of those gone are returned."""
    created = ck.Container.create(image, ["payload", "true"], engine=engine)
    running = ck.start(image, ["payload", "sleep", "1000"], engine=engine)
    exited = ck.start(image, ["payload", "true"], detach=True, engine=engine)
    exited.wait()

    removed = ck.Container.prune(engine=engine)

    assert {created.id, exited.id} == set(removed)
    assert [running] == ck.Container.list(all=True, engine=engine)
