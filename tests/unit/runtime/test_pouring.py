"""A producer and a consumer that both block, with a pipe between them."""

from __future__ import annotations

import errno
import io
import os
import threading
from collections.abc import Callable

import pytest

from container_kit._trees.pouring import ProducedStream, copy_stream, feed, pour, write_all

Pour = Callable[[Callable[[int], object], Callable[[int], object]], object]


def read_to_end(stream: int) -> int:
    """Return how many bytes there were."""
    total = 0
    while data := os.read(stream, 1 << 16):
        total += len(data)
    return total


def open_fds() -> set[str]:
    """Return this process's open descriptors."""
    return set(os.listdir("/proc/self/fd"))


@pytest.mark.parametrize("pour", [pour, feed])
def test_everything_arrives(pour: Pour) -> None:
    """Much more than the pipe holds; afterwards no descriptor and no thread is left."""
    before, threads = open_fds(), threading.active_count()
    total = pour(lambda sink: write_all(sink, bytes(10 << 20)), read_to_end)

    assert 10 << 20 == total
    assert (before, threads) == (open_fds(), threading.active_count())


@pytest.mark.parametrize("pour", [pour, feed])
def test_a_producer_that_fails_is_what_is_raised(pour: Pour) -> None:
    """The consumer only saw a stream that was cut off."""

    def produce(sink: int) -> None:
        write_all(sink, b"x")
        raise RuntimeError("the source broke")

    def consume(stream: int) -> None:
        read_to_end(stream)
        raise ValueError("cut off")

    before = open_fds()
    with pytest.raises(RuntimeError, match="the source broke"):
        pour(produce, consume)

    assert before == open_fds()


@pytest.mark.parametrize("pour", [pour, feed])
def test_a_consumer_that_gives_up_ends_the_producer(pour: Pour) -> None:
    """It is not waited for, and its broken pipe is not the error."""
    before = open_fds()

    def consume(stream: int) -> None:
        raise ValueError("enough")

    with pytest.raises(ValueError, match="enough"):
        pour(lambda sink: write_all(sink, bytes(10 << 20)), consume)

    assert before == open_fds()


@pytest.mark.parametrize("pour", [pour, feed])
def test_an_interrupt_leaves_nothing_behind(pour: Pour) -> None:
    """Ctrl-C while one of them waits for the other."""
    before, threads = open_fds(), threading.active_count()

    def interrupted(_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pour(lambda sink: write_all(sink, bytes(10 << 20)), interrupted)
    with pytest.raises(KeyboardInterrupt):
        pour(interrupted, read_to_end)

    assert (before, threads) == (open_fds(), threading.active_count())


def test_a_stream_that_was_given_out_is_released_once() -> None:
    """At its end or before."""
    released: list[bool] = []
    stream = ProducedStream(lambda sink: write_all(sink, bytes(10 << 20)), lambda: released.append(True))

    with stream:
        first = stream.read(10)
    stream.close()

    assert (bytes(10), [True]) == (first, released)


def test_a_stream_raises_its_producers_error_at_its_end() -> None:
    """A reader cannot take a part for the whole."""

    def produce(sink: int) -> None:
        write_all(sink, b"abc")
        raise OSError(errno.EIO, "the disk broke")

    with ProducedStream(produce, lambda: None) as stream, pytest.raises(OSError, match="the disk broke"):
        io.BufferedReader(stream).read()


def test_a_file_object_is_copied_in_pieces() -> None:
    """However its `read` cuts them."""

    class Dribble(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            return super().read(min(7, size or 0))

    assert 1000 == pour(lambda sink: copy_stream(Dribble(bytes(1000)), sink), read_to_end)
