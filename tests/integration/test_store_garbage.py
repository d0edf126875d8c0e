"""Collecting in bad company: storage that fails, documents that never were good, tools that know no lock."""

from __future__ import annotations

import errno
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import container_kit as ck
from container_kit._store.collect import Collected, collect
from container_kit._store.ingest import begin_blob
from container_kit._store.store import ImageStore
from container_kit.errors import HostError, ImageError
from tests.archives import oci_members, write_tar
from tests.loading import load_bytes
from tests.small_images import SmallImage, make_image, make_index, make_tar
from tests.stores import close_store, descriptor_of, open_store, put_image

NAME, OTHER = "docker.io/library/box:1", "docker.io/library/box:2"
GOOD = make_image(make_tar({"a": b"good"}))
BAD = make_image(
    make_tar({"b": b"bad"}), architecture="s390x", config={"rootfs": {"type": "layers", "diff_ids": ["nonsense"]}}
)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ImageStore]:
    """Give an empty store."""
    store = open_store(tmp_path)

    yield store

    close_store(store)


def parts(image: SmallImage) -> set[str]:
    """Return the digests of everything that an image is made of."""
    return {*image.blobs, *(descriptor_of(data).digest for data, _ in image.documents)}


def blobs(store: ImageStore) -> set[str]:
    """Return the digests of all blobs."""
    return {f"sha256:{name}" for name in os.listdir(f"{store.home.images}/blobs/sha256")}


@pytest.mark.parametrize("code", [errno.EMFILE, errno.EIO])
def test_what_cannot_be_read_now_may_name_anything(
    store: ImageStore, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """An image that only a lease holds stays whole when its manifest cannot be opened."""
    entry = put_image(store, GOOD)
    with store.layout.edit() as index:
        index.remove(entry.descriptor.digest)
    real = os.open

    def fail(path: Any, *rest: Any, **more: Any) -> int:
        if "/blobs/" in str(path):
            raise OSError(code, os.strerror(code))
        return real(path, *rest, **more)

    with store.lease(entry.descriptor.digest):
        with monkeypatch.context() as patch:
            patch.setattr(os, "open", fail)
            assert Collected() == collect(store)
            with pytest.raises(HostError):
                store.layout.open(entry.descriptor.digest)
        assert parts(GOOD) == blobs(store)


def test_a_malformed_config_keeps_nothing_but_its_own(store: ImageStore) -> None:
    """It matches its digest, so it never becomes better: what has nothing to do with it goes."""
    image = make_index(GOOD, BAD)
    put_image(store, image, NAME)
    garbage = store.layout.put(b"garbage")

    assert 1 == collect(store).blobs

    assert not store.layout.has(garbage)
    assert parts(image) == blobs(store)


def test_a_malformed_config_of_another_platform_is_refused_at_load(engine: ck.Engine) -> None:
    """The error names the field."""
    with pytest.raises(ImageError, match="diff_ids"):
        load_bytes(engine.site.images, write_tar(oci_members([(make_index(GOOD, BAD), ["box:1"])])))

    assert () == engine.site.images.layout.entries()


def test_an_index_that_is_being_written_in_place_is_read_again(
    store: ImageStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is empty for a moment."""
    put_image(store, GOOD, NAME)
    path = Path(store.home.images, "index.json")
    whole = path.read_bytes()
    path.write_bytes(b"")

    def finish(_: float) -> None:
        path.write_bytes(whole)

    monkeypatch.setattr(time, "sleep", finish)

    assert [NAME] == [entry.name for entry in store.layout.entries()]


def test_what_another_tool_wrote_during_an_edit_stays(store: ImageStore) -> None:
    """The change is made in it."""
    entry = put_image(store, GOOD, NAME)
    path = Path(store.home.images, "index.json")

    with store.layout.edit() as index:
        index.remove_name(NAME)
        document = json.loads(path.read_bytes())
        row = document["manifests"][0]
        document["manifests"].append({**row, "annotations": {"org.opencontainers.image.ref.name": OTHER}})
        path.write_text(json.dumps(document), encoding="utf-8")

    assert [(OTHER, entry.descriptor)] == [(one.name, one.descriptor) for one in store.layout.entries()]


def test_prune_frees_partial_downloads(engine: ck.Engine) -> None:
    """Also young ones, and counts them; one that somebody is at work on stays."""
    store = engine.site.images
    left, busy = (begin_blob(store, descriptor_of(data)) for data in (b"content", b"another"))
    assert left is not None
    assert busy is not None
    left.write(b"con")
    busy.write(b"ano")
    left.abandon(keep=True)

    assert 3 == ck.Image.prune(engine=engine).bytes

    assert [os.path.basename(busy.path)] == os.listdir(store.home.ingest)
    busy.abandon(keep=False)
