"""Collecting: what an image, a container or a lease needs stays, everything else goes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

from container_kit._linux import processes
from container_kit._spec.container_config import ContainerConfig
from container_kit._spec.digest import Digest, parse_digest
from container_kit._spec.ids import ContainerId
from container_kit._spec.image_config import ImageConfig
from container_kit._spec.paths import ContainerPath, HostPath
from container_kit._spec.root_filesystem import OverlayLayers, RootFilesystem
from container_kit._state import content_records, records
from container_kit._state.container_record import ContainerRecord
from container_kit._store import collect as under_test
from container_kit._store.collect import Collected, collect
from container_kit._store.layout import Entry
from container_kit._store.store import ImageStore
from container_kit.errors import StateError
from tests.conftest import LedgerWatch
from tests.small_images import SmallImage, make_image, make_index, make_tar, noise
from tests.stores import close_store, descriptor_of, make_layer, open_store, put_blob, put_image

ROOT = Path(__file__).parents[2]
DEBIAN, ALPINE = "docker.io/library/debian:12", "docker.io/library/alpine:3"
SHARED = make_tar({"shared": noise(20_000)})


@pytest.fixture
def store(tmp_path: Path, ledger: LedgerWatch | None) -> Iterator[ImageStore]:
    """Give an empty store; what it is at work with is gone at the end."""
    store = open_store(tmp_path)
    if ledger is not None:
        ledger.watch(Path(store.home.ingest))

    yield store

    close_store(store)


def image_with(text: str) -> SmallImage:
    """Return an image of two layers, the lower one the same in all."""
    return make_image(SHARED, make_tar({"own": text.encode()}))


def put(store: ImageStore, image: SmallImage, name: str | None = None) -> Entry:
    """Put an image into the store, its layers unpacked."""
    entry = put_image(store, image, name)
    unpack(store, entry)
    return entry


def unpack(store: ImageStore, entry: Entry) -> tuple[HostPath, ...]:
    """Unpack an image's layers."""
    _, manifest = store.layout.manifest_of(entry)
    return store.layers.ensure_all(manifest, store.layout.oci_config(manifest))


def forget(store: ImageStore, entry: Entry) -> None:
    """Take an image out of the index."""
    with store.layout.edit() as index:
        index.remove(entry.descriptor.digest)


def blobs(store: ImageStore) -> set[str]:
    """Return the digests of all blobs."""
    return {f"sha256:{name}" for name in os.listdir(f"{store.home.images}/blobs/sha256")}


def parts(image: SmallImage) -> set[str]:
    """Return the digests of everything that an image is made of."""
    return {*image.blobs, *(descriptor_of(data).digest for data, _ in image.documents)}


def layers(store: ImageStore) -> set[str]:
    """Return the names in the directory of layers."""
    return set(os.listdir(store.home.layers))


# ── what goes and what stays ─────────────────────────────────────────────────────────────────────


def test_nothing_in_use_is_collected(store: ImageStore) -> None:
    """Named or dangling."""
    one, two = image_with("1"), image_with("2")
    put(store, one, DEBIAN)
    put(store, two)
    before = layers(store)

    assert Collected() == collect(store)

    assert parts(one) | parts(two) == blobs(store)
    assert before == layers(store)


def test_a_removed_image_goes_but_not_what_others_share(store: ImageStore) -> None:
    """Its bytes are counted: blobs, and what its layers held."""
    one, two = image_with("first"), image_with("2")
    gone, kept = put(store, one, DEBIAN), put(store, two, ALPINE)
    lowers = unpack(store, kept)
    forget(store, gone)
    own = parts(one) - parts(two)
    size = sum(store.layout.size(parse_digest(digest)) for digest in own)

    assert Collected(blobs=3, layers=1, bytes=size + len("first")) == collect(store)

    assert parts(two) == blobs(store)
    assert {os.path.basename(path) for path in lowers} == layers(store)
    assert 2 == len(content_records.layers(store.database))
    assert Collected() == collect(store)


def test_an_image_that_is_pulled_again_is_complete(store: ImageStore) -> None:
    """Nothing remembers what was collected."""
    image = image_with("1")
    forget(store, put(store, image, DEBIAN))
    collect(store)
    assert set() == blobs(store) | layers(store)

    lowers = unpack(store, put_image(store, image, DEBIAN))

    assert all(Path(lower).is_dir() for lower in lowers)


