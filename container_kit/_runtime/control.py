"""A client of one monitor's control socket: what any process of the same user can ask.

Each connection is one conversation: a request and its answers. The socket is found by
descriptor, so the length of its path does not matter (unix(7) allows 107 bytes).
"""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from container_kit._linux.processes import wait_readable
from container_kit._runtime.messages import Message, MessageType, receive, send


class MonitorGoneError(Exception):
    """There is no monitor at the other end (any more). Private: callers turn it into what it means for them."""


class Connection:
    """An open conversation with a monitor."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock

    @classmethod
    def open(cls, runtime_dir: str) -> Connection:
        """Connect to the monitor whose runtime directory this is.

        Raises:
            MonitorGoneError: nobody listens there.
        """
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
        try:
            directory = os.open(runtime_dir, os.O_PATH | os.O_DIRECTORY)
            try:
                sock.connect(f"/proc/self/fd/{directory}/control.sock")
            finally:
                os.close(directory)
        except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError) as err:
            sock.close()
            raise MonitorGoneError from err
        except BaseException:
            sock.close()
            raise
        return cls(sock)

    def fileno(self) -> int:
        """Return the socket's descriptor, for polling."""
        return self._socket.fileno()

    def send(self, message: Message, fds: Sequence[int] = ()) -> None:
        """Send a request.

        Raises:
            MonitorGoneError: the monitor ended.
        """
        try:
            send(self._socket, message, fds)
        except (BrokenPipeError, ConnectionResetError) as err:
            raise MonitorGoneError from err

    def receive(self, deadline: float | None = None) -> tuple[Message, list[int]] | None:
        """Wait for an answer; None when the deadline (monotonic seconds) passed.

        Raises:
            MonitorGoneError: the monitor closed the connection.
        """
        if deadline is not None and not wait_readable(self._socket.fileno(), deadline):
            return None
        received = receive(self._socket)
        if received is None:
            raise MonitorGoneError
        return received

    def end_of_answers(self) -> None:
        """Receive nothing more: the descriptor stays readable, for all who poll it."""
        self._socket.shutdown(socket.SHUT_RD)

    def ask(self, message: Message, deadline: float | None = None, fds: Sequence[int] = ()) -> Message | None:
        """Send a request and return the one answer to it, or None when the deadline passed."""
        self.send(message, fds)
        received = self.receive(deadline)
        if received is None:
            return None
        answer, extra = received
        for fd in extra:
            os.close(fd)
        return answer

    def close(self) -> None:
        """Hang up; an exec session that is not detached ends with it."""
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def is_error(message: Message) -> bool:
    """Say whether an answer is a refusal."""
    return message.type == MessageType.ERROR
