"""Story: copy files between the host and a container, whatever state it is in, as `docker cp` does."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

import container_kit as ck
from container_kit import errors
from container_kit._trees.tree_paths import TreePath
from tests.e2e.boxes import Box, make, run, tree_in, tree_of

AREA = {"file": "old", "dir": "/", "dir/keep": "kept"}

# source, destination, what is there afterwards besides AREA; the words of Docker's reference beside them.
CELLS: list[tuple[str, str, dict[str, str]]] = [
    ("f", "new", {"new": "F"}),  # the file is saved to a file created there
    ("f", "file", {"file": "F"}),  # the destination is overwritten
    ("f", "dir", {"dir/f": "F"}),  # copied into it using the basename
    ("f", "dir/", {"dir/f": "F"}),
    ("f", "dir/.", {"dir/f": "F"}),
    ("d", "new", {"new": "/", "new/x": "X"}),  # created, the contents are copied into it
    ("d", "new/", {"new": "/", "new/x": "X"}),
    ("d/", "new", {"new": "/", "new/x": "X"}),
    ("d/.", "new", {"new": "/", "new/x": "X"}),
    ("d", "dir", {"dir/d": "/", "dir/d/x": "X"}),  # the source directory is copied into it
    ("d/", "dir/", {"dir/d": "/", "dir/d/x": "X"}),
    ("d/.", "dir", {"dir/x": "X"}),  # the content of the source directory is copied into it
    ("d/./", "dir", {"dir/d": "/", "dir/d/x": "X"}),
]
REFUSED: list[tuple[str, str, type[Exception]]] = [
    ("f", "new/", FileNotFoundError),  # the destination directory must exist
    ("f", "file/", NotADirectoryError),
    ("f", "missing/new", FileNotFoundError),  # parents are not made
    ("f/", "new", NotADirectoryError),
    ("d", "file", NotADirectoryError),  # cannot copy a directory to a file
    ("d/.", "file", NotADirectoryError),
    ("d", "missing/new", FileNotFoundError),
    ("missing", "new", FileNotFoundError),
]


def fill_source(path: Callable[[str], Path | TreePath]) -> None:
    """Make a file `f` and a directory `d` with a file in it."""
    path("f").write_text("F")
    path("d").mkdir()
    path("d/x").write_text("X")


def fill_area(path: Callable[[str], Path | TreePath]) -> None:
    """Make what is at the destination beforehand."""
    path("file").write_text("old")
    path("dir").mkdir()
    path("dir/keep").write_text("kept")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Give a directory of the host with something to copy."""
    place = tmp_path / "source"
    place.mkdir()
    fill_source(lambda name: place / name)
    return place


@pytest.fixture
def area(tmp_path: Path) -> Path:
    """Give a directory of the host to copy to."""
    place = tmp_path / "area"
    place.mkdir()
    fill_area(lambda name: place / name)
    return place


@pytest.fixture
def box(engine: ck.Engine, image: ck.Image) -> Box:
    """Give a container that does not run, with both in it."""
    made = make(engine, image)
    with made.files() as files:
        for name, fill in (("source", fill_source), ("area", fill_area)):
            files.path(f"/{name}").mkdir()
            fill(lambda rest, name=name: files.path(f"/{name}/{rest}"))  # type: ignore[misc]
    return made


# ── the rules ────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("what", "where", "expected"), CELLS)
def test_in_goes_where_docker_puts_it(box: Box, source: Path, what: str, where: str, expected: dict[str, str]) -> None:
    """Each cell of the table; whatever else is there stays."""
    box.copy_in(f"{source}/{what}", f"/area/{where}")

    assert {**AREA, **expected} == tree_in(box, "/area")


@pytest.mark.parametrize(("what", "where", "error"), REFUSED)
def test_in_refuses_what_docker_refuses(box: Box, source: Path, what: str, where: str, error: type[Exception]) -> None:
    """With the builtin's class; nothing has changed."""
    with pytest.raises(errors.PathError) as caught:
        box.copy_in(f"{source}/{what}", f"/area/{where}")

    assert isinstance(caught.value, error)
    assert tree_in(box, "/area") == AREA


