"""Layers are complete or not there: after kills, power cuts and interrupts, and once for all who want them."""

from __future__ import annotations

import errno
import functools
import io
import os
import signal
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

from container_kit._files.worker import FileWorker
from container_kit._linux import processes
from container_kit._state import content_records
from container_kit._store import layers as under_test
from container_kit._store.claims import claim_work
from container_kit._store.layers import Layers
from container_kit._store.store import ImageStore
from container_kit._store.unpack import Cancellation
from container_kit.errors import HostError, StorageFullError
from tests.conftest import LedgerWatch
from tests.e2e.patience import eventually
from tests.small_images import make_tar, noise
from tests.stores import (
    close_store,
    ensure,
    in_layers,
    open_store,
    put_layer,
    read_files,
)

ROOT = Path(__file__).parents[2]
FILES = {"etc/": b"", "etc/passwd": b"root:x:0:0::/:/bin/sh\n", "big": noise(3_000_000), "empty": b""}


@pytest.fixture
def store(tmp_path: Path, ledger: LedgerWatch | None) -> Iterator[ImageStore]:
    """Give an empty store; what it is at work with is gone at the end."""
    store = open_store(tmp_path)
    if ledger is not None:
        ledger.watch(Path(store.home.ingest))

    yield store

    close_store(store)


# ── crashes, power cuts, and many at once ────────────────────────────────────────────────────────


def test_what_has_no_row_is_not_complete(store: ImageStore) -> None:
    """A directory under the right name, of whatever origin, is replaced."""
    layer = put_layer(store, make_tar(FILES))
    path = Path(store.home.layer_dir(layer.diff_id))
    path.mkdir()
    (path / "half").write_bytes(b"")
    assert store.layers.find(layer.diff_id) is None

    assert "half" not in os.listdir(ensure(store, layer))
    assert [path.name] == in_layers(store)


