"""Layers whose bytes are not what they should be: refused in bounded time and memory, and nothing is left."""

from __future__ import annotations

import os
import tarfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

from container_kit._state import content_records
from container_kit._store import layers as under_test
from container_kit._store.ingest import GrowingFile, begin_blob
from container_kit._store.store import ImageStore
from container_kit.errors import (
    DigestMismatchError,
    ImageError,
    UnsafeArchiveError,
    UnsupportedMediaTypeError,
)
from tests.conftest import LedgerWatch
from tests.small_images import make_tar, noise
from tests.stores import (
    SmallLayer,
    close_store,
    descriptor_of,
    ensure,
    in_layers,
    make_layer,
    open_store,
    put_blob,
    put_layer,
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


# ── what it must be ──────────────────────────────────────────────────────────────────────────────


def spoil(layer: SmallLayer, how: str) -> bytes:
    """Return another blob."""
    blob, middle = layer.blob, len(layer.blob) // 2
    match how:
        case "flip":
            return blob[:middle] + bytes([blob[middle] ^ 1]) + blob[middle + 1 :]
        case "prepend":
            return b"\0" + blob
        case "append":
            return blob + b"\0"
        case "truncate":
            return blob[:-1]
        case "half":
            return blob[:middle]
        case "empty":
            return b""
        case "swap":
            return make_layer(make_tar({"other": noise(100_000)}), "gzip").blob
        case _:
            return make_layer(layer.tar + b"\0" * 512, "gzip").blob


@pytest.mark.parametrize("how", ["flip", "prepend", "append", "truncate", "half", "empty", "swap", "recompress"])
@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_a_blob_with_other_bytes_leaves_nothing(store: ImageStore, how: str, compression: str) -> None:
    """Whatever was done to it in the store, behind our back."""
    layer = put_layer(store, make_tar(FILES), compression)
    path = store.layout.blob_path(layer.descriptor.digest)
    os.chmod(path, 0o644)
    Path(path).write_bytes(spoil(layer, how))

    with pytest.raises((DigestMismatchError, UnsafeArchiveError)):
        ensure(store, layer)

    assert [] == in_layers(store)
    assert store.layers.find(layer.diff_id) is None
    assert {} == content_records.layers(store.database)


@pytest.mark.parametrize("name", ["../x", "a/../../x"])
def test_an_unsafe_archive_leaves_nothing(store: ImageStore, name: str) -> None:
    """The entry is named."""
    layer = put_layer(store, make_tar({"fine": b"1", name: b"2"}))

    with pytest.raises(UnsafeArchiveError) as caught:
        ensure(store, layer)

    assert name == caught.value.entry
    assert [] == in_layers(store)


def test_an_entry_bomb_ends(store: ImageStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """More files, or more bytes, than a layer may have; disk and memory are as before."""
    from container_kit._store import unpack
    from container_kit._store.compression import Limits

    original = unpack.unpack_layer
    for limits in (Limits(entries=100), Limits(bytes=100_000)):

        def limited(*arguments: object, limits: Limits = limits, **options: object) -> object:
            return original(*arguments, **options, limits=limits)  # type: ignore[arg-type]  # handed on

        monkeypatch.setattr(under_test, "unpack_layer", limited)
        layer = put_layer(store, make_tar({f"{n}": b"x" * 1000 for n in range(300)}))
        with pytest.raises(UnsafeArchiveError):
            ensure(store, layer)

        assert [] == in_layers(store)


def test_a_decompression_bomb_ends_soon_and_leaves_nothing(store: ImageStore) -> None:
    """A terabyte of zeros in a blob of some kilobytes: the ratio stops it after a gigabyte, in bounded time."""
    import zstandard

    # RLE blocks of 128 KiB, 4 bytes each, in a hand-made frame; no tar header, so the archive ends at once.
    info = tarfile.TarInfo("zeros")
    info.size = 1 << 36
    head = info.tobuf(tarfile.GNU_FORMAT)
    beginning = zstandard.ZstdCompressor().compress(head)
    frame = b"\x28\xb5\x2f\xfd\x00\x38" + ((1 << 17) << 3 | 1 << 1).to_bytes(3, "little") + b"\0"
    blob = beginning + frame + (((1 << 17) << 3 | 1 << 1).to_bytes(3, "little") + b"\0") * 20_000
    layer = attrs.evolve(make_layer(head, "zstd"), blob=blob)
    layer = attrs.evolve(layer, descriptor=descriptor_of(blob, layer.descriptor.media_type))
    put_blob(store, blob)

    started = time.monotonic()
    with pytest.raises(UnsafeArchiveError, match="times"):
        ensure(store, layer)

    assert time.monotonic() - started < 30
    assert [] == in_layers(store)


def test_a_missing_blob_and_an_unknown_type_say_so(store: ImageStore) -> None:
    """Nothing is left of the attempts."""
    layer = make_layer(make_tar(FILES))
    with pytest.raises(ImageError, match="not in the store"):
        ensure(store, layer)
    strange = attrs.evolve(layer, descriptor=attrs.evolve(layer.descriptor, media_type="application/x-lz4"))
    with pytest.raises(UnsupportedMediaTypeError):
        ensure(store, strange)

    assert [] == in_layers(store)


# ── while it is downloaded ───────────────────────────────────────────────────────────────────────


def test_unpacking_overlaps_with_downloading(store: ImageStore) -> None:
    """The layer is ready before the blob has its name."""
    layer = make_layer(make_tar(FILES))
    writer = begin_blob(store, layer.descriptor)
    assert writer is not None
    results: list[str] = []
    with writer, GrowingFile(writer) as growing:

        def unpack() -> None:
            results.append(store.layers.ensure(layer.diff_id, layer.descriptor, read=growing.read, close=growing.close))

        thread = threading.Thread(target=unpack)
        thread.start()
        for start in range(0, len(layer.blob), 100_000):
            writer.write(layer.blob[start : start + 100_000])
        thread.join(20)
        assert not store.layout.has(layer.descriptor.digest)
        writer.commit()

    assert [store.layers.find(layer.diff_id)] == results


@pytest.mark.parametrize("how", ["abandoned", "unsafe"])
def test_a_failure_on_either_side_ends_the_other(store: ImageStore, how: str) -> None:
    """A download that is given up, an archive that is refused while the rest of it is still to come."""
    tar = make_tar({"../x" if how == "unsafe" else "x": b"", "rest": noise(6_000_000)})
    layer = make_layer(tar, "none")
    writer = begin_blob(store, layer.descriptor)
    assert writer is not None
    errors: list[BaseException] = []
    with writer, GrowingFile(writer) as growing:

        def unpack() -> None:
            try:
                store.layers.ensure(layer.diff_id, layer.descriptor, read=growing.read, close=growing.close)
            except ImageError as err:
                errors.append(err)

        thread = threading.Thread(target=unpack)
        thread.start()
        writer.write(layer.blob[:5_000_000])
        if how == "abandoned":
            writer.abandon(keep=False)
        thread.join(20)
        assert not thread.is_alive()
        writer.abandon(keep=False)

    assert ["UnsafeArchiveError" if how == "unsafe" else "ImageError"] == [type(err).__name__ for err in errors]
    assert [] == in_layers(store)
