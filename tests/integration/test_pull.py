"""Pulling from Debian's docker-registry: what comes, what does not come again, and what the name means afterwards."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import container_kit as ck
from container_kit._images.pull import pull
from container_kit._spec.digest import Digest
from container_kit._spec.progress import Progress
from container_kit._store.index_file import Entry
from container_kit.errors import (
    DigestMismatchError,
    ImageError,
    ManifestUnknownError,
    UnsafeArchiveError,
    UnsupportedMediaTypeError,
)
from tests.conftest import LedgerWatch
from tests.image_places import Place, open_client
from tests.registries import Registry, run_registry
from tests.small_images import (
    LAYER,
    SmallImage,
    describe,
    digest_of,
    make_image,
    make_tar,
    noise,
    publish,
)

BASE = make_tar({"etc/": b"", "etc/os-release": b"ID=small\n", "bin/": b"", "bin/tool": noise(300_000)})
APP = make_tar({"app/": b"", "app/data": noise(500_000, seed=1)})
IMAGE = make_image(BASE, APP)


@pytest.fixture
def registry(tmp_path: Path, ledger: LedgerWatch) -> Iterator[Registry]:
    """Give a registry with one image, `box:1`."""
    with run_registry(tmp_path / "registry") as registry:
        publish(IMAGE, registry.authority, "box", "1")
        yield registry


@pytest.fixture
def place(engine: ck.Engine) -> Iterator[Place]:
    """Give an empty store and a client."""
    with open_client() as client:
        yield Place(store=engine.site.images, client=client)


def have(place: Place, registry: Registry, name: str = "box:1") -> Entry:
    """Pull an image."""
    return pull(place.store, place.client, place.reference(registry.reference(name)))


def asked_by(registry: Registry, count: int, before: int) -> list[str]:
    """Return the requests after the first `before`, when there are `count` of them."""
    return registry.wait_for_requests(before + count)[before:]


def all_content(image: SmallImage) -> set[str]:
    """Return every digest of an image."""
    return {*image.blobs, *(digest_of(data) for data, _ in image.documents)}


# ── what comes ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("docker", [False, True])
@pytest.mark.parametrize("compression", ["gzip", "zstd", "none"])
def test_a_pulled_image_is_complete_and_unpacked(
    registry: Registry,
    place: Place,
    compression: str,
    docker: bool,
) -> None:
    """The very bytes are in the layout, the layers are directories, and the name means the manifest."""
    image = make_image(BASE, APP, compression=compression, docker=docker)
    publish(image, registry.authority, "box", "1")

    entry = have(place, registry)

    assert f"{registry.authority}/box:1" == entry.name
    assert image.digest == entry.descriptor.digest == entry.source
    assert all_content(image) == place.blobs()
    assert b"ID=small\n" == place.file(digest_of(BASE), "etc/os-release")
    assert noise(500_000, seed=1) == place.file(digest_of(APP), "app/data")
    assert [] == place.partials()


def test_an_image_without_layers_is_an_image(registry: Registry, place: Place) -> None:
    """There is nothing to unpack, and that is not an error."""
    publish(make_image(), registry.authority, "empty", "1")

    assert f"{registry.authority}/empty:1" == have(place, registry, "empty:1").name


def test_many_layers_some_of_them_twice(registry: Registry, place: Place) -> None:
    """Each blob comes once, however often the manifest lists it."""
    tars = [make_tar({f"{number}": noise(1000, seed=number)}) for number in range(30)]
    image = make_image(*tars, *tars[:10])
    publish(image, registry.authority, "many", "1")
    before = registry.count_requests()

    have(place, registry, "many:1")

    got = [line for line in asked_by(registry, 33, before) if "/blobs/" in line]
    assert len(got) == len(set(got)) == 31
    assert all_content(image) == place.blobs()


# ── what does not come again ─────────────────────────────────────────────────────────────────────


def test_an_unchanged_tag_is_one_request(registry: Registry, place: Place) -> None:
    """One HEAD says that all is as it was."""
    first = have(place, registry)
    before = registry.count_requests()

    again = have(place, registry)
    have(place, registry)

    assert first == again
    assert ["HEAD /v2/box/manifests/1 200"] * 2 == asked_by(registry, 2, before)


def test_a_digest_that_is_here_is_no_request(registry: Registry, place: Place) -> None:
    """What a digest means cannot change."""
    name = f"box@{IMAGE.digest}"
    first = have(place, registry, name)
    before = registry.count_requests()

    again = have(place, registry, name)
    place.client.resolve(place.reference(registry.reference("box:1")))

    assert first == again
    assert f"{registry.authority}/{name}" == first.name
    assert ["HEAD /v2/box/manifests/1 200"] == asked_by(registry, 1, before)


def test_a_tag_with_a_digest_is_the_digest(registry: Registry, place: Place) -> None:
    """The digest counts, also where the tag means something else; the name keeps both."""
    publish(make_image(BASE), registry.authority, "box", "1")

    entry = have(place, registry, f"box:1@{IMAGE.digest}")

    assert IMAGE.digest == entry.descriptor.digest
    assert f"{registry.authority}/box:1@{IMAGE.digest}" == entry.name


def test_shared_layers_come_once(registry: Registry, place: Place) -> None:
    """A second image of the same base takes only what is new."""
    have(place, registry)
    other = make_image(BASE, make_tar({"other": b"x"}))
    publish(other, registry.authority, "other", "1")
    before = registry.count_requests()

    have(place, registry, "other:1")

    got = {line.split()[1].rpartition("/")[2] for line in asked_by(registry, 4, before) if "/blobs/" in line}
    assert {other.config, other.layers[1]} == got


def test_a_missing_blob_comes_again_and_is_not_unpacked_again(registry: Registry, place: Place) -> None:
    """A push or a save needs it; the layer itself is there."""
    have(place, registry)
    lost = Digest(IMAGE.layers[0])
    Path(place.store.layout.blob_path(lost)).unlink()
    inode = Path(place.store.layers.find(Digest(digest_of(BASE))) or "").stat().st_ino

    have(place, registry)

    assert all_content(IMAGE) == place.blobs()
    assert inode == Path(place.store.layers.find(Digest(digest_of(BASE))) or "").stat().st_ino


# ── what names mean ──────────────────────────────────────────────────────────────────────────────


def test_a_moved_tag_leaves_the_older_image_dangling(registry: Registry, place: Place) -> None:
    """The name moves to the newer one."""
    have(place, registry)
    newer = make_image(BASE)
    publish(newer, registry.authority, "box", "1")

    have(place, registry)

    found = {entry.name: entry.descriptor.digest for entry in place.store.layout.entries()}
    assert {f"{registry.authority}/box:1": newer.digest, None: IMAGE.digest} == found


def test_an_image_with_another_name_is_not_dangling(registry: Registry, place: Place) -> None:
    """It goes on under the name it still has."""
    publish(IMAGE, registry.authority, "box", "old")
    have(place, registry)
    have(place, registry, "box:old")
    newer = make_image(BASE)
    publish(newer, registry.authority, "box", "1")

    have(place, registry)

    assert [f"{registry.authority}/box:{tag}" for tag in ("1", "old")] == sorted(map(str, place.names()))


# ── what is refused ──────────────────────────────────────────────────────────────────────────────


def test_an_unknown_tag_says_which(registry: Registry, place: Place) -> None:
    """The error knows the registry's answer, its note the whole name."""
    with pytest.raises(ManifestUnknownError) as caught:
        have(place, registry, "box:none")

    assert [f"while pulling {registry.authority}/box:none"] == caught.value.__notes__


