"""Blobs on their way into the store: written piece by piece, verified, then renamed to their place.

A partial blob is a file in `ingest/` named by the digest. It outlives its writer: the next one reads
it again, to hash it, and goes on where it ends. One process writes a blob and the others wait for
it (see claims). `GrowingFile` reads a blob while it is written, so that unpacking overlaps with
downloading.
"""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Self

from container_kit._spec.descriptor import Descriptor
from container_kit._spec.digest import Digest, algorithm_of, short_digest
from container_kit._spec.paths import HostPath
from container_kit._store.claims import STALL_SECONDS, Claim, claim_work
from container_kit._store.durable import CONTENT_MODE, storage_errors, sync_directory, write_all
from container_kit._store.layout import Layout
from container_kit.errors import DigestMismatchError, ImageError, StorageFullError

if TYPE_CHECKING:
    from container_kit._store.store import ImageStore

PARTIAL = ".partial"
_PIECE = 1 << 20
_TOUCH_EVERY = 64


def begin_blob(
    store: ImageStore,
    descriptor: Descriptor,
    *,
    resumable: bool = True,
    stall_seconds: float = STALL_SECONDS,
    pause: Callable[[float], object] = time.sleep,
) -> BlobWriter | None:
    """Begin to write a blob, or wait for another process or thread that does.

    Args:
        store: where it goes.
        descriptor: its digest and size.
        resumable: go on with what an earlier writer left.
        stall_seconds: how long somebody else may make no progress before the work is done twice.
        pause: waits so many seconds for somebody else; what it raises ends the waiting.

    Returns:
        None when the blob is there by now, else a writer; use it in a `with` block.

    Raises:
        StorageFullError: there is no room.
        HostError: the directory cannot be written.
    """
    digest = descriptor.digest
    layout = store.layout
    layout.prepare_for(digest)
    with storage_errors(store.home.ingest, f"cannot write the blob {digest}"):
        path = partial_path(store.home.ingest, digest)
        claim = claim_work(path, lambda: layout.has(digest), stall_seconds=stall_seconds, pause=pause)
        return None if claim is None else BlobWriter(layout, descriptor, claim, resumable=resumable)


def partial_path(ingest: HostPath, digest: Digest) -> HostPath:
    """Return where the partial blob of a digest is."""
    return HostPath(f"{ingest}/{digest.replace(':', '-')}{PARTIAL}")