def test_after_a_power_cut_a_layer_counts_only_if_it_was_on_the_disk(
    store: ImageStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unpacking does not wait for the disk; so in another boot it is unpacked again, unless it was written since."""
    lost, kept = put_layer(store, make_tar({"lost": b"1"})), put_layer(store, make_tar({"kept": b"2"}))
    paths = [ensure(store, layer) for layer in (lost, kept)]
    record = content_records.layers(store.database)[kept.diff_id]
    content_records.put_layer(store.database, attrs.evolve(record, unpacked_at=record.unpacked_at - 61))
    content_records.put_layer(
        store.database, attrs.evolve(content_records.layers(store.database)[lost.diff_id], unpacked_at=2e9 * 2)
    )
    assert str(paths[1]) == store.layers.find(kept.diff_id)  # which finds that it is on the disk by now
    assert content_records.layers(store.database)[kept.diff_id].durable
    (paths[0] / "lost").write_bytes(b"")

    monkeypatch.setattr(processes, "boot_id", lambda: "f" * 32)
    after = Layers(store)

    assert str(paths[1]) == after.find(kept.diff_id)
    assert after.find(lost.diff_id) is None
    assert b"1" == Path(after.ensure(lost.diff_id, lost.descriptor), "lost").read_bytes()


UNPACK = """
import sys
from pathlib import Path
from tests.stores import open_store, make_layer
from tests.small_images import make_tar, noise
store = open_store(Path(sys.argv[1]))
layer = make_layer(make_tar({f"{n}": noise(1000, n) for n in range(2000)}), "gzip")
events = []
print("ready", flush=True)
sys.stdin.readline()
source = open(store.layout.blob_path(layer.descriptor.digest), "rb")
def read(size):
    if source.tell() > 1_000_000 and "stop" in sys.argv:
        sys.stdin.readline()
    return source.read(size)
read = read if "stop" in sys.argv else None
path = store.layers.ensure(layer.diff_id, layer.descriptor, read=read, progress=events.append)
print(len(events) > 0, flush=True)
"""
MANY = {f"{n}": noise(1000, n) for n in range(2000)}


def start_unpacking(place: Path, *words: str) -> subprocess.Popen[str]:
    """Start a process that unpacks a layer when it is told to; with `stop` only half of it."""
    process = subprocess.Popen(
        [sys.executable, "-c", UNPACK, str(place), *words],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert "ready\n" == process.stdout.readline()
    return process


def test_many_processes_unpack_a_layer_once(tmp_path: Path, store: ImageStore) -> None:
    """The others wait, and find it."""
    layer = put_layer(store, make_tar(MANY))
    started = [start_unpacking(tmp_path) for _ in range(6)]
    for process in started:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    answers = [process.communicate(timeout=60)[0] for process in started]

    assert ["False\n"] * 5 + ["True\n"] == sorted(answers)
    assert [Path(store.home.layer_dir(layer.diff_id)).name] == in_layers(store)
    assert MANY == read_files(ensure(store, layer))


def test_a_killed_unpacker_leaves_nothing_visible(tmp_path: Path, store: ImageStore) -> None:
    """In the middle; the next one does the work, and the sweep removes the rest."""
    from container_kit._store.collect import sweep

    layer = put_layer(store, make_tar(MANY))
    process = start_unpacking(tmp_path, "stop")
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()
    eventually(lambda: any(os.listdir(f"{store.home.layers}/{name}") for name in _unfinished(store)), "the first files")
    process.send_signal(signal.SIGKILL)
    process.communicate()

    assert store.layers.find(layer.diff_id) is None
    assert MANY == read_files(ensure(store, layer))
    assert 1 == len(_unfinished(store))
    sweep(store)
    assert [] == _unfinished(store)


def _unfinished(store: ImageStore) -> list[str]:
    return [name for name in os.listdir(store.home.layers) if name.startswith(".")]


def test_a_full_disk_is_a_typed_error(store: ImageStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever the kernel says it; nothing is left."""
    layer = put_layer(store, make_tar(FILES))

    def full(*_: object, **__: object) -> object:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(under_test, "unpack_layer", full)
    with pytest.raises(StorageFullError):
        ensure(store, layer)

    assert [] == in_layers(store)


def test_an_interrupt_leaves_nothing(store: ImageStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Control-C in the middle: threads and the worker are gone, which the ledger sees."""
    layer = put_layer(store, make_tar(FILES))
    original = FileWorker.unpack

    def interrupted(worker: FileWorker, *arguments: object) -> object:
        original(worker, *arguments)  # type: ignore[arg-type]  # handed on
        raise KeyboardInterrupt

    monkeypatch.setattr(FileWorker, "unpack", interrupted)
    with pytest.raises(KeyboardInterrupt):
        ensure(store, layer)

    assert [] == in_layers(store)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("container_kit")]


def test_nothing_of_a_layer_is_kept_in_memory(store: ImageStore) -> None:
    """A layer far larger than all queues together: what it costs is bounded."""
    import tracemalloc

    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        info = tarfile.TarInfo("zeros")
        info.size = 96 << 20
        archive.addfile(info, io.BytesIO(bytes(info.size)))
    layer = put_layer(store, stream.getvalue())
    del stream

    tracemalloc.start()
    try:
        ensure(store, layer)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < 16 << 20


def test_a_stalled_unpacker_is_overtaken(store: ImageStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its download may never go on. Whoever finishes second finds the layer there, and leaves nothing of its own."""
    layer = put_layer(store, make_tar(FILES))
    monkeypatch.setattr(under_test, "claim_work", functools.partial(claim_work, stall_seconds=0.3))
    goes_on, began, source = threading.Event(), threading.Event(), io.BytesIO(layer.blob)

    def read(size: int) -> bytes:
        began.set()
        goes_on.wait(30)
        return source.read(size)

    results: list[str] = []
    thread = threading.Thread(
        target=lambda: results.append(store.layers.ensure(layer.diff_id, layer.descriptor, read=read))
    )
    thread.start()
    assert began.wait(20)

    path = ensure(store, layer)
    before = path.stat().st_ino
    goes_on.set()
    thread.join(20)

    assert [str(path)] == results
    assert before == path.stat().st_ino
    assert [path.name] == in_layers(store)


def test_cancelling_ends_what_is_being_unpacked(store: ImageStore) -> None:
    """In the middle, with more to come than fits between the two processes; threads and the worker are gone."""
    layer = put_layer(store, make_tar({"big": noise(30_000_000)}), "none")
    cancellation, source = Cancellation(), io.BytesIO(layer.blob)
    other = threading.Thread(target=cancellation.cancel)

    def read(size: int) -> bytes:
        if source.tell() > 5_000_000 and other.ident is None:
            other.start()
        return source.read(size)

    with pytest.raises(HostError):
        store.layers.ensure(layer.diff_id, layer.descriptor, read=read, cancellation=cancellation)
    other.join(10)

    assert [] == in_layers(store)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("container_kit")]


@pytest.mark.parametrize("possible", [0, 1])
@pytest.mark.parametrize("compression", ["none", "gzip"])
def test_no_room_for_a_thread_is_a_typed_error(
    store: ImageStore, monkeypatch: pytest.MonkeyPatch, compression: str, possible: int
) -> None:
    """Whichever it is; those that run end, and it works again afterwards."""
    layer = put_layer(store, make_tar(FILES), compression)
    original, left = threading.Thread.start, [0] * possible

    def start(thread: threading.Thread) -> None:
        if not left:
            raise RuntimeError("can't start new thread")
        left.pop()
        original(thread)

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        if compression == "none" and possible == 1:
            ensure(store, layer)
            return
        with pytest.raises(HostError) as caught:
            ensure(store, layer)

    assert errno.EAGAIN == caught.value.errno
    assert [] == in_layers(store)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("container_kit")]
    assert ensure(store, layer).is_dir()


SMALL_DISK = """
import sys, os
from pathlib import Path
from tests.stores import *
from tests.small_images import *
from container_kit.errors import StorageFullError
from container_kit._store.collect import collect
from container_kit._store.ingest import begin_blob

store = open_store(Path(sys.argv[1]))
small = put_layer(store, make_tar({"small": b"1"}))
ensure(store, small)
layer = put_layer(store, make_tar({f"{n}": bytes(100_000) for n in range(100)}), "zstd")
try:
    ensure(store, layer)
except StorageFullError as error:
    print("unpack", error.errno)
data = noise(6_000_000)
try:
    with begin_blob(store, descriptor_of(data)) as writer:
        for start in range(0, len(data), 10_000):
            writer.write(data[start:start + 10_000])
except StorageFullError as error:
    print("blob", error.errno)
print(len(in_layers(store)), os.listdir(store.home.ingest))
print(store.layers.find(small.diff_id) is not None, collect(store).layers)
"""


@pytest.mark.needs_root
def test_a_full_disk_takes_nothing_that_was_there(tmp_path: Path) -> None:
    """A real one: typed errors, the space comes back, and collecting works."""
    # A mount namespace of its own: the small file system vanishes with the process.
    mount = 'mount -t tmpfs -o size=4m,mode=700 none "$1" && exec "$2" -c "$3" "$1"'
    command = ["unshare", "--mount", "sh", "-c", mount, "sh", str(tmp_path), sys.executable, SMALL_DISK]

    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)

    assert ["unpack 28", "blob 28", "1 []", "True 1"] == done.stdout.splitlines(), done.stderr
