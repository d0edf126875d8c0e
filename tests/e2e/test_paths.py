"""Story: read and write a container's files as with `pathlib`, whatever state it is in."""

from __future__ import annotations

import errno
import os
import stat
import threading
from pathlib import Path, PurePosixPath

import pytest

import container_kit as ck
from container_kit import errors
from container_kit._trees.open_tree import image_files
from container_kit._trees.tree_paths import TreePath, image_path
from tests.e2e.boxes import Box, make, run
from tests.e2e.patience import eventually


@pytest.fixture(params=["created", "running"])
def box(request: pytest.FixtureRequest, engine: ck.Engine, image: ck.Image) -> Box:
    """Give a container that never ran, and one that runs."""
    return run(engine, image) if request.param == "running" else make(engine, image)


@pytest.fixture
def still(engine: ck.Engine, image: ck.Image) -> Box:
    """Give a container that does not run."""
    return make(engine, image)


def test_text_and_bytes_are_written_and_read(box: Box) -> None:
    """And the numbers that come back are pathlib's."""
    path = box.path("/srv/note")

    assert 5 == path.write_text("grüße")
    assert "grüße" == path.read_text()
    assert "grüße".encode() == path.read_bytes()
    assert 3 == path.write_bytes(b"\0\1\2")
    assert b"\0\1\2" == path.read_bytes()


def test_what_is_written_belongs_to_root_of_the_container(box: Box) -> None:
    """With the usual mode."""
    box.path("/srv/f").write_text("x")
    box.path("/srv/d").mkdir()

    for name, mode in (("f", 0o644), ("d", 0o755)):
        status = box.path(f"/srv/{name}").stat()
        assert (0, 0, mode) == (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode))


def test_files_open_like_files(box: Box) -> None:
    """All of the builtin's modes, buffered and as text."""
    path = box.path("/srv/log")

    with path.open("x") as text:
        text.write("one\n")
    with path.open("a") as text:
        text.write("two\n")
    with path.open("r+b") as binary:
        binary.write(b"ONE")
        binary.seek(0)
        first = binary.readline()
    with path.open() as text:
        lines = list(text)

    assert b"ONE\n" == first
    assert ["ONE\n", "two\n"] == lines
    with pytest.raises(FileExistsError):
        path.open("x")


@pytest.mark.parametrize("mode", ["", "rw", "q", "rbt", "b", "rU"])
def test_a_mode_that_makes_no_sense_is_refused(still: Box, mode: str) -> None:
    """Before anything is opened."""
    with pytest.raises(errors.InvalidSpecError):
        still.path("/etc/os-release").open(mode)


def test_missing_files_are_errors_of_the_builtin_kind(box: Box) -> None:
    """With the path as an attribute, too."""
    with pytest.raises(errors.PathNotFoundError) as caught:
        box.path("/no/such").read_text()
    with pytest.raises(FileNotFoundError):
        box.path("/no/such").stat()
    with pytest.raises(IsADirectoryError):
        box.path("/etc").read_bytes()
    with pytest.raises(NotADirectoryError):
        list(box.path("/etc/os-release").iterdir())
    with pytest.raises(NotADirectoryError):
        box.path("/etc/os-release/x").stat()
    with pytest.raises(IsADirectoryError):
        box.path("/etc").unlink()
    with pytest.raises(NotADirectoryError):
        box.path("/etc/os-release").rmdir()
    with pytest.raises(OSError, match="ENOTEMPTY"):
        box.path("/etc").rmdir()

    assert "/no/such" == caught.value.path


def test_questions_have_answers_not_errors(box: Box) -> None:
    """Also about symlinks that lead nowhere, and below files."""
    box.path("/srv/dangling").symlink_to("nowhere")

    assert [True, False, True] == [box.path(name).exists() for name in ("/etc", "/srv/dangling", "/etc/os-release")]
    assert box.path("/srv/dangling").exists(follow_symlinks=False)
    assert [False, True, False] == [box.path(name).is_file() for name in ("/etc", "/etc/os-release", "/x")]
    assert [True, False, False] == [box.path(name).is_dir() for name in ("/etc", "/etc/os-release", "/etc/group/x")]
    assert [True, False] == [box.path(name).is_symlink() for name in ("/srv/dangling", "/etc")]
    assert PurePosixPath("nowhere") == box.path("/srv/dangling").readlink()