def lying_size() -> SmallImage:
    """Return an image that says of a layer, which the store may have, that it is shorter."""
    layer = make_image(BASE).layers[0]
    size = len(make_image(BASE).blobs[layer])
    return make_image(BASE, manifest={"layers": [{"mediaType": LAYER + "+gzip", "digest": layer, "size": size - 1}]})


def foreign_layer() -> SmallImage:
    """Return an image with a layer that registries do not keep."""
    layer = {
        **describe(b"x", "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"),
        "urls": ["http://192.0.2.1/"],
    }
    return make_image(BASE, manifest={"layers": [layer]})


def artifact() -> SmallImage:
    """Return something else that a registry keeps."""
    data = b"{}"
    config = describe(data, "application/vnd.cncf.helm.config.v1+json")
    image = make_image(BASE, manifest={"config": config})
    return SmallImage(blobs={**image.blobs, digest_of(data): data}, documents=image.documents)


REFUSED = {
    "a foreign layer": (foreign_layer(), UnsupportedMediaTypeError, "foreign"),
    "no image": (artifact(), UnsupportedMediaTypeError, "not a container image"),
    "too few diff_ids": (make_image(BASE, APP, config={"rootfs": {"type": "layers", "diff_ids": []}}), ImageError, "0"),
    "a wrong diff_id": (
        make_image(BASE, config={"rootfs": {"type": "layers", "diff_ids": [digest_of(b"")]}}),
        DigestMismatchError,
        "configuration promises",
    ),
    "a layer that is no tar": (make_image(b"no tar at all" * 100), UnsafeArchiveError, "malformed header"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_is_refused_and_leaves_no_image(registry: Registry, place: Place, what: str) -> None:
    """No name, no layer; the error says what is wrong."""
    image, error, said = REFUSED[what]
    publish(image, registry.authority, "bad", "1")

    with pytest.raises(error, match=said):
        have(place, registry, "bad:1")

    assert [] == place.names()
    assert [] == [name for name in place.layers() if not name.startswith("mountpoints")]


def test_a_wrong_size_of_what_is_here_is_refused(registry: Registry, place: Place) -> None:
    """That the blob is here already does not make the manifest true."""
    have(place, registry)
    publish(lying_size(), registry.authority, "liar", "1")

    with pytest.raises(DigestMismatchError, match="size"):
        have(place, registry, "liar:1")

    assert [f"{registry.authority}/box:1"] == place.names()


# ── progress ─────────────────────────────────────────────────────────────────────────────────────


def test_progress_tells_everything_in_the_callers_thread(registry: Registry, place: Place) -> None:
    """Each blob is downloaded and unpacked to its end, in this order, and `done` is the last event."""
    told: list[tuple[str, Progress]] = []
    reference = place.reference(registry.reference("box:1"))

    pull(place.store, place.client, reference, progress=lambda e: told.append((threading.current_thread().name, e)))

    assert {threading.current_thread().name} == {thread for thread, _ in told}
    events = [event for _, event in told]
    assert ("resolve", "done") == (events[0].action, events[-1].action)
    assert reference.familiar == events[-1].subject
    for digest in IMAGE.layers:
        mine = [event for event in events if event.subject == digest.partition(":")[2][:12]]
        finished = [event.action for event in mine if event.finished]
        assert ["download", "unpack"] == finished
        downloads = [event.current for event in mine if event.action == "download"]
        assert sorted(downloads) == downloads
        assert len(IMAGE.blobs[digest]) == downloads[-1] == mine[0].total


def test_a_callback_that_fails_ends_the_pull(registry: Registry, place: Place) -> None:
    """Its own error comes out; nothing has a name, nothing runs on, and the next pull is as good as ever."""

    def refuse(event: Progress) -> None:
        if event.action == "download":
            raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        pull(place.store, place.client, place.reference(registry.reference("box:1")), progress=refuse)

    assert [] == place.names()
    assert IMAGE.digest == have(place, registry).descriptor.digest


# ── leases ───────────────────────────────────────────────────────────────────────────────────────


def test_nothing_is_leased_after_a_pull(registry: Registry, place: Place) -> None:
    """What was protected is referred to by the name now, or is not needed."""
    have(place, registry)
    with pytest.raises(ManifestUnknownError):
        have(place, registry, "box:none")

    assert [(0,)] == place.store.database.query("SELECT count(*) FROM leases")
