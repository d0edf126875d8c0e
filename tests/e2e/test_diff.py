"""Story: what has a container changed?"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import container_kit as ck
from tests.e2e.boxes import Box, make, run


def lines(box: Box) -> list[str]:
    """Return the changes as `docker diff` prints them."""
    return [str(change) for change in box.diff()]


@pytest.fixture
def full(own_rootfs: Path) -> ck.Image:
    """Give an image with a tree to change."""
    for name in ("keep", "change", "remove", "sub/deep/file", "gone/a", "gone/b", "renewed/old", "renewed/same"):
        path = own_rootfs / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    (own_rootfs / "data" / "link").symlink_to("sub")
    return ck.Image.from_directory(own_rootfs)


@pytest.mark.parametrize("state", ["created", "running", "exited"])
def test_additions_changes_and_deletions_are_listed_by_path(engine: ck.Engine, full: ck.Image, state: str) -> None:
    """As `docker diff` does: the directories above a change are changed, what is in a deleted one is not listed."""
    box = make(engine, full)
    if state != "created":
        box.start()
    with box.files() as files:
        data = files.path("/data")
        (data / "new").mkdir()
        (data / "new" / "file").write_text("x")
        (data / "change").write_text("changed")
        (data / "remove").unlink()
        (data / "gone").remove_tree()
        (data / "sub" / "deep" / "file").chmod(0o600)
    if state == "exited":
        box.stop(timeout=0)

    assert [
        "C /data",
        "C /data/change",
        "D /data/gone",
        "A /data/new",
        "A /data/new/file",
        "D /data/remove",
        "C /data/sub",
        "C /data/sub/deep",
        "C /data/sub/deep/file",
    ] == lines(box)


def test_a_directory_made_anew_lists_what_is_not_there_any_more(engine: ck.Engine, full: ck.Image) -> None:
    """It hides the image's (opaque): gone names are deletions, those that came back changes."""
    box = make(engine, full)
    with box.files() as files:
        renewed = files.path("/data/renewed")
        renewed.remove_tree()
        renewed.mkdir()
        (renewed / "same").write_text("again")
        (renewed / "fresh").write_text("x")

    assert [
        "C /data",
        "C /data/renewed",
        "A /data/renewed/fresh",
        "D /data/renewed/old",
        "C /data/renewed/same",
    ] == lines(box)


def test_what_became_something_else_is_changed_and_what_is_in_it_is_new(engine: ck.Engine, full: ck.Image) -> None:
    """A symlink of the image that is a directory now: names in it are not looked up through the symlink."""
    box = make(engine, full)
    with box.files() as files:
        link = files.path("/data/link")
        link.unlink()
        link.mkdir()
        (link / "deep").write_text("not the image's directory")
        files.path("/data/sub").remove_tree()
        files.path("/data/sub").write_text("a file now")

    assert ["C /data", "C /data/link", "A /data/link/deep", "C /data/sub"] == lines(box)


def test_what_was_made_and_removed_again_is_no_change(engine: ck.Engine, image: ck.Image) -> None:
    """But that something happened in the directory shows, as in Docker."""
    box = make(engine, image)
    assert [] == lines(box)

    box.path("/srv/x").touch()
    box.path("/srv/x").unlink()

    assert ["C /srv"] == lines(box)


def test_mounts_are_no_changes(engine: ck.Engine, image: ck.Image, tmp_path: Path) -> None:
    """Neither what is in a volume nor the mount points that a start makes."""
    (tmp_path / "data").mkdir()
    (tmp_path / "file").write_text("x")
    mounts = [ck.Mount.bind(tmp_path / "data", "/new/deep/data"), ck.Mount.bind(tmp_path / "file", "/etc/app/file")]
    box = run(engine, image, mounts=mounts, tmpfs="/scratch")

    assert [] == lines(box)
    box.path("/scratch/x").write_text("x")
    box.path("/new/deep/data/x").write_text("x")
    box.path("/etc/hosts").write_text("not the image's")
    assert [] == lines(box)
    box.path("/new/own").write_text("x")
    assert ["A /new", "A /new/own"] == lines(box)


def test_a_container_of_the_host_lists_its_changes_of_every_part(engine: ck.Engine, host: ck.Image) -> None:
    """Its /usr is an overlay of its own."""
    started = ck.start(host, ["sleep", "1000"], detach=True, engine=engine)
    box = Box(started.id, engine)
    box.path("/usr/new").write_text("x")
    box.path("/srv/new").write_text("x")

    assert {"A /srv/new", "A /usr/new"} <= set(lines(box))
    assert not [line for line in lines(box) if line.startswith("D")]


def test_the_cost_depends_on_the_changes(engine: ck.Engine, own_rootfs: Path) -> None:
    """Only the container's own directories are listed, not the image's: their access times stay."""
    (own_rootfs / "home" / "d").mkdir()
    box = make(engine, ck.Image.from_directory(own_rootfs))
    box.path("/srv/x").touch()
    for name in ("home", "srv"):
        os.utime(own_rootfs / name, ns=(0, 0))

    assert ["C /srv", "A /srv/x"] == lines(box)
    assert [0, 0] == [os.stat(own_rootfs / name).st_atime_ns for name in ("home", "srv")]


def test_names_that_are_no_text_are_listed(engine: ck.Engine, image: ck.Image) -> None:
    """Bytes that are not UTF-8, long names, and names that look like something else in an archive."""
    box = make(engine, image)
    names = [os.fsdecode(b"/srv/\xff"), "/srv/" + "n" * 200, "/srv/new\nline", "/srv/trailing ", "/srv/.wh"]
    with box.files() as files:
        for name in names:
            files.path(name).touch()

    assert sorted(["C /srv", *(f"A {name}" for name in names)], key=lambda line: line[2:]) == lines(box)