def test_directories_are_made_listed_and_removed(box: Box) -> None:
    """With parents, sorted, and as a tree."""
    root = box.path("/srv/a")
    with pytest.raises(FileNotFoundError):
        (root / "b").mkdir()

    (root / "b" / "c").mkdir(parents=True)
    (root / "b").mkdir(exist_ok=True)
    (root / "b" / "f").touch()

    assert ["/srv/a/b/c", "/srv/a/b/f"] == [str(path) for path in (root / "b").iterdir()]
    with pytest.raises(FileExistsError):
        (root / "b").mkdir()
    (root / "b" / "c").rmdir()
    root.remove_tree()
    root.remove_tree(missing_ok=True)
    assert not root.exists()


def test_names_match_patterns(still: Box) -> None:
    """As with pathlib: `*` is one name, `**` any number of directories, hidden names need a dot."""
    with still.files() as files:
        for name in ("x/one.txt", "x/y/two.txt", "x/y/z/three.py", "x/.hidden.txt"):
            path = files.path(f"/srv/{name}")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        files.path("/srv/loop").symlink_to("/srv")
        top = files.path("/srv")

        assert ["/srv/x/one.txt"] == [str(path) for path in top.glob("x/*.txt")]
        assert ["/srv/x/one.txt", "/srv/x/y/two.txt"] == [str(path) for path in top.rglob("*.txt")]
        assert ["/srv/x/y/z/three.py"] == [str(path) for path in top.glob("x/**/t*.p[y]")]
        assert ["/srv/x/.hidden.txt"] == [str(path) for path in top.glob("x/.h*")]
        assert [] == list(top.glob("none/*"))
    with pytest.raises(errors.InvalidSpecError):
        list(still.path("/").glob("/etc/*"))


def test_names_are_changed_linked_and_removed(box: Box) -> None:
    """The usual verbs."""
    first = box.path("/srv/first")
    first.write_text("x")

    second = first.rename("/srv/second")
    box.path("/srv/soft").symlink_to("second")
    box.path("/srv/hard").hardlink_to(second)

    assert "x" == box.path("/srv/soft").read_text()
    assert 2 == second.stat().st_nlink
    box.path("/srv/soft").unlink()
    second.unlink()
    second.unlink(missing_ok=True)
    with pytest.raises(FileNotFoundError):
        second.unlink()
    assert ["hard"] == [path.name for path in box.path("/srv").iterdir()]


@pytest.mark.needs_subids
def test_modes_owners_and_times_are_set(box: Box) -> None:
    """A change of one id leaves the other."""
    path = box.path("/srv/f")
    path.touch(mode=0o600)
    first = path.stat()

    path.chmod(0o4711)
    path.chown(1000, 1001)
    path.chown(-1, 7)
    path.touch()

    status = path.stat()
    assert 0o600 == stat.S_IMODE(first.st_mode)
    assert (1000, 7) == (status.st_uid, status.st_gid)
    assert status.st_mtime_ns >= first.st_mtime_ns
    with pytest.raises(FileExistsError):
        path.touch(exist_ok=False)


def test_the_pure_part_is_pathlibs(still: Box) -> None:
    """No container is asked."""
    path = still.path("srv/./a/b.tar.gz")

    assert ("/srv/a/b.tar.gz", "b.tar.gz", ".gz", "b.tar") == (str(path), path.name, path.suffix, path.stem)
    assert "/srv/a" == str(path.parent)
    assert ["/srv/a", "/srv", "/"] == [str(parent) for parent in path.parents]
    assert "/srv/a/c" == str(path.with_name("c"))
    assert "/srv/a/b.tar.xz" == str(path.with_suffix(".xz"))
    assert "/x" == str(path / "/x")
    assert PurePosixPath("a/b.tar.gz") == path.relative_to("/srv")
    assert still.path("/srv") / "a" == still.path("/srv/a")
    assert path.match("*.gz")
    assert "TreePath('/srv/a/b.tar.gz')" == repr(path)


def test_it_cannot_be_mistaken_for_a_path_of_the_host(still: Box) -> None:
    """`open()` and `os` refuse it instead of opening the host's file."""
    with pytest.raises(TypeError):
        os.fspath(still.path("/etc/passwd"))  # type: ignore[call-overload]


@pytest.mark.parametrize("name", ["a\0b", "x" * 5000])
def test_a_name_that_cannot_be_is_an_error(still: Box, name: str) -> None:
    """NUL and too long ones."""
    with pytest.raises((errors.InvalidSpecError, errors.PathError)):
        still.path(f"/srv/{name}").exists()


