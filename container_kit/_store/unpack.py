"""One layer, from its compressed stream to a directory that an overlay can use. One pass.

Three things overlap: a thread inflates, a thread hashes and passes on, and a file worker (a process
whose root is the directory) writes files. The hash is that of the uncompressed archive, the layer's
diff_id. A socket carries the archive: other than a pipe it can be shut down although a fork of the
caller's holds a copy of it, and nobody gets a SIGPIPE.
"""

from __future__ import annotations

import errno
import hashlib
import os
import queue
import socket
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

import attrs

from container_kit._files.view import directory_view
from container_kit._files.worker import Counts, FileWorker, UnpackOptions
from container_kit._spec.descriptor import Descriptor
from container_kit._spec.digest import Digest, algorithm_of, short_digest
from container_kit._spec.media_types import layer_compression
from container_kit._spec.paths import HostPath
from container_kit._spec.progress import Progress, ProgressCallback
from container_kit._store.compression import DEFAULT_LIMITS, Decompressed, Limits, open_decompressed
from container_kit.errors import ContainerKitError, DigestMismatchError, HostError

if TYPE_CHECKING:
    from container_kit._store.store import ImageStore

Read = Callable[[int], bytes]

_QUEUED = 4  # pieces of at most 1 MiB
_PIECE = 1 << 20
_SOCKET_BUFFER = 1 << 20
_REPORT_SECONDS = 0.1


@attrs.frozen(kw_only=True)
class LayerSource:
    """A layer's blob as it is read.

    Attributes:
        layer: what the manifest says of it.
        read: returns up to so many bytes of it; None: it is in the store.
        close: makes `read` raise, from another thread.
    """

    layer: Descriptor
    read: Read | None = None
    close: Callable[[], None] | None = None

    @property
    def name(self) -> str:
        """What errors and progress call it."""
        return short_digest(self.layer.digest)


