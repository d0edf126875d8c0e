"""Making images: from tars and directories, with another config, with one more layer; the same each time."""

from __future__ import annotations

import io
import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import container_kit as ck
from container_kit._archives.load import load
from container_kit._images import describe
from container_kit._images.make import (
    Note,
    Packing,
    from_directory,
    import_tar,
    with_config,
    with_layer,
)
from container_kit._spec.digest import Digest
from container_kit._spec.image_config import ImageConfig
from container_kit._spec.manifest import Manifest
from container_kit._spec.oci_config import OciConfig
from container_kit._spec.progress import Progress
from container_kit._store.collect import collect
from container_kit._store.index_file import Entry
from container_kit._store.store import ImageStore
from container_kit.errors import (
    ContainerKitError,
    ImageError,
    InvalidReferenceError,
    InvalidSpecError,
    UnsafeArchiveError,
)
from tests.archives import COMPRESSIONS, compress, oci_members, write_tar
from tests.small_images import LAYER, digest_of, make_image, make_tar, noise

ROOT = make_tar({"etc/": b"", "etc/os-release": b"ID=small\n", "bin/": b"", "bin/tool": noise(30_000)})
MORE = make_tar({"etc/more": b"more\n", "etc/.wh.os-release": b""})
NAME = "docker.io/library/box:1"


@pytest.fixture
def store(engine: ck.Engine) -> Iterator[ImageStore]:
    """Give an empty store; no scratch may be left in it."""
    store = engine.site.images

    yield store

    assert [] == os.listdir(store.home.ingest)
    assert [threading.main_thread()] == threading.enumerate()


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Give a directory like the root of a file system."""
    root = tmp_path / "tree"
    (root / "etc").mkdir(parents=True)
    (root / "etc" / "os-release").write_text("ID=tree\n")
    (root / "bin").symlink_to("usr/bin")
    (root / "etc" / "shadow").write_text("secret")
    (root / "etc" / "shadow").chmod(0o600)
    root.chmod(0o750)
    for number, path in enumerate(sorted(root.rglob("*"))):
        os.utime(path, (1_000_000_000 + number, 1_000_000_000 + number), follow_symlinks=False)
    os.utime(root, (1_000_000_000, 1_000_000_000))
    return root


def parts_of(store: ImageStore, image: Entry) -> tuple[Manifest, OciConfig]:
    """Return an image's manifest and config."""
    _, manifest = store.layout.manifest_of(image)
    return manifest, store.layout.oci_config(manifest)


def layer_dir(store: ImageStore, diff_id: str) -> Path:
    """Return where a layer is unpacked."""
    place = store.layers.find(Digest(diff_id))
    assert place is not None
    return Path(place)


# ── from tars ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_a_tar_becomes_an_image_of_one_layer(store: ImageStore, compression: str) -> None:
    """However it is compressed; its diff_id is the tar's digest."""
    image = import_tar(store, io.BytesIO(compress(ROOT, compression)), "box:1", changes=["CMD echo hi", "ENV A=b"])

    manifest, config = parts_of(store, image)
    assert NAME == image.name
    assert (digest_of(ROOT),) == config.diff_ids
    assert f"{LAYER}+zstd" == manifest.layers[0].media_type
    assert ("/bin/sh", "-c", "echo hi") == config.config.command
    assert (("A", "b"),) == config.config.env
    assert b"ID=small\n" == (layer_dir(store, digest_of(ROOT)) / "etc/os-release").read_bytes()


def test_the_same_tar_is_the_same_image(store: ImageStore, tmp_path: Path) -> None:
    """From a file or from memory, compressed or not: its digest depends on nothing else."""
    path = tmp_path / "root.tar.gz"
    path.write_bytes(compress(ROOT, "gzip"))

    first = import_tar(store, str(path), "box:1")
    second = import_tar(store, io.BytesIO(ROOT), "box:2")

    assert first.descriptor == second.descriptor


@pytest.mark.parametrize("source", [noise(20_000), b"", compress(ROOT, "gzip")[:-1], ROOT[:2000]])
def test_what_is_no_tar_makes_no_image(store: ImageStore, source: bytes) -> None:
    """An empty file is none either."""
    with pytest.raises(UnsafeArchiveError):
        import_tar(store, io.BytesIO(source), "box:1")

    assert () == store.layout.entries()


@pytest.mark.parametrize("changes", [["RUN rm -rf /"], ["ENV"], ["EXPOSE x"]])
def test_a_bad_change_is_refused_before_anything_is_read(store: ImageStore, changes: list[str]) -> None:
    """The source may be a stream that nobody can send again."""
    source = io.BytesIO(ROOT)

    with pytest.raises(ContainerKitError):
        import_tar(store, source, "box:1", changes=changes)

    assert 0 == source.tell()


