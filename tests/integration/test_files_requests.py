"""A file worker does what it is asked, and says what the kernel said when it cannot."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import container_kit as ck
from container_kit._files.worker import FileWorker
from container_kit.errors import (
    InvalidSpecError,
    PathError,
    PathExistsError,
    PathIsADirectoryError,
    PathNotADirectoryError,
    PathNotFoundError,
)
from tests.integration.trees import make_tree, open_tree, read, write

pytestmark = pytest.mark.needs_userns

ODD = "a b\n\udcff\u00e4"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Give an empty directory."""
    return make_tree(tmp_path)


@pytest.fixture
def worker(engine: ck.Engine, tree: Path) -> Iterator[FileWorker]:
    """Give a worker on it."""
    with open_tree(engine, tree) as worker:
        yield worker


def test_files_are_written_and_read_through_descriptors(worker: FileWorker, tree: Path) -> None:
    """What is opened for writing is made with the mode that was asked for, whatever the umask is."""
    os.umask(0o077)

    with open(worker.open("/new", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o664), "wb") as file:
        file.write(b"one")

    assert b"one" == (tree / "new").read_bytes() == read(worker, "new")
    assert 0o664 == stat.S_IMODE((tree / "new").stat().st_mode)
    with pytest.raises(PathExistsError):
        worker.open("/new", os.O_WRONLY | os.O_CREAT | os.O_EXCL)


def test_descriptors_are_not_inherited(worker: FileWorker, tree: Path) -> None:
    """A descriptor is close-on-exec."""
    (tree / "file").touch()

    fd = worker.open("file", os.O_RDONLY)

    assert not os.get_inheritable(fd)
    os.close(fd)


def test_truncating_and_appending(worker: FileWorker, tree: Path) -> None:
    """O_TRUNC and O_APPEND mean what they mean to open(2)."""
    (tree / "file").write_bytes(b"old and long")

    write(worker, "file", b"new")
    with open(worker.open("file", os.O_WRONLY | os.O_APPEND), "ab") as file:
        file.write(b"er")

    assert b"newer" == (tree / "file").read_bytes()


def test_a_dangling_symlink_is_written_through_inside(worker: FileWorker, tree: Path) -> None:
    """As open(2): O_CREAT makes what a symlink points to, in the tree."""
    (tree / "d").mkdir()
    (tree / "link").symlink_to("/d/target")

    write(worker, "link", b"x")

    assert b"x" == (tree / "d" / "target").read_bytes()


def test_status_tells_of_the_link_or_of_its_target(worker: FileWorker, tree: Path) -> None:
    """All fields are stat(2)'s."""
    (tree / "file").write_bytes(b"12345")
    os.link(tree / "file", tree / "second")
    (tree / "link").symlink_to("file")
    os.utime(tree / "file", ns=(1_000_000_001, -5))

    found = worker.status("link")
    link = worker.status("link", follow=False)

    info = (tree / "file").stat()
    assert (0o100000 | stat.S_IMODE(info.st_mode), 0, 0, 5, 2) == (
        found.mode,
        found.uid,
        found.gid,
        found.size,
        found.links,
    )
    assert (info.st_ino, info.st_dev) == (found.inode, found.device)
    assert (1_000_000_001, -5, info.st_ctime_ns) == (found.atime_ns, found.mtime_ns, found.ctime_ns)
    assert (found.is_file, found.is_dir, found.is_symlink) == (True, False, False)
    assert (link.is_symlink, link.size) == (True, 4)
    assert worker.status("/").is_dir


@pytest.mark.parametrize("count", [0, 1, 3000])
def test_listing_gives_every_name_once(worker: FileWorker, tree: Path, count: int) -> None:
    """Also when the answer comes in many pieces; names are bytes."""
    wanted = {(f"{number:05}-{ODD}", stat.S_IFREG) for number in range(count)}
    for name, _ in wanted:
        (tree / name).touch()
    (tree / "dir").mkdir()
    (tree / "link").symlink_to("nowhere")

    found = worker.list("/")

    assert sorted(wanted | {("dir", stat.S_IFDIR), ("link", stat.S_IFLNK)}) == sorted(found)


