"""Making layers: from whatever a tar comes from, stored once, and gone unless a lease or an image holds them."""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import container_kit as ck
from container_kit._images import layer_stream
from container_kit._images.make import add_layer, compose, import_tar
from container_kit._spec.oci_config import HistoryEntry, new_oci_config
from container_kit._spec.platform import host_platform
from container_kit._spec.progress import Progress
from container_kit._store.collect import collect
from container_kit._store.store import ImageStore
from tests.small_images import digest_of, make_tar, noise

ROOT = make_tar({"etc/": b"", "etc/os-release": b"ID=small\n", "bin/": b"", "bin/tool": noise(30_000)})


@pytest.fixture
def store(engine: ck.Engine) -> Iterator[ImageStore]:
    """Give an empty store; no scratch may be left in it."""
    store = engine.site.images

    yield store

    assert [] == os.listdir(store.home.ingest)
    assert [threading.main_thread()] == threading.enumerate()


@pytest.mark.parametrize("compression", ["none", "gzip", "zstd"])
def test_a_layer_is_stored_once_whatever_its_source(store: ImageStore, compression: layer_stream.Compression) -> None:
    """A descriptor, an object that reads, a function that writes."""
    incoming, outgoing = os.pipe()
    os.write(outgoing, ROOT[:1000])
    os.close(outgoing)

    def write(fd: int) -> None:
        os.write(fd, ROOT[:1000])

    with store.lease() as lease:
        found = [
            add_layer(store, source, compression=compression, lease=lease)
            for source in (incoming, io.BytesIO(ROOT[:1000]), write)
        ]
    os.close(incoming)

    layer, diff_id = found[0]
    assert [found[0]] * 3 == found
    assert digest_of(ROOT[:1000]) == diff_id
    assert layer.size == store.layout.size(layer.digest)
    blob = Path(store.layout.blob_path(layer.digest))
    assert layer.digest == digest_of(blob.read_bytes())
    assert [blob.name] == os.listdir(blob.parent)


def test_what_is_being_made_is_not_collected(store: ImageStore) -> None:
    """As long as a lease holds it; afterwards, without a name, it is."""
    with store.lease() as lease:
        layer, diff_id = add_layer(store, io.BytesIO(ROOT), lease=lease)
        collect(store)
        store.layers.ensure(diff_id, layer)
        collect(store)
        config = new_oci_config(host_platform("x86_64"), layers=[(diff_id, HistoryEntry())])
        descriptor = compose(store, config, layers=[layer], lease=lease)
        collect(store)

        assert store.layout.has(descriptor.digest)
        assert store.layout.has(layer.digest)
        assert store.layers.find(diff_id) is not None
    collect(store)
    assert [] == list(Path(store.home.images).glob("blobs/*/*"))
    assert store.layers.find(diff_id) is None


class DiskFull(Exception):  # noqa: N818
    """Raised in tests."""


def test_a_source_that_fails_leaves_nothing(store: ImageStore) -> None:
    """What it has written until then is no layer."""

    def write(fd: int) -> None:
        os.write(fd, ROOT)
        raise DiskFull

    with pytest.raises(DiskFull):
        add_layer(store, write)

    assert not os.path.exists(f"{store.home.images}/blobs/sha256") or [] == os.listdir(
        f"{store.home.images}/blobs/sha256"
    )


def test_a_target_that_fails_ends_the_source(store: ImageStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which is still writing, and gets EPIPE."""
    ended: list[BaseException] = []

    def write(fd: int) -> None:
        try:
            while True:
                os.write(fd, bytes(1 << 20))
        except OSError as error:
            ended.append(error)
            raise

    def refuse(*_: object) -> None:
        raise DiskFull

    monkeypatch.setattr(layer_stream, "write_all", refuse)

    with pytest.raises(DiskFull):
        add_layer(store, write, compression="none")

    assert [BrokenPipeError] == [type(error) for error in ended]


def test_progress_is_told_while_it_goes(store: ImageStore) -> None:
    """In the caller's thread."""
    events: list[tuple[Progress, int]] = []

    import_tar(store, io.BytesIO(ROOT), None, progress=lambda event: events.append((event, threading.get_ident())))

    packed = [event for event, _ in events if event.action == "pack"]
    assert (len(ROOT), True) == (packed[-1].current, packed[-1].finished)
    assert {threading.get_ident()} == {thread for event, thread in events if event.action == "pack"}
