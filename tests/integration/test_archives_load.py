"""Loading archives: every form that tools write, which names come of it, several platforms, many at once."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

import pytest

import container_kit as ck
from container_kit._archives.load import load
from container_kit._spec.digest import Digest
from container_kit._spec.manifest import Manifest
from container_kit._spec.progress import Progress
from container_kit._store.collect import collect
from container_kit._store.store import ImageStore
from container_kit.errors import ImageError, ImageNotFoundError, InvalidSpecError
from tests.archives import (
    COMPRESSIONS,
    compress,
    docker_members,
    hybrid_members,
    oci_members,
    old_docker_members,
    write_tar,
)
from tests.loading import APP, BASE, FORMS, IMAGE, NAME, OTHER, SECOND, assert_empty, config_of, load_bytes, read_layer
from tests.small_images import FOREIGN_ARCHITECTURE, SmallImage, digest_of, make_image, make_index, make_tar, noise


@pytest.fixture
def store(engine: ck.Engine) -> Iterator[ImageStore]:
    """Give an empty store; no scratch may be left in it."""
    store = engine.site.images

    yield store

    assert [] == os.listdir(store.home.ingest)


# ── every form ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("compression", ["none", "gzip", "zstd"])
def test_a_loaded_image_is_complete_and_unpacked(store: ImageStore, form: str, compression: str) -> None:
    """Whichever tool wrote the archive, and however its layers are compressed."""
    image = make_image(BASE, APP, compression=compression)

    names = load_bytes(store, write_tar(FORMS[form]([(image, ["box:1"])])))

    assert [NAME] == names
    assert image.blobs[image.config] == config_of(store, NAME)
    assert b"ID=small\n" == read_layer(store, BASE, "etc/os-release")
    assert noise(50_000, seed=1) == read_layer(store, APP, "app/data")


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_an_archive_may_be_compressed(store: ImageStore, tmp_path: Path, compression: str) -> None:
    """Nobody says how; the beginning tells it. From a file this time."""
    path = tmp_path / "archive"
    path.write_bytes(compress(write_tar(docker_members([(IMAGE, ["box:1"])])), compression))

    entries = load(store, str(path))

    assert [NAME] == [entry.name for entry in entries]
    assert b"ID=small\n" == read_layer(store, BASE, "etc/os-release")


@pytest.mark.parametrize("compression", ["none", "zstd"])
def test_an_archive_may_come_through_a_pipe(store: ImageStore, compression: str) -> None:
    """It is read once, from its beginning to its end."""
    archive = compress(write_tar(oci_members([(IMAGE, ["box:1"])])), compression)
    incoming, outgoing = os.pipe()

    def send() -> None:
        with open(outgoing, "wb") as file:
            file.write(archive)

    sender = threading.Thread(target=send)
    sender.start()
    with open(incoming, "rb", buffering=0) as file:
        entries = load(store, cast("BinaryIO", file))
    sender.join()

    assert [NAME] == [entry.name for entry in entries]


def test_a_document_of_the_archive_is_kept_as_it_is(store: ImageStore) -> None:
    """A manifest in an OCI layout has the digest that it had."""
    load_bytes(store, write_tar(oci_members([(IMAGE, ["box:1"])])))

    assert IMAGE.data == store.layout.read(Digest(IMAGE.digest))


def test_a_manifest_made_for_a_docker_archive_is_always_the_same(store: ImageStore) -> None:
    """So loading twice changes nothing, however the archive was compressed."""
    archive = write_tar(docker_members([(IMAGE, ["box:1"])]))

    load_bytes(store, archive)
    (first,) = store.layout.entries()
    load_bytes(store, compress(archive, "gzip"))

    assert [first.descriptor] == [entry.descriptor for entry in store.layout.entries()]


def test_layers_that_images_share_are_there_once(store: ImageStore) -> None:
    """Old archives have symlinks for them."""
    load_bytes(store, write_tar(old_docker_members([(IMAGE, ["box:1"]), (SECOND, ["box:2"])])))

    blobs = os.listdir(os.path.dirname(store.layout.blob_path(Digest(IMAGE.digest))))
    assert 3 + 2 + 2 == len(blobs)  # layers, configs, manifests
    assert b"other\n" == read_layer(store, OTHER, "other")


def test_the_same_archive_may_be_loaded_by_many_at_once(store: ImageStore) -> None:
    """They share the work or do it twice; there is one image afterwards."""
    archive = write_tar(docker_members([(IMAGE, ["box:1"]), (SECOND, ["box:2"])]))
    errors: list[BaseException] = []

    def work() -> None:
        try:
            load_bytes(store, archive)
        except BaseException as error:  # noqa: BLE001  # shown below
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [] == errors
    assert {NAME, "docker.io/library/box:2"} == {entry.name for entry in store.layout.entries()}
    assert 3 + 2 + 2 == len(list(Path(store.home.images).glob("blobs/sha256/*")))


LOADER = """
import sys
import container_kit as ck
from container_kit._archives.load import load
with ck.Engine(root=sys.argv[1], runtime=sys.argv[2]) as engine:
    load(engine.site.images, open(0, "rb", buffering=0))