def test_directories_are_made(worker: FileWorker, tree: Path) -> None:
    """With parents, with set-id bits, and again when that is fine."""
    worker.make_directory("/a", 0o2751)
    worker.make_directory("/a/b/c", 0o700, parents=True)
    worker.make_directory("/a/b/c", 0o755, parents=True, exist_ok=True)
    worker.make_directory("/a", exist_ok=True)
    worker.make_directory("/", exist_ok=True)
    (tree / "file").touch()

    assert [0o2751, 0o2755, 0o2700] == [worker.status(name).mode & 0o7777 for name in ("a", "a/b", "a/b/c")]
    for path, parents in (("/a", False), ("/a/b", True), ("/", False)):
        with pytest.raises(PathExistsError):
            worker.make_directory(path, parents=parents)
    with pytest.raises(PathNotFoundError):
        worker.make_directory("/x/y")
    with pytest.raises(PathExistsError):
        worker.make_directory("/file", exist_ok=True)
    with pytest.raises(PathError) as caught:
        worker.make_directory("/file/d", parents=True)
    assert caught.value.errno == errno.ENOTDIR


def test_removing_takes_the_symlink_and_not_its_target(worker: FileWorker, tree: Path, tmp_path: Path) -> None:
    """A file, a symlink, an empty directory; a full one only recursively; never what is outside."""
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").touch()
    (tree / "full" / "deep").mkdir(parents=True)
    (tree / "full" / "out").symlink_to(tmp_path / "precious")
    (tree / "empty").mkdir()
    (tree / "link").symlink_to("full")

    worker.remove("link")
    worker.remove("empty/")
    with pytest.raises(PathError) as caught:
        worker.remove("full")
    worker.remove("full", recursive=True)

    assert caught.value.errno == errno.ENOTEMPTY
    assert [] == list(tree.iterdir())
    assert (tmp_path / "precious" / "file").exists()
    with pytest.raises(PathNotFoundError):
        worker.remove("full", recursive=True)


def test_removing_the_root_empties_it(worker: FileWorker, tree: Path) -> None:
    """The root itself stays; without `recursive` it is refused."""
    (tree / "a" / "b").mkdir(parents=True)
    (tree / "f").touch()

    with pytest.raises(PathError) as caught:
        worker.remove("/")
    worker.remove("/", recursive=True)

    assert caught.value.errno == errno.EBUSY
    assert [] == list(tree.iterdir())


def test_names_that_are_no_names_are_refused(worker: FileWorker, tree: Path) -> None:
    """`.` and `..` at the end of a path cannot be removed, renamed or linked."""
    (tree / "a").mkdir()
    (tree / "f").touch()
    refused: list[Callable[[], None]] = [
        lambda: worker.remove("a/..", recursive=True),
        lambda: worker.remove("a/.", recursive=True),
        lambda: worker.rename("a/..", "b"),
        lambda: worker.rename("f", "a/.."),
        lambda: worker.link("f", ".."),
    ]

    for attempt in refused:
        with pytest.raises(PathError) as caught:
            attempt()
        assert caught.value.errno == errno.EINVAL
    assert {"a", "f"} == {path.name for path in tree.iterdir()}


def test_renaming_linking_and_symlinks(worker: FileWorker, tree: Path) -> None:
    """Names move; a hard link is the same file; a symlink says what it was given."""
    (tree / "a").write_bytes(b"x")
    (tree / "d").mkdir()

    worker.rename("a", "/d/b")
    worker.link("d/b", "c")
    worker.symlink("d/s", "../../../etc/passwd")
    worker.link("d/s", "s2")

    assert os.stat(tree / "c").st_ino == os.stat(tree / "d" / "b").st_ino
    assert "../../../etc/passwd" == worker.read_link("d/s") == os.readlink(tree / "s2")
    with pytest.raises(PathError) as caught:
        worker.read_link("c")
    assert caught.value.errno == errno.EINVAL
    with pytest.raises(PathExistsError):
        worker.symlink("/", "x")


