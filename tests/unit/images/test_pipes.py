"""A pipe whose ends can be shut whatever a fork of the caller's holds."""

from __future__ import annotations

import errno
import os
import select
import socket
from collections.abc import Iterator

import pytest

from container_kit._images.pipes import PipeEnd, open_pipe


@pytest.fixture
def pipe() -> Iterator[tuple[PipeEnd, PipeEnd]]:
    """Give a pipe of whose ends there are copies, as after a fork."""
    with open_pipe() as (incoming, outgoing):
        copies = os.dup(incoming.fileno()), os.dup(outgoing.fileno())
        yield incoming, outgoing
        for copy in copies:
            os.close(copy)


def is_readable(end: PipeEnd) -> bool:
    """Say whether a read would return at once."""
    return bool(select.select([end.fileno()], [], [], 0)[0])


def test_who_reads_meets_the_end_after_what_was_written(pipe: tuple[PipeEnd, PipeEnd]) -> None:
    """Not before, and more than once."""
    incoming, outgoing = pipe
    os.write(outgoing.fileno(), b"abc")
    assert b"abc" == os.read(incoming.fileno(), 10)
    assert not is_readable(incoming)

    os.write(outgoing.fileno(), b"def")
    with outgoing:
        pass
    outgoing.shut()

    assert b"def" == os.read(incoming.fileno(), 10)
    for _ in range(2):
        assert is_readable(incoming)
        assert b"" == os.read(incoming.fileno(), 10)


def test_who_writes_hears_that_nobody_reads(pipe: tuple[PipeEnd, PipeEnd]) -> None:
    """EPIPE, also when something was not read."""
    incoming, outgoing = pipe
    os.write(outgoing.fileno(), b"abc")
    with incoming:
        pass

    for _ in range(2):
        with pytest.raises(BrokenPipeError) as caught:
            os.write(outgoing.fileno(), b"x")
        assert errno.EPIPE == caught.value.errno


def test_a_forked_child_shuts_nothing(pipe: tuple[PipeEnd, PipeEnd]) -> None:
    """It may unwind the same block."""
    incoming, outgoing = pipe
    child = os.fork()
    if child == 0:
        incoming.shut()
        outgoing.shut()
        os._exit(0)
    os.waitpid(child, 0)

    os.write(outgoing.fileno(), b"abc")
    assert b"abc" == os.read(incoming.fileno(), 10)
    assert not is_readable(incoming)


def test_the_default_timeout_of_sockets_does_not_matter() -> None:
    """A caller's socket.setdefaulttimeout() is about its own sockets."""
    socket.setdefaulttimeout(0.0)
    try:
        with open_pipe() as (incoming, outgoing):
            assert os.get_blocking(incoming.fileno())
            assert os.get_blocking(outgoing.fileno())
    finally:
        socket.setdefaulttimeout(None)


def test_it_is_closed_at_the_end_of_the_block() -> None:
    """Also after an error."""
    before = os.listdir("/proc/self/fd")

    with pytest.raises(RuntimeError), open_pipe():
        raise RuntimeError

    assert before == os.listdir("/proc/self/fd")
