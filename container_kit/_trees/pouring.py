"""Streams between a producer and a consumer that both block: a pipe, and a thread for one of them.

The thread lives as long as the call, or as the stream that was given out. A consumer that
fails shuts the pipe, which ends the producer with EPIPE; a producer that fails ends the
stream early, and its error is the one that is raised. What is a caller's own stays in the
caller's thread: only there a read that never returns can be interrupted.
"""

from __future__ import annotations

import errno
import io
import os
import threading
from collections.abc import Callable
from typing import Protocol, TypeVar

from container_kit._images.pipes import make_pipe

T = TypeVar("T")

CHUNK_BYTES = 1 << 20


class _Producer:
    """A thread that writes into a pipe until it is done or nobody reads any more."""

    def __init__(self, produce: Callable[[int], object]) -> None:
        self._produce = produce
        self.error: BaseException | None = None
        self._read_end, self._write_end = make_pipe()
        self._thread = threading.Thread(target=self._run, name="container_kit-producer", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._produce(self._write_end.fileno())
        except BaseException as err:  # noqa: BLE001  # raised by `finish`, in the thread that waits for it
            self.error = err
        finally:
            self._write_end.shut()

    def fileno(self) -> int:
        """Return the descriptor to read from."""
        return self._read_end.fileno()

    def finish(self) -> BaseException | None:
        """Wait for the end and return what went wrong, unless it was that nobody read any more."""
        self._thread.join()
        gone = isinstance(self.error, OSError) and self.error.errno == errno.EPIPE
        return None if gone else self.error

    def close(self) -> BaseException | None:
        """End it, if it still writes, and close the pipe; return what `finish` does."""
        self._read_end.shut()
        cause = self.finish()
        self._read_end.close()
        self._write_end.close()
        return cause


def pour(produce: Callable[[int], object], consume: Callable[[int], T]) -> T:
    """Run `produce(write end)` beside `consume(read end)` and return what the consumer returns.

    The descriptors are borrowed. The producer's error wins: the consumer saw a stream that was cut off.
    """
    producer = _Producer(produce)
    try:
        result = consume(producer.fileno())
    except Exception as err:
        cause = producer.close()
        if cause is not None:
            raise cause from err
        raise
    except BaseException:
        producer.close()
        raise
    cause = producer.close()
    if cause is not None:
        raise cause
    return result


def feed(produce: Callable[[int], object], consume: Callable[[int], T]) -> T:
    """Do as `pour` does, with the producer in the caller's thread and the consumer beside it."""
    results: list[T] = []
    errors: list[BaseException] = []
    read_end, write_end = make_pipe()

    def run() -> None:
        try:
            results.append(consume(read_end.fileno()))
        except BaseException as err:  # noqa: BLE001  # raised below, in the caller's thread
            errors.append(err)
        finally:
            read_end.shut()

    thread = threading.Thread(target=run, name="container_kit-consumer", daemon=True)
    thread.start()
    try:
        produce(write_end.fileno())
    except OSError as err:
        if err.errno != errno.EPIPE:
            raise
    finally:
        write_end.shut()
        thread.join()
        read_end.close()
        write_end.close()
    if errors:
        raise errors[0]
    return results[0]


class ProducedStream(io.RawIOBase):
    """A stream to read that a producer fills; `close` ends the producer, and then whatever it worked with.

    A producer's error is raised where the stream would end.
    """

    def __init__(self, produce: Callable[[int], object], release: Callable[[], object]) -> None:
        super().__init__()
        self._release = release
        self._producer = _Producer(produce)

    def readable(self) -> bool:
        """Say yes."""
        return True

    def fileno(self) -> int:
        """Return the pipe; reading it directly does not show the producer's errors."""
        return self._producer.fileno()

    def readinto(self, buffer: object) -> int:
        """Fill a buffer and return the number of bytes; 0 at the end."""
        view = memoryview(buffer)  # type: ignore[arg-type]  # typeshed's Buffer is not importable before 3.12
        count = os.readv(self._producer.fileno(), [view])
        if not count and view.nbytes:
            error = self._producer.finish()
            if error is not None:
                raise error
        return count

    def close(self) -> None:
        """End it. Idempotent."""
        if self.closed:
            return
        super().close()
        self._producer.close()
        self._release()


class Readable(Protocol):
    """What can be read from: returns up to `size` bytes, nothing at its end."""

    def read(self, size: int, /) -> bytes:
        """Return some bytes."""
        ...


def copy_stream(source: Readable, sink: int) -> None:
    """Write all that can be read from something to a descriptor."""
    while data := source.read(CHUNK_BYTES):
        write_all(sink, data)


def write_all(sink: int, data: bytes | memoryview) -> None:
    """Write all of some bytes to a descriptor."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(sink, rest) :]