@pytest.mark.parametrize("name", ["UPPER", "box:1@sha256:" + "0" * 64, "", "a b"])
def test_a_bad_name_is_refused(store: ImageStore, name: str) -> None:
    """So is one with a digest: nobody can choose that."""
    with pytest.raises(InvalidReferenceError):
        import_tar(store, io.BytesIO(ROOT), name)


def test_an_image_may_have_no_name(store: ImageStore) -> None:
    """It is there as a dangling one."""
    image = import_tar(store, io.BytesIO(ROOT), None)

    assert image.name is None
    assert [image.descriptor] == [entry.descriptor for entry in store.layout.entries()]


# ── from directories ─────────────────────────────────────────────────────────────────────────────


def test_a_directory_becomes_an_image(store: ImageStore, tree: Path) -> None:
    """With its modes, times and symlinks, its own included."""
    image = from_directory(store, str(tree), "box:1", config=ImageConfig(command=("/bin/sh",)))

    _, config = parts_of(store, image)
    place = layer_dir(store, config.diff_ids[0])
    assert ("/bin/sh",) == config.config.command
    assert "ID=tree\n" == (place / "etc/os-release").read_text()
    assert "usr/bin" == os.readlink(place / "bin")
    for name in (".", "etc", "etc/shadow"):
        expected, actual = (tree / name).lstat(), (place / name).lstat()
        assert (expected.st_mode, expected.st_mtime_ns) == (actual.st_mode, actual.st_mtime_ns), name


def test_the_same_directory_is_the_same_image(store: ImageStore, tree: Path) -> None:
    """Whatever order its entries are in on the disk; later times are made one with `latest_mtime_ns`."""
    packing = Packing(latest_mtime_ns=900_000_000 * 10**9)
    first = from_directory(store, str(tree), "box:1", packing=packing)
    text = (tree / "etc" / "os-release").read_text()
    (tree / "etc" / "os-release").unlink()
    (tree / "etc" / "os-release").write_text(text)

    second = from_directory(store, str(tree), "box:2", packing=packing)
    third = from_directory(store, str(tree), "box:3")

    assert first.descriptor == second.descriptor
    assert first.descriptor != third.descriptor


def test_a_directory_that_is_not_there_is_refused(store: ImageStore, tmp_path: Path) -> None:
    """By name."""
    with pytest.raises(ImageError, match="not a directory"):
        from_directory(store, str(tmp_path / "missing"), "box:1")


def test_owners_may_be_chosen(store: ImageStore, tree: Path) -> None:
    """For all of it."""
    layer = from_directory(store, str(tree), None, packing=Packing(owner=(7, 8), compression="none"))

    manifest, _ = parts_of(store, layer)
    import tarfile

    with tarfile.open(store.layout.blob_path(manifest.layers[0].digest)) as tar:
        assert {(7, 8)} == {(member.uid, member.gid) for member in tar}


# ── from images ──────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def base(store: ImageStore) -> Entry:
    """Give an image in Docker's format, with a field that nobody knows."""
    image = make_image(ROOT, docker=True, config={"x-unknown": {"kept": 1}, "history": [{"created_by": "base"}]})
    (entry,) = load(store, io.BytesIO(write_tar(oci_members([(image, ["base:1"])]))))
    return entry


def test_another_config_shares_the_layers(store: ImageStore, base: Entry) -> None:
    """The image that it was made from stays as it is; unknown fields survive."""
    before, _ = parts_of(store, base)

    image = with_config(store, base, "box:1", changes=["USER app", 'LABEL a="b c"'])

    after, config = parts_of(store, image)
    assert [layer.digest for layer in before.layers] == [layer.digest for layer in after.layers]
    assert ("app", (("a", "b c"),)) == (config.config.user, config.config.labels)
    assert {"kept": 1} == json.loads(config.raw)["x-unknown"]
    assert (True, "with_config") == (config.history[-1].empty_layer, config.history[-1].created_by)
    assert {"docker.io/library/base:1", NAME} == {entry.name for entry in store.layout.entries()}
    assert f"{LAYER}+gzip" == after.layers[0].media_type  # not Docker's, which do not belong into an OCI manifest