def test_all_of_an_index_stays(store: ImageStore) -> None:
    """Every platform's manifest, also in indexes in it, as far as it is there."""
    arm, here = make_image(make_tar({"a": b"arm"}), architecture="arm64"), image_with("here")
    image = make_index(make_index(arm), here)
    put(store, image, DEBIAN)
    missing = next(iter(set(arm.blobs)))
    os.unlink(store.layout.blob_path(parse_digest(missing)))

    assert Collected() == collect(store)

    assert parts(image) - {missing} == blobs(store)


def test_what_a_caller_wants_stays(store: ImageStore) -> None:
    """By digest."""
    digest = store.layout.put(b"a")
    store.layout.put(b"b")

    assert 1 == collect(store, keep=lambda one: one == digest).blobs
    assert {digest} == blobs(store)


def add_container(store: ImageStore, entry: Entry, lowers: tuple[HostPath, ...], image_id: str) -> ContainerId:
    """Record a container."""
    overlay = OverlayLayers(target=ContainerPath("/"), lowers=lowers)
    container = ContainerId("ab" * 32)
    record = ContainerRecord.new(
        container,
        "one",
        config=ContainerConfig(command=("x",)),
        image=ImageConfig(),
        root=RootFilesystem(overlays=(overlay,)),
        image_id=image_id,
        created_time=time.time(),
    )
    records.insert(store.database, record)
    return container


def test_what_a_container_was_made_from_stays(store: ImageStore) -> None:
    """Its directories, and its image for a commit; until it is removed."""
    image = image_with("1")
    entry = put(store, image, DEBIAN)
    lowers = unpack(store, entry)
    container = add_container(store, entry, lowers, entry.descriptor.digest)
    forget(store, entry)

    assert Collected() == collect(store)
    assert parts(image) == blobs(store)
    assert entry.descriptor.digest == records.get(store.database, "one").image_id
    records.delete(store.database, container)
    assert (4, 2) == (collect(store).blobs, 0 if layers(store) else 2)


def test_directories_of_a_container_stay_although_its_image_is_gone(store: ImageStore) -> None:
    """The row names directories, whatever became of the documents."""
    entry = put(store, image_with("1"), DEBIAN)
    lowers = unpack(store, entry)
    add_container(store, entry, lowers, "")
    forget(store, entry)

    assert 0 == collect(store).layers

    assert all(Path(lower).is_dir() for lower in lowers)
    assert set() == blobs(store)


# ── leases ───────────────────────────────────────────────────────────────────────────────────────


def test_a_lease_protects_what_it_names_and_what_that_refers_to(store: ImageStore) -> None:
    """A manifest's blobs and layers, a single blob, a single layer; until it ends."""
    image, single = image_with("1"), make_layer(make_tar({"single": b"1"}))
    entry = put(store, image)
    forget(store, entry)
    put_blob(store, single.blob)
    store.layers.ensure(single.diff_id, single.descriptor)
    with store.lease(entry.descriptor.digest) as lease:
        lease.add(single.diff_id)
        assert Collected(blobs=1, layers=0, bytes=len(single.blob)) == collect(store)
        assert parts(image) == blobs(store)
        assert 3 == len(layers(store))

    collect(store)

    assert set() == blobs(store) | layers(store)


def test_a_lease_of_a_dead_process_protects_nothing(tmp_path: Path, store: ImageStore) -> None:
    """Nor one of another boot, nor one whose pid belongs to another process."""
    digest = store.layout.put(b"content")
    program = (
        "import sys, os; from pathlib import Path; from tests.stores import open_store\n"
        "store = open_store(Path(sys.argv[1]))\n"
        "with store.lease(sys.argv[2]):\n"
        "    print('held', flush=True); sys.stdin.readline(); os._exit(9)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path), digest],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert "held\n" == process.stdout.readline()
    assert 0 == collect(store).blobs
    process.communicate("\n")
    own = processes.own_process_id()
    content_records.add_leases(store.database, "reused", attrs.evolve(own, start_time=own.start_time + 1), [digest])
    with store.database.transaction() as connection:
        connection.execute("INSERT INTO leases VALUES ('boot', ?, 'another', ?)", (digest, str(own)))

    assert 1 == collect(store).blobs
    assert [] == store.database.query("SELECT * FROM leases")


def test_a_lease_taken_before_looking_protects_what_is_seen(store: ImageStore) -> None:
    """Either the collection comes first and it is seen to be gone, or the lease comes first and it stays."""
    data = [b"%d" % number for number in range(60)]
    digests = [store.layout.put(one) for one in data]
    program = (
        "import sys; from pathlib import Path; from tests.stores import open_store\n"
        "from container_kit._store.collect import collect\n"
        "store = open_store(Path(sys.argv[1])); print('go', flush=True)\n"
        "while not store.layout.has(sys.argv[2]): pass\n"
        "for _ in range(20): collect(store)\n"
    )
    signal_blob = descriptor_of(b"start").digest
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(Path(store.home.root).parent), signal_blob],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert "go\n" == process.stdout.readline()
    store.layout.put(b"start")
    with store.lease() as lease:
        seen: list[Digest] = []
        for digest in digests:
            lease.add(digest)
            if store.layout.has(digest):
                seen.append(digest)
        process.communicate(timeout=60)
        assert 0 == process.returncode

        assert set(seen) == blobs(store)


