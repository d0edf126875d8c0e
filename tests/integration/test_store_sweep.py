"""What dead processes left is swept: unfinished work at once, partial blobs after a week."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

from container_kit._linux import processes
from container_kit._store.collect import Collected, collect, sweep
from container_kit._store.ingest import begin_blob, partial_path
from container_kit._store.scratch import is_abandoned, scratch_path
from container_kit._store.store import ImageStore
from tests.conftest import LedgerWatch
from tests.small_images import make_tar
from tests.stores import close_store, descriptor_of, make_layer, open_store, put_blob

ROOT = Path(__file__).parents[2]


@pytest.fixture
def store(tmp_path: Path, ledger: LedgerWatch | None) -> Iterator[ImageStore]:
    """Give an empty store; what it is at work with is gone at the end."""
    store = open_store(tmp_path)
    if ledger is not None:
        ledger.watch(Path(store.home.ingest))

    yield store

    close_store(store)


def layers(store: ImageStore) -> set[str]:
    """Return the names in the directory of layers."""
    return set(os.listdir(store.home.layers))


def age(path: str, seconds: float) -> None:
    """Make a file look as if it had not been changed for a time."""
    moment = time.time() - seconds
    os.utime(path, (moment, moment))


def test_what_dead_processes_left_is_swept(store: ImageStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trees with whatever owners, unfinished blobs under private names; of living ones nothing."""
    layer = make_layer(make_tar({"a/": b"", "a/b": b"1"}))
    put_blob(store, layer.blob)
    path = store.layers.ensure(layer.diff_id, layer.descriptor)
    own = scratch_path(store.home.layers)
    os.mkdir(own)
    gone = attrs.evolve(processes.own_process_id(), start_time=1)
    with monkeypatch.context() as patch:
        patch.setattr(processes, "own_process_id", lambda: gone)
        os.rename(path, scratch_path(store.home.layers, is_trash=True))
        left = scratch_path(store.home.ingest)
        Path(left).write_bytes(b"half")
    assert is_abandoned(os.path.basename(left))

    sweep(store)

    assert {os.path.basename(own)} == layers(store)
    assert [] == os.listdir(store.home.ingest)


def test_partial_blobs_are_kept_for_a_week(store: ImageStore) -> None:
    """Unless somebody writes them."""
    descriptor = descriptor_of(b"content")
    path = partial_path(store.home.ingest, descriptor.digest)
    writer = begin_blob(store, descriptor)
    assert writer is not None
    writer.write(b"con")
    age(path, 8 * 24 * 3600)
    sweep(store)
    writer.abandon(keep=True)
    age(path, 6 * 24 * 3600)
    sweep(store)
    assert os.path.exists(path)
    age(path, 8 * 24 * 3600)

    sweep(store)

    assert [] == os.listdir(store.home.ingest)


def test_sweeping_a_new_engine_does_nothing(store: ImageStore) -> None:
    """It is asked each time an engine opens."""
    assert Collected() == collect(store)
    sweep(store)

    assert [] == os.listdir(store.home.images)