def test_the_same_edit_is_the_same_image(store: ImageStore, base: Entry) -> None:
    """Times are not the present, unless they are given."""
    first = with_config(store, base, changes=["CMD x"])

    assert first.descriptor == with_config(store, base, changes=["CMD x"]).descriptor
    assert first.descriptor != with_config(store, base, changes=["CMD y"]).descriptor
    later = Note(created="2026-01-01T00:00:00Z")
    assert first.descriptor != with_config(store, base, changes=["CMD x"], note=later).descriptor


def test_one_more_layer_is_on_top(store: ImageStore, base: Entry) -> None:
    """Its whiteouts take away what is below."""
    image = with_layer(store, base, io.BytesIO(MORE), "box:1")

    manifest, config = parts_of(store, image)
    lowers = store.layers.ensure_all(manifest, config)
    assert (digest_of(ROOT), digest_of(MORE)) == config.diff_ids
    assert b"more\n" == Path(lowers[0], "etc/more").read_bytes()
    assert 0 == Path(lowers[0], "etc/os-release").lstat().st_rdev  # a whiteout: character device 0/0


def test_a_layer_may_be_a_directory_or_written_by_a_function(store: ImageStore, base: Entry, tree: Path) -> None:
    """Such as the packing of a file worker."""

    def write(fd: int) -> None:
        os.write(fd, MORE)

    from_tree = with_layer(store, base, str(tree))
    from_function = with_layer(store, base, write)

    assert "ID=tree\n" == (layer_dir(store, parts_of(store, from_tree)[1].diff_ids[1]) / "etc/os-release").read_text()
    assert digest_of(MORE) == parts_of(store, from_function)[1].diff_ids[1]


def test_the_number_of_layers_is_bounded(store: ImageStore) -> None:
    """As registries and runtimes have it."""
    layers = [make_tar({f"{number}": b""}) for number in range(127)]
    image = make_image(*layers, compression="none")
    (entry,) = load(store, io.BytesIO(write_tar(oci_members([(image, ["base:1"])]))))

    with pytest.raises((ImageError, InvalidSpecError)):
        with_layer(store, entry, io.BytesIO(MORE), "box:1")

    assert ["docker.io/library/base:1"] == [entry.name for entry in store.layout.entries()]


def test_what_becomes_an_image_survives_a_collection_meanwhile(store: ImageStore) -> None:
    """One comes with each event."""

    def collect_now(_: Progress) -> None:
        collect(store)

    base = import_tar(store, io.BytesIO(ROOT), None, progress=collect_now)
    image = with_layer(store, base, io.BytesIO(MORE), progress=collect_now)

    collect(store)
    assert layer_dir(store, digest_of(ROOT)).is_dir()
    assert 2 == len(parts_of(store, image)[0].layers)


# ── what they are ────────────────────────────────────────────────────────────────────────────────


def test_the_history_is_newest_first(store: ImageStore, base: Entry) -> None:
    """With the layer of each step that has one, and the image's id and names on top."""
    image = with_layer(store, with_config(store, base, changes=["CMD x"]), io.BytesIO(MORE), "box:1")
    manifest, _ = parts_of(store, image)

    items = describe.history(store, image)

    assert ["with_layer", "with_config", "base"] == [item.created_by for item in items]
    assert [manifest.layers[1].digest, None, manifest.layers[0].digest] == [item.layer for item in items]
    assert [manifest.layers[1].size, 0, manifest.layers[0].size] == [item.size_bytes for item in items]
    assert [image.descriptor.digest, "", ""] == [item.id for item in items]
    assert [5, 0, 30_009] == [item.unpacked_bytes for item in items]
    assert [("box:1",), (), ()] == [item.tags for item in items]


def test_an_inspection_has_dockers_facts(store: ImageStore) -> None:
    """Names, digests, sizes, layers, and the config."""
    image = import_tar(store, io.BytesIO(ROOT), "r.test/box:1", changes=["EXPOSE 80", "VOLUME /data", "CMD x"])
    manifest, config = parts_of(store, image)

    found = describe.inspect(store, image)

    assert image.descriptor.digest == found.id == found.manifest_digest
    assert manifest.config.digest == found.config_digest
    assert (("r.test/box:1",), ()) == (found.names, found.repo_digests)
    assert ((digest_of(ROOT),), (manifest.layers[0].digest,)) == (found.layers, found.layer_digests)
    assert image.descriptor.size + len(config.raw) + manifest.layers[0].size == found.size_bytes
    assert 30_009 == found.unpacked_bytes
    assert (("80/tcp",), ("/data",)) == (found.exposed_ports, found.volumes)
    assert found.created is not None
    assert (1970, (config.platform,)) == (found.created.year, found.platforms)
