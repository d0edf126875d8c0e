"""Blobs on their way in: verified before they are named, resumed after a crash, written once by many."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from container_kit._spec.descriptor import Descriptor
from container_kit._spec.paths import HostPath
from container_kit._store import claims
from container_kit._store.claims import claim_work
from container_kit._store.ingest import BlobWriter, GrowingFile, begin_blob, partial_path
from container_kit._store.store import ImageStore
from container_kit.errors import DigestMismatchError, ImageError
from tests.small_images import noise
from tests.stores import descriptor_of

ROOT = Path(__file__).parents[3]
DATA = noise(3_000_000)
BLOB = descriptor_of(DATA)


def begin(store: ImageStore, descriptor: Descriptor = BLOB, *, resumable: bool = True) -> BlobWriter:
    """Begin to write a blob that is not there."""
    writer = begin_blob(store, descriptor, resumable=resumable)
    assert writer is not None
    return writer


def left_in(store: ImageStore) -> list[str]:
    """Return what is in the directory for what is not complete."""
    return sorted(os.listdir(store.home.ingest))


def run_python(program: str, *arguments: str) -> subprocess.Popen[str]:
    """Start a Python program that can use the tests' modules."""
    return subprocess.Popen(
        [sys.executable, "-c", program, *arguments], cwd=ROOT, stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True
    )


# ── one writer ───────────────────────────────────────────────────────────────────────────────────


def test_a_blob_is_there_when_it_is_committed(store: ImageStore) -> None:
    """Not before; then there is nothing more to do for it."""
    with begin(store) as writer:
        writer.write(DATA[:1000])
        writer.write(memoryview(DATA)[1000:])
        assert not store.layout.has(BLOB.digest)
        writer.commit()
        writer.commit()

    assert DATA == store.layout.read(BLOB)
    assert begin_blob(store, BLOB) is None
    assert [] == left_in(store)


def test_a_writer_goes_on_where_an_earlier_one_stopped(store: ImageStore) -> None:
    """What is there is hashed again: nothing is remembered about it."""
    with begin(store) as writer:
        writer.write(DATA[:2_000_000])
    assert [os.path.basename(partial_path(store.home.ingest, BLOB.digest))] == left_in(store)

    with begin(store) as writer:
        assert 2_000_000 == writer.offset
        writer.write(DATA[2_000_000:])
        writer.commit()

    assert DATA == store.layout.read(BLOB)


def test_a_writer_that_must_not_resume_begins_anew(store: ImageStore) -> None:
    """And one that wrote nothing, or is given up for good, leaves nothing."""
    with begin(store) as writer:
        writer.write(DATA[:1000])
    with begin(store, resumable=False) as writer:
        assert 0 == writer.offset
    assert [] == left_in(store)
    with begin(store) as writer:
        writer.write(b"x")
        writer.abandon(keep=False)

    assert [] == left_in(store)


def test_a_wrong_beginning_is_found_at_the_end_and_deleted(store: ImageStore) -> None:
    """Whatever is in a partial blob, it never gets its name."""
    with begin(store) as writer:
        writer.write(b"?" * 1000)
    with begin(store) as writer:
        assert 1000 == writer.offset
        writer.write(DATA[1000:])
        with pytest.raises(DigestMismatchError) as caught:
            writer.commit()

    assert BLOB.digest == caught.value.expected
    assert not store.layout.has(BLOB.digest)
    assert [] == left_in(store)


def test_a_partial_that_is_too_large_is_begun_anew(store: ImageStore) -> None:
    """It cannot be the beginning of the blob."""
    store.layout.prepare_for(BLOB.digest)
    Path(partial_path(store.home.ingest, BLOB.digest)).write_bytes(DATA + b"x")

    with begin(store) as writer:
        assert 0 == writer.offset
        writer.write(DATA)
        writer.commit()

    assert DATA == store.layout.read(BLOB)


def test_more_and_less_than_promised_is_refused(store: ImageStore) -> None:
    """Too much is not even written."""
    with begin(store) as writer:
        writer.write(DATA)
        with pytest.raises(DigestMismatchError, match="larger"):
            writer.write(b"x")
        assert BLOB.size == os.stat(writer.path).st_size
    with begin(store) as writer:
        writer.reset()
        writer.write(DATA[:-1])
        with pytest.raises(DigestMismatchError, match="cut short"):
            writer.commit()