class BlobWriter:
    """A blob that is being written by one thread; a `Sink` for downloads.

    Leaving its `with` block without `commit` keeps what was written for a later try.
    """

    def __init__(self, layout: Layout, descriptor: Descriptor, claim: Claim, *, resumable: bool) -> None:
        self.descriptor = descriptor
        self.path = claim.path
        self.offset = 0
        self._layout = layout
        self._claim = claim
        self._hash = hashlib.new(algorithm_of(descriptor.digest))
        self._state = "writing"
        self._is_worth_keeping = True
        self._using = threading.Lock()  # the descriptor: another thread may abandon
        self._changed = threading.Condition()  # offset and state
        try:
            if resumable:
                self._take_over()
            else:
                os.ftruncate(claim.fd, 0)
        except BaseException:
            claim.release(remove=False)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.abandon(keep=True)

    def write(self, chunk: bytes | memoryview) -> None:
        """Append some bytes.

        Raises:
            DigestMismatchError: there are more than the descriptor promised.
            StorageFullError: there is no room.
            ImageError: another thread gave the blob up.
        """
        if self.offset + len(chunk) > self.descriptor.size:
            raise self._mismatch("the content is larger than promised", f"{self.descriptor.size} bytes", "more")
        with self._writing() as fd:
            write_all(fd, chunk)
        self._hash.update(chunk)
        with self._changed:
            self.offset += len(chunk)
            self._changed.notify_all()

    def reset(self) -> None:
        """Begin again at offset 0: what is there turned out not to be the beginning of the blob."""
        with self._writing() as fd:
            os.ftruncate(fd, 0)
            os.lseek(fd, 0, os.SEEK_SET)
        self._hash = hashlib.new(algorithm_of(self.descriptor.digest))
        with self._changed:
            self.offset = 0

    def commit(self) -> None:
        """Verify the blob and give it its name, durably. Idempotent.

        Raises:
            DigestMismatchError: it is not what the descriptor promised; what was written is deleted.
            StorageFullError: there is no room.
        """
        if self._state == "committed":
            return
        digest = self.descriptor.digest
        if self.offset != self.descriptor.size:
            raise self._mismatch("the content is cut short", f"{self.descriptor.size} bytes", f"{self.offset}")
        actual = f"{algorithm_of(digest)}:{self._hash.hexdigest()}"
        if actual != digest:
            error = self._mismatch("the content does not match its digest", digest, actual)
            self.abandon(keep=False)
            raise error
        with self._writing() as fd:
            os.fsync(fd)
            os.rename(self.path, self._layout.blob_path(digest))
            os.fchmod(fd, CONTENT_MODE)  # not before: those who wait open it to write
            sync_directory(os.path.dirname(self._layout.blob_path(digest)))
            self._finish("committed", remove=False)

    def abandon(self, *, keep: bool) -> None:
        """Stop writing; with `keep` a later try goes on from here. From any thread; idempotent.

        Nothing happens after `commit`. Where there was no room, nothing is kept.
        """
        with self._using:
            if self._state == "writing":
                keep = keep and self._is_worth_keeping and not self._claim.is_private and self.offset > 0
                self._finish("abandoned", remove=not keep)

    def _finish(self, state: str, *, remove: bool) -> None:
        with self._changed:
            self._state = state
            self._changed.notify_all()
        self._claim.release(remove=remove)

    def _take_over(self) -> None:
        """Hash what an earlier writer left."""
        pieces = 0
        while piece := os.pread(self._claim.fd, _PIECE, self.offset):
            self._hash.update(piece)
            self.offset += len(piece)
            pieces += 1
            if pieces % _TOUCH_EVERY == 0:
                self._claim.touch()
        if self.offset > self.descriptor.size:
            self.reset()
        os.lseek(self._claim.fd, self.offset, os.SEEK_SET)

    def _mismatch(self, reason: str, expected: str, actual: str) -> DigestMismatchError:
        image = short_digest(self.descriptor.digest)
        return DigestMismatchError(image=image, reason=reason, expected=expected, actual=actual)

    @contextmanager
    def _writing(self) -> Generator[int, None, None]:
        with self._using:
            if self._state != "writing":
                raise self._given_up()
            try:
                with storage_errors(self.path, f"cannot write the blob {self.descriptor.digest}"):
                    yield self._claim.fd
            except StorageFullError:
                self._is_worth_keeping = False  # others need the room
                raise

    def _given_up(self) -> ImageError:
        return ImageError(image=short_digest(self.descriptor.digest), reason="its download was given up")

    # ── for GrowingFile ──────────────────────────────────────────────────────────────────────────

    def open_copy(self) -> int:
        """Return another descriptor of the file, which the caller closes."""
        return os.dup(self._claim.fd)

    def wait_beyond(self, position: int, is_closed: threading.Event) -> int:
        """Wait until there is something after `position` or nothing more to come; return the present end."""
        with self._changed:
            while self.offset <= position < self.descriptor.size:
                if is_closed.is_set() or self._state == "abandoned":
                    raise self._given_up()
                self._changed.wait()
            return self.offset

    def wake(self) -> None:
        """Let those who wait look again."""
        with self._changed:
            self._changed.notify_all()


class GrowingFile:
    """Reads a blob from its beginning while a `BlobWriter` of this process writes it.

    What is read is not verified yet: whoever uses it verifies what it makes of it (a layer's
    diff_id). `read` waits; `close`, from any thread, makes it raise.
    """

    def __init__(self, writer: BlobWriter) -> None:
        self._writer = writer
        self._fd = writer.open_copy()
        self._position = 0
        self._closed = threading.Event()
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def read(self, size: int) -> bytes:
        """Return up to `size` bytes, at least one before the end; empty at the end.

        Raises:
            ImageError: the writer gave up, or this was closed.
        """
        end = self._writer.wait_beyond(self._position, self._closed)
        with self._lock:
            if self._closed.is_set():
                reason = "its download was given up"
                raise ImageError(image=short_digest(self._writer.descriptor.digest), reason=reason)
            piece = os.pread(self._fd, max(0, min(size, end - self._position)), self._position)
        self._position += len(piece)
        return piece

    def close(self) -> None:
        """Stop reading. Idempotent."""
        self._closed.set()
        self._writer.wake()
        with self._lock:
            if self._fd >= 0:
                os.close(self._fd)
                self._fd = -1
