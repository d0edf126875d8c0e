"""Pulling images that there are for several platforms: which one comes, and what is said when none fits."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import container_kit as ck
from container_kit._images.pull import pull
from container_kit._spec.digest import Digest
from container_kit._spec.platform import Platform, parse_platform
from container_kit._store.index_file import Entry
from container_kit.errors import ImageError, ImageNotFoundError
from tests.conftest import LedgerWatch
from tests.image_places import Place, open_client
from tests.registries import Registry, run_registry
from tests.small_images import (
    ARCHITECTURE,
    FOREIGN_ARCHITECTURE,
    SmallImage,
    digest_of,
    encode,
    make_image,
    make_index,
    make_tar,
    publish,
)

BASE = make_tar({"etc/": b"", "etc/os-release": b"ID=small\n"})
APP = make_tar({"app/": b"", "app/data": b"data"})


@pytest.fixture
def registry(tmp_path: Path, ledger: LedgerWatch) -> Iterator[Registry]:
    """Give an empty registry."""
    with run_registry(tmp_path / "registry") as registry:
        yield registry


@pytest.fixture
def place(engine: ck.Engine) -> Iterator[Place]:
    """Give an empty store and a client."""
    with open_client() as client:
        yield Place(store=engine.site.images, client=client)


def have(place: Place, registry: Registry, name: str, platform: Platform | None = None) -> Entry:
    """Pull an image."""
    return pull(place.store, place.client, place.reference(registry.reference(name)), platform=platform)


def asked_by(registry: Registry, count: int, before: int) -> list[str]:
    """Return the requests after the first `before`, when there are `count` of them."""
    return registry.wait_for_requests(before + count)[before:]


def all_content(image: SmallImage) -> set[str]:
    """Return every digest of an image."""
    return {*image.blobs, *(digest_of(data) for data, _ in image.documents)}


OURS = make_image(BASE)
FOREIGN = make_image(APP, architecture=FOREIGN_ARCHITECTURE)


@pytest.mark.parametrize("docker", [False, True])
def test_of_several_platforms_the_hosts_comes(registry: Registry, place: Place, docker: bool) -> None:
    """Only that one is fetched; the entry remembers what the tag meant, so that the next pull is one request."""
    ours, foreign = (
        make_image(BASE, docker=docker),
        make_image(APP, architecture=FOREIGN_ARCHITECTURE, docker=docker),
    )
    index = make_index(foreign, ours, docker=docker)
    publish(index, registry.authority, "multi", "1")

    entry = have(place, registry, "multi:1")
    before = registry.count_requests()
    again = have(place, registry, "multi:1")

    assert (ours.digest, index.digest) == (entry.descriptor.digest, entry.source)
    assert all_content(ours) | {index.digest} == place.blobs()
    assert entry == again
    assert ["HEAD /v2/multi/manifests/1 200"] == asked_by(registry, 1, before)


def test_another_platform_on_request(registry: Registry, place: Place) -> None:
    """The name moves to it, and back when the host's own is pulled again."""
    publish(make_index(OURS, FOREIGN), registry.authority, "multi", "1")
    foreign = parse_platform(f"linux/{FOREIGN_ARCHITECTURE}")

    first = have(place, registry, "multi:1", foreign)
    second = have(place, registry, "multi:1")

    assert (FOREIGN.digest, OURS.digest) == (first.descriptor.digest, second.descriptor.digest)
    assert foreign == first.descriptor.platform


def test_a_platform_that_is_not_there_names_those_that_are(registry: Registry, place: Place) -> None:
    """Nothing is fetched but the index."""
    publish(make_index(OURS, FOREIGN), registry.authority, "multi", "1")

    with pytest.raises(ImageNotFoundError) as caught:
        have(place, registry, "multi:1", parse_platform("linux/riscv64"))

    assert tuple(sorted([f"linux/{ARCHITECTURE}", f"linux/{FOREIGN_ARCHITECTURE}"])) == caught.value.near
    assert "riscv64" in str(caught.value)
    assert [] == place.names()


def test_a_single_image_is_for_its_platform_only(registry: Registry, place: Place) -> None:
    """Asked for another one it is refused; not asked, it is taken as it is."""
    publish(FOREIGN, registry.authority, "single", "1")

    with pytest.raises(ImageNotFoundError) as caught:
        have(place, registry, "single:1", parse_platform("linux/riscv64"))

    assert (f"linux/{FOREIGN_ARCHITECTURE}",) == caught.value.near
    assert FOREIGN.digest == have(place, registry, "single:1").descriptor.digest