def test_beginning_again_forgets_what_was_written(store: ImageStore) -> None:
    """For a server that does not resume."""
    with begin(store) as writer:
        writer.write(b"wrong" * 1000)
        writer.reset()
        assert 0 == writer.offset
        writer.write(DATA)
        writer.commit()

    assert DATA == store.layout.read(BLOB)


def test_sha512_and_empty_blobs_work(store: ImageStore) -> None:
    """Neither is common."""
    import hashlib

    from container_kit._spec.digest import parse_digest

    empty = descriptor_of(b"")
    long = Descriptor(
        media_type="x/y", digest=parse_digest(f"sha512:{hashlib.sha512(DATA).hexdigest()}"), size=len(DATA)
    )
    with begin(store, empty) as writer:
        writer.commit()
    with begin(store, long) as writer:
        writer.write(DATA)
        writer.commit()

    assert b"" == store.layout.read(empty)
    assert DATA == store.layout.read(long)


# ── several ──────────────────────────────────────────────────────────────────────────────────────


def test_a_second_thread_waits_for_the_first(store: ImageStore) -> None:
    """And then has nothing to do."""
    writer = begin(store)
    results: list[object] = []
    thread = threading.Thread(target=lambda: results.append(begin_blob(store, BLOB)))
    thread.start()
    writer.write(DATA)
    writer.commit()
    thread.join(10)

    assert [None] == results


def test_a_waiter_takes_over_when_the_writer_gives_up(store: ImageStore) -> None:
    """From where it stopped."""
    writer = begin(store)
    writer.write(DATA[:500])
    results: list[BlobWriter | None] = []
    thread = threading.Thread(target=lambda: results.append(begin_blob(store, BLOB)))
    thread.start()
    writer.abandon(keep=True)
    thread.join(10)

    (taken,) = results
    assert taken is not None
    assert 500 == taken.offset
    taken.abandon(keep=False)


def test_a_stalled_writer_is_overtaken(store: ImageStore) -> None:
    """With a file of one's own; whoever is second finds the blob there, which is fine."""
    stalled = begin(store)
    stalled.write(DATA[:1000])

    started = time.monotonic()
    other = begin_blob(store, BLOB, stall_seconds=0.3)
    assert 0.3 <= time.monotonic() - started < 8  # ten seconds unless said
    assert other is not None
    with other:
        assert 0 == other.offset
        assert stalled.path != other.path
        other.write(DATA)
        other.commit()
    stalled.write(DATA[1000:])
    stalled.commit()

    assert DATA == store.layout.read(BLOB)
    assert [] == left_in(store)