class Cancellation:
    """Ends, from another thread, what is registered with it; once cancelled, at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ends: list[Callable[[], None]] = []
        self.is_cancelled = False

    @contextmanager
    def covering(self, end: Callable[[], None]) -> Generator[None, None, None]:
        """Let `cancel` call `end` during this block."""
        with self._lock:
            self._ends.append(end)
            is_late = self.is_cancelled
        if is_late:
            end()
        try:
            yield
        finally:
            with self._lock:
                self._ends.remove(end)

    def cancel(self) -> None:
        """End everything."""
        with self._lock:
            self.is_cancelled = True
            ends = list(self._ends)
        for end in ends:
            end()


def unpack_layer(
    store: ImageStore,
    diff_id: Digest,
    source: LayerSource,
    directory: HostPath,
    *,
    touch: Callable[[], None],
    cancellation: Cancellation,
    progress: ProgressCallback | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> Counts:
    """Unpack a layer into an empty directory.

    Args:
        store: where its blob is, and how files are owned.
        diff_id: the digest of the uncompressed archive.
        source: the compressed one.
        directory: gets the files; after an error it is to be removed.
        touch: called from time to time while there is progress.
        cancellation: ends this early.
        progress: told how much of the compressed blob is done.
        limits: what the archive may become.

    Raises:
        DigestMismatchError: the archive is another one than the configuration promised.
        UnsafeArchiveError: it is malformed, a bomb, or writes where it must not.
        UnsupportedMediaTypeError: it is compressed in a way that is not known.
    """
    compression = layer_compression(source.layer.media_type, what=source.name)
    report = _Report(source, touch, progress)
    options = UnpackOptions(
        layer=True,
        user_xattr=store.rootless,
        devices=not store.rootless,
        keep_owner=store.has_many_ids,
        max_bytes=limits.bytes,
        max_entries=limits.entries,
        subject=source.name,
    )
    with (
        FileWorker.start(directory_view(directory), user_namespace=store.user_namespace()) as worker,
        cancellation.covering(worker.close),
        _opened(store, source) as (read, fd),
    ):
        if compression == "none" and fd is not None:
            feed: _Feed = _HashedFile(fd, algorithm_of(diff_id), report)
        else:
            inflated = open_decompressed(compression, read, what=source.name, limits=limits)
            feed = _Inflating(inflated, algorithm_of(diff_id), report, source.close)
        with feed:
            counts = _drive(feed, worker, options)
    actual = f"{algorithm_of(diff_id)}:{feed.hex_digest()}"
    if actual != diff_id:
        reason = "the layer is not the one that the image's configuration promises"
        raise DigestMismatchError(image=source.name, reason=reason, expected=diff_id, actual=actual)
    report.finish()
    return counts


def _drive(feed: _Feed, worker: FileWorker, options: UnpackOptions) -> Counts:
    try:
        counts = worker.unpack("/", feed.fd, options)
    except ContainerKitError as err:
        feed.stop()
        if feed.error is not None:  # what the worker saw is a consequence
            raise feed.error from err
        raise
    feed.join()
    if feed.error is not None:
        raise feed.error
    return counts


@contextmanager
def _opened(store: ImageStore, source: LayerSource) -> Generator[tuple[Read, int | None], None, None]:
    if source.read is not None:
        yield source.read, None
        return
    fd = store.layout.open(source.layer.digest)
    try:
        yield lambda size: os.read(fd, size), fd
    finally:
        os.close(fd)


class _Report:
    """Says from time to time that there is progress."""

    def __init__(self, source: LayerSource, touch: Callable[[], None], progress: ProgressCallback | None) -> None:
        self._source = source
        self._touch = touch
        self._progress = progress
        self._next = 0.0

    def __call__(self, consumed: int) -> None:
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + _REPORT_SECONDS
        self._touch()
        self._tell(consumed, is_last=False)

    def finish(self) -> None:
        """Report the end."""
        self._tell(self._source.layer.size, is_last=True)

    def _tell(self, current: int, *, is_last: bool) -> None:
        if self._progress is not None:
            size = self._source.layer.size
            event = Progress(
                action="unpack", subject=self._source.name, current=min(current, size), total=size, finished=is_last
            )
            self._progress(event)


def _start(thread: threading.Thread) -> None:
    try:
        thread.start()
    except RuntimeError as err:  # the limit of processes or of memory
        raise HostError(attempted="cannot start a thread", errno=errno.EAGAIN) from err


class _Feed(Protocol):
    """What gives the archive to the worker, and hashes it.

    Attributes:
        fd: where the worker reads.
        error: what went wrong on this side.
    """

    error: BaseException | None

    @property
    def fd(self) -> int: ...
    def __enter__(self) -> object: ...
    def __exit__(self, *ignored: object) -> None: ...
    def stop(self) -> None: ...
    def join(self) -> None: ...
    def hex_digest(self) -> str: ...


class _HashedFile:
    """A blob that is not compressed: the worker reads the file itself."""

    def __init__(self, fd: int, algorithm: str, report: _Report) -> None:
        self.fd = fd
        self.error: BaseException | None = None
        self._hash = hashlib.new(algorithm)
        self._report = report
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="container_kit hash")

    def __enter__(self) -> None:
        _start(self._thread)

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()

    def join(self) -> None:
        self._thread.join()

    def hex_digest(self) -> str:
        return self._hash.hexdigest()

    def _run(self) -> None:
        position = 0
        try:
            while not self._stopped.is_set() and (piece := os.pread(self.fd, _PIECE, position)):
                self._hash.update(piece)
                position += len(piece)
                self._report(position)
        except BaseException as err:  # noqa: BLE001  # raised again by who started the thread
            self.error = err


class _Inflating:
    """A compressed blob: one thread inflates, one hashes and sends."""

    def __init__(
        self, inflated: Decompressed, algorithm: str, report: _Report, close: Callable[[], None] | None
    ) -> None:
        self.error: BaseException | None = None
        self._inflated = inflated
        self._hash = hashlib.new(algorithm)
        self._report = report
        self._close = close
        self._maker = os.getpid()
        self._stopped = threading.Event()
        self._queue: queue.Queue[bytes | None] = queue.Queue(_QUEUED)
        self._sender, self._receiver = socket.socketpair()
        for end in (self._sender, self._receiver):
            end.settimeout(None)  # whatever socket.setdefaulttimeout() says
        self._sender.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SOCKET_BUFFER)
        self._threads = (
            threading.Thread(target=self._inflate, name="container_kit inflate"),
            threading.Thread(target=self._send, name="container_kit hash"),
        )

    @property
    def fd(self) -> int:
        return self._receiver.fileno()

    def __enter__(self) -> None:
        started: list[threading.Thread] = []
        try:
            for thread in reversed(self._threads):  # the one that empties the queue first
                _start(thread)
                started.append(thread)
        except HostError:
            self._queue.put(None)
            for thread in started:
                thread.join()
            self._close_sockets()
            raise

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._close_sockets()

    def _close_sockets(self) -> None:
        self._sender.close()
        self._receiver.close()

    def stop(self) -> None:
        self._stopped.set()
        self._shut(socket.SHUT_RDWR)  # ends a send that nobody reads
        if self._close is not None:
            self._close()
        self.join()

    def join(self) -> None:
        for thread in self._threads:
            thread.join()

    def hex_digest(self) -> str:
        return self._hash.hexdigest()

    def _inflate(self) -> None:
        try:
            while not self._stopped.is_set() and (piece := self._inflated.read()):
                self._queue.put(piece)
        except BaseException as err:  # noqa: BLE001  # raised again by who started the thread
            self._fail(err)
        finally:
            self._queue.put(None)

    def _send(self) -> None:
        try:
            while (piece := self._queue.get()) is not None:
                if self._stopped.is_set():
                    continue  # what is left in the queue
                self._hash.update(piece)
                self._sender.sendall(piece, socket.MSG_NOSIGNAL)
                self._report(self._inflated.consumed)
        except OSError:
            self._discard()  # the worker is gone or gave up: it says why
        except BaseException as err:  # noqa: BLE001  # raised again by who started the thread
            self._fail(err)
            self._discard()
        finally:
            self._shut(socket.SHUT_WR)

    def _discard(self) -> None:
        self._stopped.set()
        while self._queue.get() is not None:
            pass

    def _fail(self, error: BaseException) -> None:
        if not self._stopped.is_set() and self.error is None:
            self.error = error

    def _shut(self, how: int) -> None:
        if self._maker != os.getpid():
            return  # in a forked child it is still the parent's
        try:
            self._sender.shutdown(how)
        except OSError:
            pass  # it is shut already