@pytest.mark.parametrize(("what", "where", "expected"), CELLS)
def test_out_goes_where_docker_puts_it(box: Box, area: Path, what: str, where: str, expected: dict[str, str]) -> None:
    """The same table the other way round."""
    box.copy_out(f"/source/{what}", f"{area}/{where}")

    assert {**AREA, **expected} == tree_of(area)


@pytest.mark.parametrize(("what", "where", "error"), REFUSED)
def test_out_refuses_what_docker_refuses(box: Box, area: Path, what: str, where: str, error: type[Exception]) -> None:
    """The same errors the other way round."""
    with pytest.raises(errors.PathError) as caught:
        box.copy_out(f"/source/{what}", f"{area}/{where}")

    assert isinstance(caught.value, error)
    assert tree_of(area) == AREA


def test_a_file_does_not_replace_a_directory(box: Box, source: Path, area: Path) -> None:
    """Not even below the destination: what is in it would be lost."""
    (area / "dir" / "f").mkdir()
    (area / "dir" / "f" / "precious").write_text("kept")
    box.path("/area/dir/f").mkdir()

    with pytest.raises(IsADirectoryError):
        box.copy_in(source / "f", "/area/dir")
    with pytest.raises(IsADirectoryError):
        box.copy_out("/source/f", area / "dir")
    with pytest.raises(IsADirectoryError):
        box.copy_in(f"{source}/.", "/area/dir")
    (area / "dir" / "d").write_text("kept")
    for what in ("/source/d", "/source/."):
        with pytest.raises(NotADirectoryError):
            box.copy_out(what, area / "dir")

    assert "kept" == (area / "dir" / "d").read_text()
    assert "kept" == (area / "dir" / "f" / "precious").read_text()


