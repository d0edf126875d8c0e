"""A pipe between two threads of ours, of which each shuts its end when it is through. A worker may use an end too.

It is a pair of sockets: other than a pipe of the kernel's it can be shut although a fork of the caller's holds
copies of its descriptors.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Generator
from contextlib import contextmanager
from typing import Self

_SIZE = 1 << 20  # the kernel gives less where less is allowed (socket(7), wmem_max)


class PipeEnd:
    """The end to read from or to write to; owns its descriptor."""

    def __init__(self, end: socket.socket, how: int) -> None:
        end.settimeout(None)  # whatever socket.setdefaulttimeout() says
        self._socket = end
        self._how = how
        self._maker = os.getpid()

    def fileno(self) -> int:
        """Return the descriptor, which blocks."""
        return self._socket.fileno()

    def shut(self) -> None:
        """Be through: who reads meets the end, after what is still there; who writes gets EPIPE. May be repeated.

        In a forked child it does nothing: the pipe is its parent's.
        """
        if self._maker == os.getpid():
            self._socket.shutdown(self._how)

    def close(self) -> None:
        """Close the descriptor; only when both sides are through: a writer might get ECONNRESET."""
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.shut()


def make_pipe() -> tuple[PipeEnd, PipeEnd]:
    """Return the reading and the writing end of a pipe. The caller closes both."""
    incoming, outgoing = socket.socketpair()
    outgoing.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SIZE)
    return PipeEnd(incoming, socket.SHUT_RD), PipeEnd(outgoing, socket.SHUT_WR)


@contextmanager
def open_pipe() -> Generator[tuple[PipeEnd, PipeEnd], None, None]:
    """Give the reading and the writing end of a pipe; at the end of the block both are closed.

    Leave the block only when no other thread uses them any more: numbers of descriptors are used again.
    """
    incoming, outgoing = make_pipe()
    try:
        yield incoming, outgoing
    finally:
        incoming.close()
        outgoing.close()