"""


def test_a_load_that_is_killed_leaves_nothing_to_see(store: ImageStore, engine: ck.Engine, tmp_path: Path) -> None:
    """Its scratch goes with the next collection, and the archive can be loaded again."""
    large = make_image(make_tar({"large": noise(4_000_000)}), compression="none")
    archive = write_tar(docker_members([(large, ["box:1"])]))
    command = [sys.executable, "-c", LOADER, engine.root, str(tmp_path / "r")]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as child:
        assert child.stdin is not None
        child.stdin.write(archive[:3_000_000])  # more than a pipe holds: the child is in the middle of it
        child.kill()
        child.wait()

    assert () == store.layout.entries()
    assert [] != os.listdir(store.home.ingest)
    collect(store)
    assert_empty(store)
    assert [NAME] == load_bytes(store, archive)


@pytest.mark.parametrize(
    "target", ["../real/layer.tar", "/real/layer.tar", "/../real/layer.tar", "/hop/layer.tar", "two"]
)
def test_a_layer_may_be_a_symlink_to_what_is_not_listed(store: ImageStore, target: str) -> None:
    """In the archive, whose top is its root; what is stored is the file."""
    image = make_image(BASE, compression="none")
    members = docker_members([(image, ["box:1"])])
    listing = json.loads(cast("bytes", members["manifest.json"]))
    listing[0]["Layers"] = ["a/layer.tar"]
    members |= {"manifest.json": json.dumps(listing).encode(), "real/layer.tar": BASE, "hop": "real"}
    members |= {"a/layer.tar": target, "a/two": "../hop/layer.tar"}

    load_bytes(store, write_tar(members))

    assert b"ID=small\n" == read_layer(store, BASE, "etc/os-release")
    assert BASE == Path(store.layout.blob_path(Digest(digest_of(BASE)))).read_bytes()
    assert not Path(store.layout.blob_path(Digest(digest_of(BASE)))).is_symlink()


@pytest.mark.parametrize("form", FORMS)
def test_a_collection_meanwhile_takes_nothing_away(store: ImageStore, form: str) -> None:
    """A lease holds what has no name yet; here a collection comes with each event."""
    image = make_image(BASE, APP)
    archive = io.BytesIO(write_tar(FORMS[form]([(image, ["box:1"])])))

    def collect_now(_: Progress) -> None:
        collect(store)

    load(store, archive, progress=collect_now)

    collect(store)
    assert image.blobs[image.config] == config_of(store, NAME)
    assert b"ID=small\n" == read_layer(store, BASE, "etc/os-release")
    assert noise(50_000, seed=1) == read_layer(store, APP, "app/data")


# ── names ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("form", FORMS)
def test_all_names_of_all_images_are_set(store: ImageStore, form: str) -> None:
    """The entries are returned in the archive's order."""
    archive = write_tar(FORMS[form]([(IMAGE, ["box:1", "r.test:5000/box:one"]), (SECOND, ["box:2"])]))

    names = load_bytes(store, archive)

    assert [NAME, "r.test:5000/box:one", "docker.io/library/box:2"] == names


@pytest.mark.parametrize("form", FORMS)
def test_only_the_names_asked_for_are_set(store: ImageStore, form: str) -> None:
    """An archive cannot take a name that its user did not mean (CVE-2024-8676)."""
    archive = write_tar(FORMS[form]([(IMAGE, ["box:1", "debian:12"]), (SECOND, ["box:2"])]))

    names = load_bytes(store, archive, "box:1")

    assert [NAME] == names
    assert [NAME] == [entry.name for entry in store.layout.entries()]
    assert store.layers.find(Digest(digest_of(OTHER))) is None


def test_a_name_that_is_not_in_the_archive_is_refused(store: ImageStore) -> None:
    """The error says which ones there are."""
    with pytest.raises(ImageNotFoundError) as caught:
        load_bytes(store, write_tar(docker_members([(IMAGE, ["box:1"])])), "box:2")

    assert ("box:1",) == caught.value.near
    assert_empty(store)


@pytest.mark.parametrize("form", FORMS)
def test_an_image_without_a_name_is_loaded_without_one(store: ImageStore, form: str) -> None:
    """As a dangling image."""
    assert [None] == load_bytes(store, write_tar(FORMS[form]([(IMAGE, [])])))


def test_a_name_of_two_images_is_refused(store: ImageStore) -> None:
    """Which one it means would depend on the reader."""
    with pytest.raises(ImageError, match="two images named"):
        load_bytes(store, write_tar(docker_members([(IMAGE, ["box:1"]), (SECOND, ["box:1"])])))

    assert_empty(store)


