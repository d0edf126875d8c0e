"""A conversation about one process: what an exec session and an attachment have in common."""

from __future__ import annotations

import os
import signal
import threading
from types import TracebackType
from typing import Self

import attrs

from container_kit._linux.processes import wait_readable
from container_kit._runtime.control import Connection, MonitorGoneError
from container_kit._runtime.messages import ExitFlag, Message, MessageType
from container_kit._runtime.state_file import Usage, exit_code_of

_KILLED = 128 + signal.SIGKILL


@attrs.frozen(kw_only=True)
class Ending:
    """What a process came to."""

    code: int
    oom_killed: bool = False
    usage: Usage = attrs.field(factory=Usage)

    @classmethod
    def from_message(cls, message: Message) -> Ending:
        """Read an EXITED message."""
        usage = Usage.of(message.a, message.b, message.c)
        return cls(code=exit_code_of(message.value), oom_killed=bool(message.flags & ExitFlag.OOM), usage=usage)

    @classmethod
    def killed(cls) -> Ending:
        """Return the ending of a process whose monitor is gone: everything in the container was killed."""
        return cls(code=_KILLED)


class Session:
    """A process reached over a connection to its container's monitor. Many threads may wait for its end."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._ending: Ending | None = None
        self._lock = threading.Lock()

    def fileno(self) -> int:
        """Return a descriptor that becomes readable when the process has ended."""
        return self._connection.fileno()

    def poll(self, deadline: float | None = 0.0) -> Ending | None:
        """Return how the process ended, waiting until `deadline` (monotonic seconds, None: for ever); None before."""
        while self._ending is None:
            if not wait_readable(self._connection.fileno(), deadline):
                return None
            with self._lock:
                if self._ending is None:
                    self._take_one()
        return self._ending

    def signal(self, number: int) -> None:
        """Send a signal to the process; nothing happens when it has ended."""
        self.tell(Message(MessageType.SIGNAL, value=number))

    def tell(self, message: Message) -> None:
        """Send a message; nothing happens when the monitor is gone."""
        try:
            self._connection.send(message)
        except MonitorGoneError:
            pass

    def close(self) -> None:
        """End the conversation."""
        self._connection.close()

    def _take_one(self) -> None:
        try:
            received = self._connection.receive(0.0)
        except MonitorGoneError:
            self._ending = Ending.killed()
            return
        if received is None:
            return  # another thread was faster
        message, fds = received
        for fd in fds:
            os.close(fd)
        if message.type == MessageType.EXITED:
            self._ending = Ending.from_message(message)
            self._connection.end_of_answers()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