def test_a_writer_that_makes_progress_is_waited_for(store: ImageStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long it takes in all: here each pause of who waits lasts a second, in which something comes."""
    writer = begin(store)
    seconds = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: seconds[0])

    def pause(_: float) -> None:
        seconds[0] += 1
        if writer.offset < len(DATA):
            writer.write(DATA[writer.offset : writer.offset + 300_000])
        else:
            writer.commit()

    assert (None, True) == (begin_blob(store, BLOB, stall_seconds=5, pause=pause), seconds[0] > 10)


WRITE = """
import sys
from pathlib import Path
from tests.stores import open_store, descriptor_of
from tests.small_images import noise
from container_kit._store.ingest import begin_blob
store = open_store(Path(sys.argv[1]))
data = noise(3_000_000)
print("ready", flush=True)
sys.stdin.readline()
writer = begin_blob(store, descriptor_of(data))
written = 0
if writer is not None:
    with writer:
        for start in range(writer.offset, len(data), 10_000):
            writer.write(data[start:start + 10_000])
            written += 10_000
            if start == 1_500_000 and "stop" in sys.argv:
                print("half", flush=True)
                sys.stdin.readline()
        writer.commit()
print(written, flush=True)
"""


def test_many_processes_write_a_blob_once(tmp_path: Path, store: ImageStore) -> None:
    """All of them have it in the end."""
    processes = [run_python(WRITE, str(tmp_path)) for _ in range(8)]
    for process in processes:
        assert process.stdout is not None
        assert "ready\n" == process.stdout.readline()
    written = [int(process.communicate("\n", timeout=60)[0]) for process in processes]

    assert [0] * 7 + [len(DATA)] == sorted(written)
    assert DATA == store.layout.read(BLOB)


def test_a_killed_writer_leaves_nothing_visible_and_its_work_goes_on(tmp_path: Path, store: ImageStore) -> None:
    """The kernel releases its lock."""
    process = run_python(WRITE, str(tmp_path), "stop")
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("\n")
    process.stdin.flush()
    assert ["ready\n", "half\n"] == [process.stdout.readline() for _ in range(2)]
    process.send_signal(signal.SIGKILL)
    process.communicate()

    assert not store.layout.has(BLOB.digest)
    with begin(store) as writer:
        assert 1_510_000 == writer.offset
        writer.write(DATA[writer.offset :])
        writer.commit()
    assert DATA == store.layout.read(BLOB)


def test_a_claim_is_given_once_and_again_after_its_release(tmp_path: Path) -> None:
    """The file goes with the work; whoever waited on the old file looks again."""
    path = HostPath(f"{tmp_path}/work")
    for _ in range(2):
        claim = claim_work(path, lambda: False)
        assert claim is not None
        assert not claim.is_private
        private = claim_work(path, lambda: False, stall_seconds=0.05)
        assert private is not None
        assert private.is_private
        private.release(remove=True)
        claim.release(remove=True)
        claim.release(remove=True)
    assert claim_work(path, lambda: True) is None

    assert [] == os.listdir(tmp_path)


def test_a_lock_on_a_file_that_went_away_is_not_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its holder took it away, and somebody else made another, between it being opened and being locked."""
    path = HostPath(f"{tmp_path}/work")
    first = claim_work(path, lambda: False)
    assert first is not None
    original = claims._try_lock

    def lock_late(fd: int) -> bool:
        if first.fd >= 0:
            first.release(remove=True)
            Path(path).touch()
        return original(fd)

    monkeypatch.setattr(claims, "_try_lock", lock_late)
    second = claim_work(path, lambda: False)

    assert second is not None
    assert os.stat(path).st_ino == os.fstat(second.fd).st_ino
    second.release(remove=True)


# ── reading while it grows ───────────────────────────────────────────────────────────────────────


def test_a_growing_blob_is_read_to_its_end(store: ImageStore) -> None:
    """Reading ends when all of it was written, whether or not it was committed."""
    with begin(store) as writer, GrowingFile(writer) as growing:
        writer.write(DATA[:1000])
        assert DATA[:600] == growing.read(600)
        assert DATA[600:1000] == growing.read(600)
        found: list[bytes] = []
        thread = threading.Thread(target=lambda: found.extend(iter(lambda: growing.read(1 << 16), b"")))
        thread.start()
        for start in range(1000, len(DATA), 100_000):
            writer.write(DATA[start : start + 100_000])
        thread.join(10)
        writer.commit()
        assert DATA[1000:] == b"".join(found)
        assert b"" == growing.read(1)


def test_a_growing_blob_can_be_read_after_it_was_begun_anew(store: ImageStore) -> None:
    """The reader waits until there is more than it has."""
    with begin(store) as writer, GrowingFile(writer) as growing:
        writer.write(DATA[:1000])
        assert DATA[:1000] == growing.read(5000)
        writer.reset()
        writer.write(DATA)
        assert DATA[1000:] == b"".join(iter(lambda: growing.read(1 << 20), b""))


@pytest.mark.parametrize("how", ["abandon", "close"])
def test_who_waits_for_more_learns_that_there_is_none(store: ImageStore, how: str) -> None:
    """When the writer gives up, or the reader is closed from another thread."""
    errors: list[BaseException] = []
    with begin(store) as writer, GrowingFile(writer) as growing:
        writer.write(DATA[:10])
        growing.read(10)

        def read() -> None:
            try:
                growing.read(10)
            except ImageError as err:
                errors.append(err)

        thread = threading.Thread(target=read)
        thread.start()
        if how == "abandon":
            writer.abandon(keep=True)
        else:
            growing.close()
            growing.close()
        thread.join(10)
        assert not thread.is_alive()

    assert 1 == len(errors)


def test_another_thread_may_give_a_blob_up(store: ImageStore) -> None:
    """The writer learns it with its next piece; what was written is kept."""
    with begin(store) as writer:
        writer.write(DATA[:10])
        thread = threading.Thread(target=lambda: writer.abandon(keep=True))
        thread.start()
        thread.join(10)
        with pytest.raises(ImageError, match="given up"):
            writer.write(DATA[10:20])

    with begin(store) as writer:
        assert 10 == writer.offset