def test_names_are_not_one_string(store: ImageStore) -> None:
    """Whose characters would be names."""
    with pytest.raises(InvalidSpecError):
        load(store, io.BytesIO(write_tar(docker_members([(IMAGE, ["b"])]))), names="b")


def test_text_that_cannot_be_a_name_is_left_out(store: ImageStore) -> None:
    """The image is there all the same."""
    assert [NAME] == load_bytes(store, write_tar(docker_members([(IMAGE, ["UPPER:1", "box:1", "../x"])])))


def test_the_image_that_had_the_name_becomes_dangling(store: ImageStore) -> None:
    """As after a pull."""
    load_bytes(store, write_tar(docker_members([(IMAGE, ["box:1"])])))
    load_bytes(store, write_tar(docker_members([(SECOND, ["box:1"])])))

    assert {None, NAME} == {entry.name for entry in store.layout.entries()}


def test_dockers_annotation_is_the_full_name(store: ImageStore) -> None:
    """The specification's has only the tag in archives of Docker."""
    members = oci_members([(IMAGE, ["r.test/box:7"])], annotation="io.containerd.image.name")
    index = json.loads(cast("bytes", members["index.json"]))
    index["manifests"][0]["annotations"]["org.opencontainers.image.ref.name"] = "7"
    members["index.json"] = json.dumps(index).encode()

    assert ["r.test/box:7"] == load_bytes(store, write_tar(members))


def test_annotations_of_an_archive_mean_nothing(store: ImageStore) -> None:
    """Neither ours, which count in the store's own index only, nor others."""
    members = oci_members([(IMAGE, ["box:1"])])
    index = json.loads(cast("bytes", members["index.json"]))
    index["manifests"][0]["annotations"] |= {"io.container-kit.source": f"sha256:{'0' * 64}", "other": "x"}
    members["index.json"] = json.dumps(index).encode()

    load_bytes(store, write_tar(members))

    (entry,) = store.layout.entries()
    assert entry.source is None
    assert () == entry.descriptor.annotations


# ── several platforms ────────────────────────────────────────────────────────────────────────────


def foreign_image() -> SmallImage:
    """Return an image for a processor that this is not."""
    return make_image(OTHER, compression="none", architecture=FOREIGN_ARCHITECTURE)


def test_a_complete_index_stays_one(store: ImageStore) -> None:
    """Of its images, the one for this host is unpacked."""
    index = make_index(foreign_image(), IMAGE)

    load_bytes(store, write_tar(oci_members([(index, ["box:1"])])))

    (entry,) = store.layout.entries()
    assert index.digest == entry.descriptor.digest
    assert store.layers.find(Digest(digest_of(BASE))) is not None
    assert store.layers.find(Digest(digest_of(OTHER))) is None


def test_docker_may_list_each_platform_of_an_index(store: ImageStore) -> None:
    """By the same name: it is one image."""
    images = [foreign_image(), IMAGE]
    members = oci_members([(make_index(*images), [])])
    listing = json.loads(cast("bytes", hybrid_members([(image, ["box:1"]) for image in images])["manifest.json"]))

    names = load_bytes(store, write_tar({**members, "manifest.json": json.dumps(listing).encode()}))

    assert [NAME] == names


@pytest.mark.parametrize("is_manifest_there", [False, True])
def test_of_an_incomplete_index_the_image_that_is_there_is_taken(store: ImageStore, is_manifest_there: bool) -> None:
    """Docker leaves out what it did not pull: with the manifest, or only the layers."""
    foreign = foreign_image()
    index = make_index(foreign, IMAGE)
    members = oci_members([(index, ["box:1"])])
    missing = [*foreign.blobs] if is_manifest_there else [*foreign.blobs, foreign.digest]
    for digest in missing:
        del members[f"blobs/sha256/{digest.partition(':')[2]}"]

    load_bytes(store, write_tar(members))

    (entry,) = store.layout.entries()
    assert (IMAGE.digest, index.digest) == (entry.descriptor.digest, entry.source)
    assert isinstance(store.layout.document(entry.descriptor), Manifest)


def test_an_index_without_anything_for_this_host_is_refused_when_incomplete(store: ImageStore) -> None:
    """Nothing of it could run."""
    members = oci_members([(make_index(foreign_image(), IMAGE), ["box:1"])])
    del members[f"blobs/sha256/{IMAGE.digest.partition(':')[2]}"]

    with pytest.raises(ImageError, match="incomplete"):
        load_bytes(store, write_tar(members))

    assert_empty(store)


def test_progress_is_told_in_the_callers_thread(store: ImageStore) -> None:
    """Of unpacking, of verifying, and that it is done."""
    events: list[Progress] = []
    threads: set[int] = set()

    def note(event: Progress) -> None:
        events.append(event)
        threads.add(threading.get_ident())

    load(store, io.BytesIO(write_tar(oci_members([(IMAGE, ["box:1"])]))), progress=note)

    assert {"unpack", "verify", "done"} <= {event.action for event in events}
    assert {threading.get_ident()} == threads
    assert "done" == events[-1].action
