"""Archives become files through a worker: what Python asks for, and how refusals come back.

What the reader of archives makes of each of them is tested in tests/unit/native/test_unpack.py.
"""

from __future__ import annotations

import errno
import io
import os
import stat
import tarfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

import container_kit as ck
from container_kit._files.worker import Counts, FileWorker, UnpackOptions
from container_kit.errors import PathError, PathNotFoundError, UnsafeArchiveError
from tests.integration.trees import make_tree, open_tree, pack

pytestmark = pytest.mark.needs_userns

Entry = tuple[str, dict[str, object]]

# Entries, limits; the entry that is to blame, and a word of the reason.
REFUSED: list[tuple[list[Entry], dict[str, int], str, str]] = [
    ([("ok", {}), ("../out", {})], {}, "../out", "name"),
    ([("l", {"type": tarfile.LNKTYPE, "linkname": "../../etc/passwd"})], {}, "l", "hard link"),
    ([("a", {}), ("b", {})], {"max_entries": 1}, "", "entries"),  # nobody looks at the next one
    ([("a", {}), ("b", {})], {"max_bytes": 7}, "b", "data"),
    ([("odd", {"type": b"Q"})], {}, "odd", "type"),
]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Give an empty directory."""
    return make_tree(tmp_path)


@pytest.fixture
def worker(engine: ck.Engine, tree: Path) -> Iterator[FileWorker]:
    """Give a worker on it."""
    with open_tree(engine, tree) as worker:
        yield worker


def own_ids(engine: ck.Engine) -> bool:
    """Say whether the worker's user namespace has more than one id."""
    return sum(ids.size for ids in engine.site.facts.id_map.uids) > 1