def test_relative_paths_start_at_the_callers_directory_and_at_the_root(
    box: Box, source: Path, area: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in Docker: the container's side starts at /, whatever its working directory is."""
    monkeypatch.chdir(source)
    box.copy_in(".", "area")
    monkeypatch.chdir(area)
    box.copy_out("source/f", ".")

    assert {**AREA, "f": "F", "d": "/", "d/x": "X"} == tree_in(box, "/area")
    assert {**AREA, "f": "F"} == tree_of(area)


# ── symlinks ─────────────────────────────────────────────────────────────────


def test_a_symlink_as_the_source_is_copied_itself_unless_it_is_to_be_followed(
    box: Box, source: Path, area: Path
) -> None:
    """As `docker cp` and `docker cp -L`."""
    (source / "link").symlink_to("f")
    box.path("/source/link").symlink_to("f")

    box.copy_in(source / "link", "/area/l")
    box.copy_in(source / "link", "/area/followed", follow_links=True)
    box.copy_out("/source/link", area / "l")
    box.copy_out("/source/link", area / "followed", follow_links=True)

    expected = {**AREA, "l": "-> f", "followed": "F"}
    assert (expected, expected) == (tree_in(box, "/area"), tree_of(area))


def test_a_symlink_to_a_directory_with_a_slash_behind_it_is_the_directory(box: Box, source: Path, area: Path) -> None:
    """As a shell has it."""
    (source / "link").symlink_to("d")
    box.path("/source/link").symlink_to("d")

    box.copy_in(f"{source}/link/.", "/area/new")
    box.copy_out("/source/link/.", f"{area}/new")

    expected = {**AREA, "new": "/", "new/x": "X"}
    assert (expected, expected) == (tree_in(box, "/area"), tree_of(area))


def test_a_symlink_at_the_destination_is_followed(box: Box, source: Path, area: Path) -> None:
    """To a directory, to a file, and to what is not there yet."""
    for name, target in (("to-dir", "dir"), ("to-file", "file"), ("to-new", "dir/new")):
        (area / name).symlink_to(target)
        box.path(f"/area/{name}").symlink_to(target)

    for name in ("to-dir", "to-file", "to-new"):
        box.copy_in(source / "f", f"/area/{name}")
        box.copy_out("/source/f", area / name)

    links = {"to-dir": "-> dir", "to-file": "-> file", "to-new": "-> dir/new"}
    expected = {**AREA, **links, "dir/f": "F", "file": "F", "dir/new": "F"}
    assert (expected, expected) == (tree_in(box, "/area"), tree_of(area))


# ── states ───────────────────────────────────────────────────────────────────


def bring_to(state: str, engine: ck.Engine, image: ck.Image) -> Box:
    """Return a container in this state."""
    if state == "created":
        return make(engine, image)
    if state == "exited":
        box = run(engine, image, "true")
        box.wait(timeout=20)
        return box
    if state == "stopped and owned":
        started = Box(ck.start(image, ["payload", "sleep", "1000"], engine=engine).id, engine)
        started.stop(timeout=0)
        return started
    box = run(engine, image)
    if state == "paused":
        box.pause()
    return box


STATES = [
    "created",
    "running",
    "exited",
    "stopped and owned",
    pytest.param("paused", marks=pytest.mark.needs_cgroup2),
]


@pytest.mark.parametrize("state", STATES)
def test_files_go_in_and_out_in_every_state(
    engine: ck.Engine, image: ck.Image, source: Path, tmp_path: Path, state: str
) -> None:
    """And what went in is there when the container runs again."""
    box = bring_to(state, engine, image)
    before = box.status

    box.copy_in(source, "/srv/in")
    box.path("/srv/in/f").write_text("changed")
    box.copy_out("/srv/in", tmp_path / "out")

    assert before == box.status
    assert {"f": "changed", "d": "/", "d/x": "X"} == tree_of(tmp_path / "out")
    if state == "paused":
        box.unpause()
    elif state != "running":
        box.start()
    if state != "exited":
        assert b"changed" == box.exec(["payload", "cat", "/srv/in/f"]).stdout
    assert "changed" == box.path("/srv/in/f").read_text()


def test_a_running_container_sees_a_copy_at_once(engine: ck.Engine, image: ck.Image, source: Path) -> None:
    """The tree is its own, mounts included."""
    box = run(engine, image, tmpfs="/scratch")

    box.copy_in(source / "f", "/scratch")
    box.copy_in(b"bytes", "/scratch/b")

    assert b"Fbytes" == box.exec(["payload", "cat", "/scratch/f", "/scratch/b"]).stdout


@pytest.mark.parametrize("state", ["created", "running", "exited"])
def test_volumes_are_part_of_the_tree(
    engine: ck.Engine, image: ck.Image, source: Path, tmp_path: Path, state: str
) -> None:
    """Writes go to the host's directory; one that is read-only refuses them."""
    shared, fixed = tmp_path / "shared", tmp_path / "fixed"
    for place in (shared, fixed):
        place.mkdir()
        (place / "there").write_text("there")
    mounts = [ck.Mount.bind(shared, "/new/data"), ck.Mount.bind(fixed, "/new/fixed", read_only=True)]
    box = make(engine, image, *(("true",) if state == "exited" else ()), mounts=mounts)
    if state != "created":
        box.start()
    if state == "exited":
        box.wait(timeout=20)

    read = box.path("/new/data/there").read_text()
    box.copy_in(source / "f", "/new/data")
    with pytest.raises(errors.PathError) as caught:
        box.copy_in(source / "f", "/new/fixed")
    box.copy_out("/new", tmp_path / "out")

    assert ("there", "F") == (read, (shared / "f").read_text())
    assert "EROFS" in str(caught.value)
    assert {"there", "f"} <= set(os.listdir(tmp_path / "out" / "data"))


def test_a_file_that_is_mounted_is_written_in_place(engine: ck.Engine, image: ck.Image, tmp_path: Path) -> None:
    """It cannot be replaced by another one; the host sees the new content."""
    (tmp_path / "config").write_text("a long old content")
    box = run(engine, image, mounts=[ck.Mount.bind(tmp_path / "config", "/etc/config")])

    box.copy_in(b"new", "/etc/config")

    assert "new" == (tmp_path / "config").read_text()


def test_a_read_only_container_is_not_written_to(engine: ck.Engine, image: ck.Image) -> None:
    """Whether it runs or not; reading works."""
    created = ck.Container.create(image, ["payload", "sleep", "1000"], read_only=True, detach=True, engine=engine)
    box = Box(created.id, engine)
    for start in (False, True):
        if start:
            box.start()
        with pytest.raises(errors.PathError) as caught:
            box.copy_in(b"x", "/etc/x")
        assert "EROFS" in str(caught.value)
        assert box.path("/etc/os-release").is_file()
