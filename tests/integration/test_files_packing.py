"""Trees as tar streams: what is in them, in which order, and the same bytes every time."""

from __future__ import annotations

import errno
import io
import os
import socket
import stat
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import container_kit as ck
from container_kit._files.view import container_view, overlay_view
from container_kit._files.worker import FileWorker, PackOptions
from container_kit._spec.paths import HostPath
from container_kit.errors import PathError
from tests.integration.trees import make_tree, open_tree, pack, start_worker

pytestmark = pytest.mark.needs_userns

SECOND = 10**9


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Give an empty directory."""
    return make_tree(tmp_path)


@pytest.fixture
def worker(engine: ck.Engine, tree: Path) -> Iterator[FileWorker]:
    """Give a worker on it."""
    with open_tree(engine, tree) as worker:
        yield worker


def members(data: bytes) -> dict[str, tarfile.TarInfo]:
    """Return what Python's reader finds, in its order."""
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return {member.name: member for member in archive}


def content(data: bytes, name: str) -> bytes:
    """Return the contents of a file in an archive."""
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        file = archive.extractfile(name)
        assert file is not None
        return file.read()


def fill(tree: Path) -> None:
    """Make something of every kind."""
    (tree / "b").write_bytes(b"hello")
    os.link(tree / "b", tree / "z")
    (tree / "a.d").mkdir()
    (tree / "a").mkdir(mode=0o2755)
    (tree / "a" / "deep").mkdir()
    (tree / "a" / "link").symlink_to("../b")
    os.mkfifo(tree / "fifo")
    (tree / "b").chmod(0o4755)
    for path in sorted(tree.rglob("*")):
        os.utime(path, ns=(0, 5 * SECOND), follow_symlinks=False)


def test_a_tree_is_packed_in_the_order_of_its_names(worker: FileWorker, tree: Path) -> None:
    """Each directory before what is in it, names by their bytes; hard links once as a file."""
    fill(tree)

    counts, data = pack(worker)

    found = members(data)
    assert ["a", "a/deep", "a/link", "a.d", "b", "fifo", "z"] == list(found)
    assert (7, 5, 0) == (counts.entries, counts.bytes, counts.devices_skipped)
    assert ("../b", "b") == (found["a/link"].linkname, found["z"].linkname)
    assert found["z"].islnk()
    assert found["fifo"].isfifo()
    assert (0o4755, 5, 5) == (found["b"].mode, found["b"].size, found["b"].mtime)
    assert ("", "") == (found["b"].uname, found["b"].gname)
    assert b"hello" == content(data, "b")
    assert len(data) % 512 == 0
    assert bytes(1024) == data[-1024:]


def test_the_same_tree_gives_the_same_bytes(engine: ck.Engine, tmp_path: Path) -> None:
    """Whatever the order in which it was made."""
    archives: list[bytes] = []
    for number, names in enumerate((range(300), range(299, -1, -1))):
        tree = tmp_path / str(number)
        tree.mkdir()
        for name in names:
            (tree / f"{name}").write_bytes(b"x" * name)
            os.utime(tree / f"{name}", ns=(0, 1))
        with open_tree(engine, tree) as worker:
            archives.append(pack(worker)[1])

    assert archives[0] == archives[1]


def test_gnu_tar_and_python_read_the_same(worker: FileWorker, tree: Path, tmp_path: Path) -> None:
    """Long names in both forms of ustar and beyond, sizes around a block and around the buffers."""
    for size in (0, 1, 511, 512, 513, 262144, 262145, 1048576, 3000001):
        (tree / f"size-{size}").write_bytes(os.urandom(size))
    for directory in ("p" * 154, "q" * 155, "r" * 156):
        for name in ("n" * 99, "n" * 100, "n" * 101):
            (tree / directory).mkdir(exist_ok=True)
            (tree / directory / name).write_bytes(name.encode())
    (tree / ("l" * 200)).symlink_to("t" * 250)
    (tree / "\udcff\u00fc").touch()

    _, data = pack(worker)

    unpacked = tmp_path / "unpacked"
    unpacked.mkdir()
    subprocess.run(["tar", "-C", str(unpacked), "-xf", "-"], input=data, check=True)
    wanted = {str(p.relative_to(tree)): p.read_bytes() for p in tree.rglob("*") if p.is_file()}
    assert wanted == {str(p.relative_to(unpacked)): p.read_bytes() for p in unpacked.rglob("*") if p.is_file()}
    assert sorted(str(p.relative_to(tree)) for p in tree.rglob("*")) == sorted(members(data))
    assert "t" * 250 == os.readlink(unpacked / ("l" * 200))


