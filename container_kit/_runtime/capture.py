"""Feed a command's stdin and collect its output, bounded, until it is over.

Shared by `run` and `exec`: both give the command pipes of their own and learn of its end
over a socket.
"""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable

from container_kit._linux.processes import LONGEST_POLL_MS

_CHUNK = 1 << 16
_PIPE_ATOMIC = 4096  # PIPE_BUF: a write of this much does not block when poll says POLLOUT (pipe(7))


class Pipes:
    """Three pipes: the command's ends (`theirs`) and the caller's ends. Close both sides; closing twice is fine.

    Args:
        devnull: a descriptor of /dev/null, the pipes' own from now on: the command's stdin unless it is fed.
        feed: whether stdin is a pipe.
    """

    def __init__(self, devnull: int, *, feed: bool) -> None:
        self._open = {devnull}
        try:
            stdin, self.stdin = self._pipe() if feed else (devnull, -1)
            self.stdout, stdout = self._pipe()
            self.stderr, stderr = self._pipe()
        except OSError:
            self.close_all()
            raise
        self.theirs = (stdin, stdout, stderr)

    def close_theirs(self) -> None:
        """Close the command's ends here, so that their end of file can be seen."""
        for fd in self.theirs:
            self.close(fd)

    def close(self, fd: int) -> None:
        """Close one of the descriptors; a closed one is left alone."""
        if fd in self._open:
            self._open.discard(fd)
            os.close(fd)

    def close_all(self) -> None:
        """Close whatever is still open."""
        for fd in tuple(self._open):
            self.close(fd)

    def _pipe(self) -> tuple[int, int]:
        read, write = os.pipe()
        self._open |= {read, write}
        return read, write


class Capture:
    """Collected output of one command."""

    def __init__(self, pipes: Pipes, data: bytes, limit: int) -> None:
        self.stdout = bytearray()
        self.stderr = bytearray()
        self.truncated = False
        self._pipes = pipes
        self._input = memoryview(data)
        self._limit = limit
        self._outputs = {pipes.stdout: self.stdout, pipes.stderr: self.stderr}

    def collect(self, watched: int, is_over: Callable[[], bool], deadline: float | None) -> bool:
        """Move data until the command is over and its pipes are drained; False when the deadline passed first.

        Args:
            watched: a descriptor that becomes readable when `is_over` should be asked.
            is_over: takes in one report and says whether the command has ended.
            deadline: monotonic seconds, or None.
        """
        poller = select.poll()
        for fd in self._outputs:
            poller.register(fd, select.POLLIN)
        if self._pipes.stdin >= 0:
            poller.register(self._pipes.stdin, select.POLLOUT)
        poller.register(watched, select.POLLIN)
        while True:
            left_ms = None if deadline is None else (deadline - time.monotonic()) * 1000
            if left_ms is not None and left_ms <= 0:
                return False
            for fd, _ in poller.poll(None if left_ms is None else min(left_ms, LONGEST_POLL_MS)):
                if fd == watched:
                    if is_over():
                        self.drain()
                        return True
                elif fd == self._pipes.stdin:
                    self._feed(poller)
                elif not self._read(fd):
                    poller.unregister(fd)

    def _feed(self, poller: select.poll) -> None:
        try:
            self._input = self._input[os.write(self._pipes.stdin, self._input[:_PIPE_ATOMIC]) :]
        except BrokenPipeError:
            self._input = self._input[:0]
        if not self._input:
            poller.unregister(self._pipes.stdin)
            self._pipes.close(self._pipes.stdin)

    def _read(self, fd: int) -> bool:
        data = os.read(fd, _CHUNK)
        kept = self._outputs[fd]
        room = self._limit - len(kept)
        kept += data[:room]
        self.truncated |= len(data) > room
        return bool(data)

    def drain(self) -> None:
        """Take what an ended command left in its pipes, without waiting for their end of file."""
        # The command has ended, so what it wrote is in the pipes, and one read takes all that a pipe holds.
        # A background process that still holds them open must not hold the caller up.
        for fd in self._outputs:
            os.set_blocking(fd, False)
            try:
                self._read(fd)
            except BlockingIOError:
                pass