def archive(*entries: Entry, data: bytes = b"") -> bytes:
    """Return an archive of these entries: name, and attributes of TarInfo. Files hold `data`."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=tarfile.PAX_FORMAT) as writer:
        for name, attributes in entries:
            member = tarfile.TarInfo(name)
            member.mode = 0o644
            for key, value in attributes.items():
                setattr(member, key, value)
            member.size = len(data) if member.isreg() else 0
            writer.addfile(member, io.BytesIO(data))
    return made.getvalue()


def unpack(worker: FileWorker, data: bytes, path: str = "/", options: UnpackOptions | None = None) -> Counts:
    """Unpack bytes that come through a pipe."""
    reader, writer = os.pipe2(os.O_CLOEXEC)

    def feed() -> None:
        try:
            with open(writer, "wb") as file:
                file.write(data)
        except BrokenPipeError:  # it was refused before its end
            pass

    thread = threading.Thread(target=feed)
    thread.start()
    try:
        return worker.unpack(path, reader, options or UnpackOptions())
    finally:
        os.close(reader)
        thread.join()


def kinds(tree: Path) -> dict[str, int]:
    """Return name → kind of everything in a tree."""
    return {str(path.relative_to(tree)): stat.S_IFMT(path.lstat().st_mode) for path in sorted(tree.rglob("*"))}


def test_what_was_packed_is_unpacked_as_it_was(engine: ck.Engine, tmp_path: Path) -> None:
    """Pack, unpack, pack again: the same bytes."""
    one, other = tmp_path / "one", tmp_path / "other"
    for directory in (one, other):
        directory.mkdir()
    (one / "d" / ("n" * 200)).mkdir(parents=True)
    (one / "d" / "file").write_bytes(os.urandom(300_000))
    os.link(one / "d" / "file", one / "link")
    (one / "s").symlink_to("/nowhere")
    os.mkfifo(one / "fifo")
    (one / "d").chmod(0o1750)
    os.utime(one / "d", ns=(0, 1_234_567_890))

    with open_tree(engine, one) as worker:
        counts, data = pack(worker)
    with open_tree(engine, other) as worker:
        unpacked = unpack(worker, data, options=UnpackOptions(keep_owner=own_ids(engine)))
        _, again = pack(worker)

    assert (counts.entries, counts.bytes) == (unpacked.entries, unpacked.bytes)
    assert data == again


def test_an_archive_goes_into_the_directory_that_is_named(worker: FileWorker, tree: Path) -> None:
    """Also where a symlink leads to it in the tree; a missing one is an error."""
    (tree / "real").mkdir()
    (tree / "link").symlink_to("/real")

    counts = unpack(worker, archive(("x/y", {}), data=b"1"), "/link")

    assert (1, 1) == (counts.entries, counts.bytes)
    assert b"1" == (tree / "real" / "x" / "y").read_bytes()
    with pytest.raises(PathNotFoundError):
        unpack(worker, archive(("x", {})), "/none")


@pytest.mark.parametrize(("entries", "limits", "entry", "words"), REFUSED)
def test_a_refused_archive_names_its_entry(
    worker: FileWorker,
    tree: Path,
    entries: Sequence[Entry],
    limits: dict[str, int],
    entry: str,
    words: str,
) -> None:
    """The error has the entry and says what is wrong; nothing is written outside."""
    options = UnpackOptions(subject="layer one", **limits)  # type: ignore[arg-type]

    with pytest.raises(UnsafeArchiveError) as caught:
        unpack(worker, archive(*entries, data=b"1234"), options=options)

    assert ("layer one", entry) == (caught.value.image, caught.value.entry)
    assert words in caught.value.reason
    assert not (tree.parent / "out").exists()
    assert worker.list("/") is not None


@pytest.mark.parametrize("cut", [1, 511, 512, 700])
def test_an_archive_that_ends_too_early_is_refused(worker: FileWorker, cut: int) -> None:
    """A download that broke off is no archive."""
    data = archive(("file", {}), data=bytes(1000))

    with pytest.raises(UnsafeArchiveError) as caught:
        unpack(worker, data[:cut])

    assert "ends too early" in caught.value.reason


def test_owners_can_be_chosen(engine: ck.Engine, worker: FileWorker) -> None:
    """The archive's, the worker's own, or one for all."""
    data = archive(("file", {"uid": 3, "gid": 4}))
    if own_ids(engine):
        unpack(worker, data)
        kept = worker.status("file")
        assert (3, 4) == (kept.uid, kept.gid)

    unpack(worker, data, options=UnpackOptions(keep_owner=False, replace=True))
    own = worker.status("file")
    unpack(worker, data, options=UnpackOptions(owner=(0, 0), replace=True))

    assert (0, 0) == (own.uid, own.gid)


def test_devices_can_be_left_out(worker: FileWorker, tree: Path) -> None:
    """They are counted, the rest is there."""
    data = archive(("null", {"type": tarfile.CHRTYPE, "devmajor": 1, "devminor": 3}), ("file", {}))

    counts = unpack(worker, data, options=UnpackOptions(devices=False))

    assert 1 == counts.devices_skipped
    assert {"file": stat.S_IFREG} == kinds(tree)


@pytest.mark.needs_overlay
def test_a_layer_is_ready_for_overlayfs(engine: ck.Engine, worker: FileWorker, tree: Path) -> None:
    """Whiteouts become devices 0:0, opaque directories an attribute, in the form this user's overlays read."""
    user = engine.site.facts.rootless
    directory = {"type": tarfile.DIRTYPE, "mode": 0o755}
    data = archive(("d", dict(directory)), ("d/.wh..wh..opq", {}), (".wh.gone", {}))

    unpack(worker, data, options=UnpackOptions(layer=True, user_xattr=user, keep_owner=own_ids(engine)))

    whiteout = (tree / "gone").lstat()
    assert (stat.S_IFCHR, 0) == (stat.S_IFMT(whiteout.st_mode), whiteout.st_rdev)
    assert b"y" == os.getxattr(tree / "d", f"{'user' if user else 'trusted'}.overlay.opaque")


def test_what_the_file_system_refuses_is_a_path_error(engine: ck.Engine, tree: Path) -> None:
    """Not the archive's fault: EROFS, with the entry."""
    with open_tree(engine, tree, read_only=True) as worker, pytest.raises(PathError) as caught:
        unpack(worker, archive(("file", {})))

    assert (errno.EROFS, "file") == (caught.value.errno, caught.value.path)
