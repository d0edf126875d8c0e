"""Streams come to their end although forks of the caller's hold copies of their descriptors."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator

import pytest

from container_kit._trees.pouring import ProducedStream, feed, pour, write_all
from tests.forks import Forks, open_forks

pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # of a process with threads

Pour = Callable[[Callable[[int], object], Callable[[int], object]], object]


@pytest.fixture
def forks() -> Iterator[Forks]:
    """Give forks that are gone at the end."""
    with open_forks() as forks:
        yield forks


def read_to_end(stream: int) -> int:
    """Return how many bytes there were."""
    total = 0
    while data := os.read(stream, 1 << 16):
        total += len(data)
    return total


@pytest.mark.parametrize("pour", [pour, feed])
def test_a_stream_ends_when_its_producer_is_done(pour: Pour, forks: Forks) -> None:
    """The fork's copy of the writing end does not matter."""

    def produce(sink: int) -> None:
        forks.add()
        write_all(sink, bytes(3 << 20))

    assert 3 << 20 == forks.during(lambda: pour(produce, read_to_end))
    assert 1 == len(forks)


@pytest.mark.parametrize("pour", [pour, feed])
def test_a_producer_ends_when_its_consumer_gives_up(pour: Pour, forks: Forks) -> None:
    """The fork's copy of the reading end does not matter."""

    def consume(stream: int) -> None:
        os.read(stream, 1)
        forks.add()
        raise ValueError("enough")

    with pytest.raises(ValueError, match="enough"):
        forks.during(lambda: pour(lambda sink: write_all(sink, bytes(10 << 20)), consume))


def test_a_stream_that_was_given_out_ends(forks: Forks) -> None:
    """At its producer's end."""

    def produce(sink: int) -> None:
        forks.add()
        write_all(sink, b"abc")

    with ProducedStream(produce, lambda: None) as stream:
        assert b"abc" == forks.during(stream.readall)


def test_a_stream_that_was_given_out_is_closed_before_its_end(forks: Forks) -> None:
    """Its producer is not waited for."""
    stream = ProducedStream(lambda sink: write_all(sink, bytes(10 << 20)), lambda: None)
    assert b"\0" == stream.read(1)
    forks.add()

    forks.during(stream.close)


def test_a_forked_child_closes_its_copy_only() -> None:
    """The parent reads on."""
    closed = threading.Event()

    def produce(sink: int) -> None:
        closed.wait()
        write_all(sink, b"abc")

    with ProducedStream(produce, lambda: None) as stream:
        child = os.fork()
        if child == 0:
            stream.close()
            os._exit(0)
        os.waitpid(child, 0)
        closed.set()

        assert b"abc" == stream.readall()