@pytest.mark.parametrize("mtime", [0, 1, SECOND // 2, 10 * SECOND, 2**33 * SECOND, -1, -SECOND, -3 * SECOND // 2])
def test_times_are_kept_to_the_nanosecond(worker: FileWorker, tree: Path, mtime: int) -> None:
    """With a fraction, before 1970, and beyond what ustar can say."""
    (tree / "file").touch()
    os.utime(tree / "file", ns=(0, mtime))
    kept = (tree / "file").stat().st_mtime_ns

    _, data = pack(worker)

    member = members(data)["file"]
    whole, _, fraction = member.pax_headers.get("mtime", str(kept // SECOND)).partition(".")
    sign = -1 if whole.startswith("-") else 1
    assert kept == int(whole) * SECOND + sign * int(fraction.ljust(9, "0"))


def test_options_change_what_headers_say(worker: FileWorker, tree: Path) -> None:
    """One owner for all, no time later than asked, no contents."""
    fill(tree)
    (tree / "later").touch()
    os.utime(tree / "later", ns=(0, 7 * SECOND + 1))

    options = PackOptions(owner=(3_000_000, 8), latest_mtime_ns=6 * SECOND, headers_only=True)
    counts, data = pack(worker, "/", options)

    found = members(data)
    assert {(3_000_000, 8)} == {(member.uid, member.gid) for member in found.values()}
    assert (5, 6) == (found["b"].mtime, found["later"].mtime)
    assert {0} == {member.size for member in found.values()}
    assert counts.bytes == 0


def test_names_in_the_archive_are_chosen(worker: FileWorker, tree: Path) -> None:
    """A file, a directory, a symlink itself; with and without what is below."""
    fill(tree)

    def names(path: str, **options: object) -> list[str]:
        return list(members(pack(worker, path, PackOptions(**options))[1]))  # type: ignore[arg-type]

    assert ["x", "x/deep", "x/link"] == names("/a", name="x")
    assert ["x"] == names("/a", name="x/", recurse=False)
    assert ["in/here"] == names("b", name="in/here")
    assert ["l"] == names("a/link", name="l")
    assert ["."] == names("/", name=".")[:1]
    assert ["deep", "link"] == names("/a")
    with pytest.raises(PathError) as caught:
        names("b")
    assert caught.value.errno == errno.ENOTDIR


@pytest.mark.needs_user_xattrs
def test_attributes_are_kept_and_sockets_left_out(worker: FileWorker, tree: Path) -> None:
    """user.* in the order of their names, whatever bytes they hold; a socket is counted."""
    (tree / "file").touch()
    for name, value in (("user.z", b"\0\n=\xff"), ("user.a", b""), ("user.overlay.x", b"1")):
        os.setxattr(tree / "file", name, value)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tree / "sock"))
        counts, data = pack(worker)

    headers = members(data)["file"].pax_headers
    attributes = {name: value for name, value in headers.items() if name.startswith("SCHILY")}
    assert {"SCHILY.xattr.user.a": "", "SCHILY.xattr.user.z": "\0\n=\udcff"} == attributes
    assert ["SCHILY.xattr.user.a", "SCHILY.xattr.user.z"] == list(attributes)
    assert (1, 1) == (counts.entries, counts.devices_skipped)


@pytest.mark.needs_root
def test_devices_and_capabilities_are_kept(worker: FileWorker, tree: Path) -> None:
    """Numbers of a device; a file's capabilities as the kernel stores them."""
    capability = bytes.fromhex("0100000200040000000000000000000000000000")
    (tree / "ping").touch()
    os.setxattr(tree / "ping", "security.capability", capability)
    os.mknod(tree / "null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    os.mknod(tree / "zero", 0o600 | stat.S_IFCHR, os.makedev(0, 0))

    _, data = pack(worker)

    found = members(data)
    assert (1, 3, True) == (found["null"].devmajor, found["null"].devminor, found["null"].ischr())
    assert found["zero"].ischr()
    kept = found["ping"].pax_headers["SCHILY.xattr.security.capability"]
    assert capability == kept.encode("utf-8", "surrogateescape")


@pytest.mark.needs_overlay
def test_a_layer_is_what_the_upper_directory_says(engine: ck.Engine, tmp_path: Path) -> None:
    """Removed files and replaced directories become `.wh.` entries, which carry nothing of the host."""
    lower, directory = tmp_path / "lower", tmp_path / "container"
    (lower / "d").mkdir(parents=True)
    (lower / "gone").write_text("x")
    (lower / "d" / "old").touch()
    for name in ("upper", "work"):
        (directory / name).mkdir(parents=True)
    facts = engine.site.facts
    view = overlay_view(
        [HostPath(str(lower))],
        upper=("upper", "work"),
        directory=HostPath(str(directory)),
        form=facts.overlay_form,
        rootless=facts.rootless,
    )
    with start_worker(engine, view) as worker:
        worker.remove("gone")
        worker.remove("d", recursive=True)
        worker.make_directory("d")
        for name in ("d/new", "d/.wh.odd"):
            os.close(worker.open(name, os.O_CREAT | os.O_WRONLY))
    with open_tree(engine, directory / "upper") as worker:
        counts, data = pack(worker, "/", PackOptions(layer=True, user_xattr=facts.rootless))

    found = members(data)
    assert ["d", "d/.wh..wh..opq", "d/new", ".wh.gone"] == list(found)
    assert (4, 1) == (counts.entries, counts.devices_skipped)
    marker = found[".wh.gone"]
    assert (True, 0, 0, 0, 0) == (marker.isreg(), marker.mode, marker.uid, marker.size, marker.mtime)
    assert {} == {name: value for name, value in found["d"].pax_headers.items() if "overlay" in name}


def test_what_is_mounted_below_can_be_left_out(engine: ck.Engine, image: ck.Image, tmp_path: Path) -> None:
    """Mount points are packed as they lie there: empty."""
    volume = make_tree(tmp_path)
    (volume / "file").touch()
    mounts = [ck.Mount.bind(volume, "/data")]
    with ck.start(image, ["payload", "sleep", "1000"], detach=True, mounts=mounts, engine=engine) as box:
        pid = box.inspect().pid
        assert pid is not None
        with start_worker(engine, container_view(pid, rootless=engine.site.facts.rootless)) as worker:
            _, data = pack(worker, "/", PackOptions(one_mount=True))

    found = members(data)
    assert {"data", "proc", "etc/hosts", "bin/payload"} <= set(found)
    assert [] == [name for name in found if name.startswith(("data/", "proc/", "dev/"))]
    assert (True, 0) == (found["etc/hosts"].isreg(), found["etc/hosts"].size)


def test_deep_trees_are_packed_until_their_names_are_too_long(worker: FileWorker, tree: Path) -> None:
    """1500 directories deep is fine; beyond the longest path there is an error that names the place."""
    worker.make_directory("/" + "d/" * 1500, parents=True)

    counts, _ = pack(worker)
    worker.make_directory("/" + "d/" * 2000, parents=True)
    top = os.open(tree, os.O_PATH)
    for _ in range(2000):
        below = os.open("d", os.O_PATH, dir_fd=top)
        os.close(top)
        top = below
    for _ in range(100):
        os.mkdir("d", dir_fd=top)
        below = os.open("d", os.O_PATH, dir_fd=top)
        os.close(top)
        top = below
    os.close(top)
    with pytest.raises(PathError) as caught:
        pack(worker)

    assert counts.entries == 1500
    assert caught.value.errno == errno.ENAMETOOLONG
    assert caught.value.path.startswith("d/d/")
    worker.remove("/", recursive=True)
    assert [] == os.listdir(tree)


def test_nobody_reading_is_an_error(worker: FileWorker, tree: Path) -> None:
    """EPIPE; the worker goes on."""
    (tree / "file").write_bytes(bytes(1 << 20))
    reader, writer = os.pipe()
    os.close(reader)

    with pytest.raises(PathError) as caught:
        worker.pack("/", writer, PackOptions())

    os.close(writer)
    assert caught.value.errno == errno.EPIPE
    assert worker.status("file").size == 1 << 20


def test_sparse_and_growing_files_have_the_size_of_their_header(worker: FileWorker, tree: Path) -> None:
    """A hole is zeros; a file that is written to meanwhile cannot spoil what follows it."""
    with open(tree / "hole", "wb") as file:
        file.truncate(5_000_000)
    (tree / "next").write_bytes(b"n")

    _, data = pack(worker)

    assert bytes(5_000_000) == content(data, "hole")
    assert b"n" == content(data, "next")
