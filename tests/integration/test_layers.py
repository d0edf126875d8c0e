"""Layers become directories: the same tree as GNU tar's, shared by all images that have them."""

from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from container_kit._files.view import directory_view
from container_kit._files.worker import FileStatus, FileWorker
from container_kit._spec.manifest import Manifest
from container_kit._spec.paths import HostPath
from container_kit._spec.progress import Progress
from container_kit._state import content_records
from container_kit._store.store import ImageStore
from container_kit.errors import (
    DigestMismatchError,
    ImageError,
)
from tests.conftest import LedgerWatch
from tests.small_images import SmallImage, make_image, make_tar, noise
from tests.stores import (
    close_store,
    ensure,
    in_layers,
    open_store,
    put_image,
    put_layer,
    read_files,
)

COMPRESSIONS = ("none", "gzip", "zstd")
FILES = {"etc/": b"", "etc/passwd": b"root:x:0:0::/:/bin/sh\n", "big": noise(3_000_000), "empty": b""}


@pytest.fixture
def store(tmp_path: Path, ledger: LedgerWatch | None) -> Iterator[ImageStore]:
    """Give an empty store; what it is at work with is gone at the end."""
    store = open_store(tmp_path)
    if ledger is not None:
        ledger.watch(Path(store.home.ingest))

    yield store

    close_store(store)


# ── what it becomes ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_a_layer_becomes_a_directory(store: ImageStore, compression: str) -> None:
    """Named by its diff_id, and recorded with what is in it."""
    layer = put_layer(store, make_tar(FILES), compression)
    assert store.layers.find(layer.diff_id) is None

    path = ensure(store, layer)

    assert f"{store.home.layers}/{layer.diff_id.replace(':', '-')}" == str(path)
    assert {name: data for name, data in FILES.items() if not name.endswith("/")} == read_files(path)
    assert str(path) == store.layers.find(layer.diff_id)
    record = content_records.layers(store.database)[layer.diff_id]
    assert (len(FILES), sum(map(len, FILES.values())), False) == (record.entries, record.bytes, record.durable)
    assert 0o755 == stat.S_IMODE(path.stat().st_mode)


def test_a_layer_is_unpacked_once(store: ImageStore) -> None:
    """Not even its blob is needed any more."""
    layer = put_layer(store, make_tar(FILES))
    path = ensure(store, layer)
    before = path.stat().st_ino
    os.unlink(store.layout.blob_path(layer.descriptor.digest))

    assert before == ensure(store, layer).stat().st_ino


def rich_tar(place: Path) -> bytes:
    """Return an archive by GNU tar of a tree with everything that an unprivileged user can make."""
    tree = place / "source"
    (tree / "deep" / ("d" * 100) / ("e" * 100)).mkdir(parents=True)
    (tree / "deep" / ("d" * 100) / ("e" * 100) / ("f" * 100)).write_bytes(b"long name")
    (tree / "name with ünïcode\n").write_bytes(b"1")
    (tree / "suid").write_bytes(b"x")
    (tree / "suid").chmod(0o4755)
    (tree / "sticky").mkdir()
    (tree / "sticky").chmod(0o1777)
    (tree / "link").symlink_to("/etc/passwd")
    (tree / "hard").hardlink_to(tree / "suid")
    os.mkfifo(tree / "fifo")
    os.setxattr(tree / "suid", "user.note", b"a\0b")
    (tree / "closed").mkdir()
    (tree / "closed" / "inside").write_bytes(noise(100_000))
    os.utime(tree / "closed" / "inside", ns=(1, 1_234_567_890_123_456_789))
    (tree / "closed").chmod(0o500)
    os.utime(tree / "closed", ns=(1, 987_654_321_000_000_001))
    owner = ["--owner=0", "--group=0"]  # an unprivileged user has no others, and is root in its namespace
    if os.geteuid() == 0:
        os.chown(tree / "closed" / "inside", 1234, 5678)
        owner = []
    command = ["tar", "--format=pax", "--xattrs", "--numeric-owner", *owner, "-C", str(tree), "-cf", "-", "."]
    done = subprocess.run(command, capture_output=True, check=True)
    (tree / "closed").chmod(0o700)
    return done.stdout


def listing(store: ImageStore, tree: Path) -> dict[str, tuple[object, ...]]:
    """Return what matters of each file in a tree, as root of the user namespace sees it."""
    found: dict[str, tuple[object, ...]] = {}
    with FileWorker.start(directory_view(HostPath(str(tree))), user_namespace=store.user_namespace()) as worker:
        waiting = ["/"]
        while waiting:
            path = waiting.pop()
            status = worker.status(path, follow=False)
            found[path] = _essence(
                status, worker.read_link(path) if status.is_symlink else _content(worker, path, status)
            )
            if status.is_dir:
                waiting += [f"{path.rstrip('/')}/{name}" for name, _ in worker.list(path)]
    return found