def test_an_index_that_names_no_platforms_is_looked_into(registry: Registry, place: Place) -> None:
    """The configs say what the index leaves out."""
    top = {"schemaVersion": 2, "mediaType": make_index().media_type}
    bare = [{k: v for k, v in image.descriptor().items() if k != "platform"} for image in (FOREIGN, OURS)]
    documents = [*FOREIGN.documents, *OURS.documents, (encode({**top, "manifests": bare}), make_index().media_type)]
    publish(SmallImage(blobs={**FOREIGN.blobs, **OURS.blobs}, documents=documents), registry.authority, "bare", "1")

    assert OURS.digest == have(place, registry, "bare:1").descriptor.digest


def test_an_index_in_an_index_is_found(registry: Registry, place: Place) -> None:
    """The inner index has no platform of its own."""
    inner = make_index(FOREIGN, OURS)
    descriptor = {k: v for k, v in inner.descriptor().items() if k != "platform"}
    outer = encode({"schemaVersion": 2, "mediaType": inner.media_type, "manifests": [descriptor]})
    nested = SmallImage(blobs=inner.blobs, documents=[*inner.documents, (outer, inner.media_type)])
    publish(nested, registry.authority, "nested", "1")

    assert OURS.digest == have(place, registry, "nested:1").descriptor.digest


def test_all_platforms_are_all_content_and_one_unpacked_image(registry: Registry, place: Place) -> None:
    """The entry is the index; the host's layers are unpacked, the others' are not; the next pull is one request."""
    index = make_index(FOREIGN, OURS)
    publish(index, registry.authority, "multi", "1")
    reference = place.reference(registry.reference("multi:1"))

    entry = pull(place.store, place.client, reference, all_platforms=True)
    before = registry.count_requests()
    again = pull(place.store, place.client, reference, all_platforms=True)
    have(place, registry, "multi:1")

    assert index.digest == entry.descriptor.digest == entry.source
    assert entry == again
    assert all_content(index) == place.blobs()
    assert place.store.layers.find(Digest(digest_of(BASE))) is not None
    assert place.store.layers.find(Digest(digest_of(APP))) is None
    assert ["HEAD /v2/multi/manifests/1 200"] * 2 == asked_by(registry, 2, before)


# ── hostile ones ─────────────────────────────────────────────────────────────────────────────────


def test_indexes_in_indexes_without_end_are_refused(registry: Registry, place: Place) -> None:
    """Five deep is deeper than anybody needs."""
    image = make_index(OURS)
    for _ in range(4):
        descriptor = {k: v for k, v in image.descriptor().items() if k != "platform"}
        outer = encode({"schemaVersion": 2, "mediaType": image.media_type, "manifests": [descriptor]})
        image = SmallImage(blobs=image.blobs, documents=[*image.documents, (outer, image.media_type)])
    publish(image, registry.authority, "deep", "1")

    with pytest.raises(ImageError, match="nested"):
        have(place, registry, "deep:1")

    assert [] == place.names()


def test_a_manifest_that_is_listed_as_an_index_is_refused(registry: Registry, place: Place) -> None:
    """Nobody is to read it as something else."""
    listed = {**OURS.descriptor(), "mediaType": make_index().media_type}
    top = encode({"schemaVersion": 2, "mediaType": make_index().media_type, "manifests": [listed]})
    liar = SmallImage(blobs=OURS.blobs, documents=[*OURS.documents, (top, make_index().media_type)])
    publish(liar, registry.authority, "liar", "1")

    with pytest.raises(ImageError):
        have(place, registry, "liar:1")

    assert [] == place.names()


def test_a_wrong_size_in_an_index_is_refused(registry: Registry, place: Place) -> None:
    """The digest is right, the size is not: one of them was changed by somebody."""
    listed = {**OURS.descriptor(), "size": len(OURS.data) + 1}
    top = encode({"schemaVersion": 2, "mediaType": make_index().media_type, "manifests": [listed]})
    liar = SmallImage(blobs=OURS.blobs, documents=[*OURS.documents, (top, make_index().media_type)])
    publish(liar, registry.authority, "liar", "1")

    with pytest.raises(ImageError, match="cut short"):
        have(place, registry, "liar:1")

    assert [] == place.names()
    assert [] == place.partials()