def test_modes_and_times_of_files_and_links(worker: FileWorker, tree: Path) -> None:
    """Followed or not, as asked; before 1970 as well."""
    (tree / "file").touch()
    (tree / "link").symlink_to("file")

    worker.change_mode("link", 0o4711)
    worker.set_times("link", 7, -1_500_000_000)
    worker.set_times("link", 8, 2**40, follow=False)

    info, link = (tree / "file").stat(), (tree / "link").lstat()
    assert 0o4711 == stat.S_IMODE(info.st_mode)
    assert (7, -1_500_000_000) == (info.st_atime_ns, info.st_mtime_ns)
    assert 2**40 == link.st_mtime_ns


@pytest.mark.needs_subids
def test_owners_are_ids_of_the_tree(worker: FileWorker, tree: Path) -> None:
    """As the worker's user namespace has them; -1 leaves one as it is; a symlink itself when asked."""
    (tree / "file").touch()
    (tree / "link").symlink_to("file")

    worker.change_owner("link", 5, 7)
    worker.change_owner("link", 6, -1)
    worker.change_owner("link", 9, 9, follow=False)

    found, link = worker.status("file"), worker.status("link", follow=False)
    assert (6, 7) == (found.uid, found.gid)
    assert (9, 9) == (link.uid, link.gid)


def test_errors_are_those_of_python(worker: FileWorker, tree: Path) -> None:
    """Each has its class, the path, and what was attempted."""
    (tree / "dir").mkdir()
    (tree / "file").touch()

    with pytest.raises(PathNotFoundError) as missing:
        worker.status("/none")
    with pytest.raises(FileNotFoundError):
        worker.open("", os.O_RDONLY)
    with pytest.raises(PathIsADirectoryError):
        worker.open("dir", os.O_WRONLY)
    with pytest.raises(PathNotADirectoryError):
        worker.list("file")
    with pytest.raises(PathError) as long:
        worker.status("a" * 5000)
    with pytest.raises(InvalidSpecError):
        worker.status("a\0b")
    with pytest.raises(PathError) as odd:
        worker.open("file", 0o20000000 | os.O_RDWR)

    assert ("/none", errno.ENOENT) == (missing.value.path, missing.value.errno)
    assert "look at" in str(missing.value)
    assert errno.ENAMETOOLONG == long.value.errno
    assert errno.EINVAL == odd.value.errno


def test_a_read_only_view_cannot_be_changed(engine: ck.Engine, tree: Path) -> None:
    """EROFS for everything that would change it."""
    (tree / "file").write_bytes(b"x")

    with open_tree(engine, tree, read_only=True) as worker:
        attempts: list[Callable[[], object]] = [
            lambda: worker.open("file", os.O_WRONLY),
            lambda: worker.make_directory("d"),
            lambda: worker.remove("file"),
            lambda: worker.change_mode("file", 0),
        ]
        for attempt in attempts:
            with pytest.raises(PathError) as caught:
                attempt()
            assert caught.value.errno == errno.EROFS
        assert b"x" == read(worker, "file")


@pytest.mark.parametrize("flags", [os.O_RDONLY, os.O_WRONLY | os.O_CREAT, os.O_RDWR | os.O_NONBLOCK])
def test_fifos_and_sockets_are_not_opened(worker: FileWorker, tree: Path, flags: int) -> None:
    """Opening a FIFO would wait for somebody; it is refused, directly and through a symlink."""
    os.mkfifo(tree / "fifo")
    (tree / "link").symlink_to("fifo")

    for path in ("fifo", "link"):
        with pytest.raises(PathError) as caught:
            worker.open(path, flags)
        assert caught.value.errno == errno.ENXIO


@pytest.mark.needs_root
def test_devices_are_not_opened(worker: FileWorker, tree: Path) -> None:
    """Opening a device is an act of its own; its status can be had."""
    os.mknod(tree / "null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))

    with pytest.raises(PathError) as caught:
        worker.open("null", os.O_RDONLY)

    assert caught.value.errno == errno.ENXIO
    assert os.makedev(1, 3) == worker.status("null").device_number


@pytest.mark.needs_subids
def test_permissions_are_those_of_root_in_the_tree(engine: ck.Engine, worker: FileWorker, tree: Path) -> None:
    """Files of other ids of the tree can be reached, as its root can."""
    write(worker, "secret", b"x")
    worker.change_owner("secret", 1000, 1000)
    worker.change_mode("secret", 0)

    assert b"x" == read(worker, "secret")