def test_names_that_are_not_utf_8_survive(still: Box, tmp_path: Path) -> None:
    """As everywhere in Python: as surrogates."""
    name = os.fsdecode(b"/srv/\xff\xfe")
    still.path(name).write_text("x")

    assert [name] == [str(path) for path in still.path("/srv").iterdir()]
    still.copy_out(name, tmp_path / "out")
    assert "x" == (tmp_path / "out").read_text()


def test_several_operations_share_one_open_tree(box: Box) -> None:
    """The same paths as otherwise; a tree that was opened to read refuses changes."""
    with box.files() as files:
        files.path("/srv/x").write_text("x")
        files.copy_in(b"y", "/srv/y")
        assert ["x", "y"] == [path.name for path in files.path("/srv").iterdir()]
    with box.files(read_only=True) as files:
        assert "x" == files.path("/srv/x").read_text()
        with pytest.raises(errors.PathError) as caught:
            files.path("/srv/x").write_text("z")

    assert "EROFS" in str(caught.value)


def test_an_images_files_are_read_and_never_written(engine: ck.Engine, image: ck.Image, tmp_path: Path) -> None:
    """The tree of an image is the same for all its containers."""
    root = make(engine, image).inspect_root()
    path: TreePath = image_path(engine.site, root, "/etc/os-release")

    assert "payload" in path.read_text()
    assert path.parent.is_dir()
    with pytest.raises(errors.PathError) as caught:
        path.write_text("changed")
    image_files(engine.site, root).copy_out("/etc", tmp_path / "etc")
    with pytest.raises(errors.PathError):
        image_files(engine.site, root).copy_in(b"x", "/etc/x")

    assert errno.EROFS == caught.value.errno
    assert "payload" in (tmp_path / "etc" / "os-release").read_text()


def test_a_container_that_is_written_to_does_not_start_meanwhile(engine: ck.Engine, image: ck.Image) -> None:
    """Two mounts of one upper directory must not be: the start waits, and then sees what was written."""
    box = make(engine, image, "cat", "/srv/x")
    started = threading.Event()

    def start() -> None:
        box.start()
        started.set()

    with box.files() as files:
        thread = threading.Thread(target=start)
        thread.start()
        files.path("/srv/x").write_text("complete")
        eventually(lambda: claimed(box), "the start has begun")
        assert not started.wait(0.1)
    thread.join(20)

    assert started.is_set()
    assert 0 == box.wait(timeout=20)
    assert "complete" == box.log_tail()


def claimed(box: Box) -> bool:
    """Say whether somebody has begun to start a container."""
    rows = box._engine.site.database.query("SELECT phase FROM containers WHERE id = ?", (box.id,))
    return rows[0][0] == "started"


def test_a_file_that_is_open_for_writing_holds_a_start_up(still: Box) -> None:
    """Until it is closed."""
    file = still.path("/srv/x").open("w")
    thread = threading.Thread(target=still.start)
    thread.start()
    eventually(lambda: claimed(still), "the start has begun")

    file.write("late")
    file.close()
    thread.join(20)

    assert "running" == still.status
    assert "late" == still.path("/srv/x").read_text()


def test_readers_do_not_hold_a_start_up(still: Box) -> None:
    """Nor each other."""
    with still.files() as files:
        files.path("/srv/x").write_text("x")
    with still.files(read_only=True) as one, still.files(read_only=True) as two:
        assert one.path("/srv/x").read_text() == two.path("/srv/x").read_text() == "x"
        still.start()

    assert "running" == still.status


def test_who_finds_a_container_starting_waits_for_it(engine: ck.Engine, image: ck.Image) -> None:
    """Copies and starts at the same time, many times: each copy is there afterwards."""
    for _ in range(10):
        box = make(engine, image)
        thread = threading.Thread(target=box.start)
        thread.start()
        box.path("/srv/x").write_text("x")
        thread.join(20)

        assert b"x" == box.exec(["payload", "cat", "/srv/x"]).stdout
        box.remove(force=True)


def test_a_container_that_is_gone_has_no_files(still: Box) -> None:
    """Whoever keeps the path learns it."""
    path = still.path("/etc/os-release")
    still.remove()

    with pytest.raises(errors.ContainerNotFoundError):
        path.read_text()