# ── others, and damage ───────────────────────────────────────────────────────────────────────────


def test_what_another_tool_is_about_to_name_stays(store: ImageStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """skopeo writes blobs first; after an hour they are garbage. Once named they are like ours."""
    image = image_with("1")
    entry = put(store, image, DEBIAN)
    forget(store, entry)
    for digest in blobs(store):
        os.chmod(store.layout.blob_path(parse_digest(digest)), 0o644)

    assert 0 == collect(store).blobs
    with store.layout.edit() as index:
        index.set(DEBIAN, entry.descriptor)
    assert 0 == collect(store).blobs
    assert {0o444} == {os.stat(store.layout.blob_path(parse_digest(one))).st_mode & 0o777 for one in blobs(store)}
    forget(store, entry)
    os.chmod(store.layout.blob_path(entry.descriptor.digest), 0o644)
    assert 3 == collect(store).blobs
    monkeypatch.setattr(under_test, "_FOREIGN_SECONDS", -1.0)
    assert 1 == collect(store).blobs


@pytest.mark.parametrize("part", ["manifest", "config"])
def test_nothing_is_collected_while_a_document_is_damaged(store: ImageStore, part: str) -> None:
    """What it refers to cannot be told. Without the image everything can be."""
    entry = put(store, image_with("1"), DEBIAN)
    _, manifest = store.layout.manifest_of(entry)
    digest = entry.descriptor.digest if part == "manifest" else manifest.config.digest
    path = store.layout.blob_path(digest)
    os.chmod(path, 0o644)
    Path(path).write_bytes(b"{}")
    garbage = store.layout.put(b"garbage")
    other = open_store(Path(store.home.root).parent)  # which remembers no documents

    assert Collected() == collect(other)
    assert store.layout.has(garbage)
    forget(store, entry)
    assert 4 <= collect(other).blobs
    close_store(other)


def test_nothing_is_collected_without_an_index(store: ImageStore) -> None:
    """A damaged or missing index names nothing, which is not the same as that there is nothing."""
    image = image_with("1")
    put(store, image, DEBIAN)
    path = Path(store.home.images, "index.json")
    for spoil in (lambda: path.write_bytes(b"\0"), path.unlink):
        spoil()
        with pytest.raises(StateError):
            collect(store)

    assert parts(image) == blobs(store)


def test_what_is_no_blob_and_no_layer_is_left_alone(store: ImageStore) -> None:
    """Skeletons of the host image, mount points, and whatever somebody put there."""
    put(store, image_with("1"), DEBIAN)
    strange = [f"{store.home.layers}/host-{'0' * 32}", f"{store.home.layers}/mountpoints-1"]
    strange += [f"{store.home.images}/blobs/sha256/README", f"{store.home.images}/blobs/md5/x"]
    for path in strange:
        os.makedirs(path)

    collect(store)

    assert all(os.path.exists(path) for path in strange)


def test_a_layer_without_a_row_goes(store: ImageStore) -> None:
    """It was never complete; its image's other layers stay."""
    entry = put(store, image_with("1"), DEBIAN)
    _, manifest = store.layout.manifest_of(entry)
    diff_id = store.layout.oci_config(manifest).diff_ids[0]
    content_records.drop_layer(store.database, diff_id)

    assert 1 == collect(store).layers

    assert 2 == len(unpack(store, entry))