def _content(worker: FileWorker, path: str, status: FileStatus) -> object:
    if not status.is_file:
        return None
    fd = worker.open(path, os.O_RDONLY)
    with open(fd, "rb") as file:
        return file.read(), {name: os.getxattr(fd, name) for name in os.listxattr(fd) if name.startswith("user.")}


def _essence(status: FileStatus, content: object) -> tuple[object, ...]:
    links = status.links if status.is_file else 0
    return status.mode, status.uid, status.gid, status.mtime_ns, links, content


@pytest.mark.needs_tools("tar")
@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_the_tree_is_the_one_that_gnu_tar_makes(tmp_path: Path, store: ImageStore, compression: str) -> None:
    """Modes, owners, times, links, attributes and contents."""
    tar = rich_tar(tmp_path)
    expected = tmp_path / "expected"
    expected.mkdir()
    subprocess.run(["tar", "--xattrs", "--numeric-owner", "-p", "-C", str(expected), "-xf", "-"], input=tar, check=True)

    path = ensure(store, put_layer(store, tar, compression))

    assert listing(store, expected) == listing(store, path)
    (expected / "closed").chmod(0o700)


def test_whiteouts_become_overlayfs_ones(store: ImageStore) -> None:
    """A name that is removed is a device 0/0, an emptied directory has an attribute."""
    path = ensure(store, put_layer(store, make_tar({"a/": b"", "a/.wh.gone": b"", "b/": b"", "b/.wh..wh..opq": b""})))

    info = (path / "a" / "gone").lstat()
    assert stat.S_ISCHR(info.st_mode)
    assert 0 == info.st_rdev
    space = "user" if store.rootless else "trusted"
    assert b"y" == os.getxattr(path / "b", f"{space}.overlay.opaque")
    assert {"a", "a/gone", "b"} == {str(one.relative_to(path)) for one in path.rglob("*")}


# ── whole images ─────────────────────────────────────────────────────────────────────────────────


def three_layers(compression: str = "gzip") -> SmallImage:
    """Return an image with three layers."""
    return make_image(
        *(make_tar({name: noise(200_000, seed)}) for seed, name in enumerate("abc")), compression=compression
    )


def test_all_layers_of_an_image_are_found_topmost_first(store: ImageStore) -> None:
    """As overlayfs wants them; a second time nothing is unpacked."""
    entry = put_image(store, three_layers())
    _, manifest = store.layout.manifest_of(entry)
    config = store.layout.oci_config(manifest)
    events: list[Progress] = []

    lowers = store.layers.ensure_all(manifest, config, events.append)

    assert [["c"], ["b"], ["a"]] == [os.listdir(path) for path in lowers]
    assert {layer.digest.partition(":")[2][:12] for layer in manifest.layers} == {
        event.subject for event in events if event.finished
    }
    assert all(event.action == "unpack" and event.current <= (event.total or 0) for event in events)
    events.clear()
    assert lowers == store.layers.ensure_all(manifest, config, events.append)
    assert [] == events
    assert all(Path(lower).is_dir() for lower in lowers)


def test_a_layer_that_is_there_twice_is_used_once(store: ImageStore) -> None:
    """Overlayfs refuses a directory twice; the upper one hides the lower."""
    one, two = make_tar({"one": b"1"}), make_tar({"two": b"2"})
    entry = put_image(store, make_image(one, two, one))
    _, manifest = store.layout.manifest_of(entry)

    lowers = store.layers.ensure_all(manifest, store.layout.oci_config(manifest))

    assert [["one"], ["two"]] == [os.listdir(path) for path in lowers]


def test_one_bad_layer_ends_the_others(store: ImageStore) -> None:
    """What was complete stays: it is what its name says."""
    image = three_layers("none")
    entry = put_image(store, image)
    _, manifest = store.layout.manifest_of(entry)
    bad = store.layout.blob_path(manifest.layers[1].digest)
    os.chmod(bad, 0o644)
    with open(bad, "r+b") as file:
        file.seek(1000)
        file.write(b"damage")

    with pytest.raises(DigestMismatchError):
        store.layers.ensure_all(manifest, store.layout.oci_config(manifest))

    assert all(not name.startswith(".") for name in in_layers(store))
    assert store.layers.find(store.layout.oci_config(manifest).diff_ids[1]) is None


def test_a_manifest_that_does_not_fit_its_config_is_refused(store: ImageStore) -> None:
    """Another number of layers."""
    entry = put_image(store, three_layers())
    _, manifest = store.layout.manifest_of(entry)
    short = Manifest(media_type=manifest.media_type, config=manifest.config, layers=manifest.layers[:2])

    with pytest.raises(ImageError, match="2 layers"):
        store.layers.ensure_all(short, store.layout.oci_config(manifest))
