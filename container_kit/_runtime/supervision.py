"""The starter's end of a monitor: its pidfd, the owner channel, and the results that came over it.

Not the way other processes reach a container (that is `control`). A supervision is what
makes a container *owned*: letting it go, or dying, ends an owned container.
"""

from __future__ import annotations

import errno
import os
import signal
import socket
import threading
import time

from container_kit._linux import processes
from container_kit._linux.processes import ProcessId
from container_kit._linux.shim import Starting
from container_kit._plan.cgroup_writes import ControlGroup
from container_kit._runtime.messages import Message, MessageType, receive, send

_NUDGE = 1.0
_PATIENCE = 60.0  # removing a large tree takes a while


class Supervision:
    """A monitor that this process started. Owns the pidfd and the socket; safe to use from many threads."""

    def __init__(self, starting: Starting, channel: socket.socket) -> None:
        self.identity = processes.read_process_id(starting.pid) or ProcessId(starting.pid, 0)
        self.started: Message | None = None
        self.exited: Message | None = None
        self.failed: Message | None = None
        self.group: ControlGroup | None = None  # the cgroup that it makes for its container
        self._starting = starting
        self._refusal: OSError | None = None  # why the monitor could not be executed
        self._pidfd = starting.pidfd
        self._channel = channel
        self._lock = threading.Lock()
        self._closed = False
        self._starter = os.getpid()

    def fileno(self) -> int:
        """Return a descriptor that becomes readable when there is something to `take`."""
        return self._channel.fileno()

    @property
    def is_ours(self) -> bool:
        """True in the process that started the monitor, False in a child that it forked."""
        return self._starter == os.getpid()

    def go(self) -> None:
        """Let the monitor begin: the intent is recorded."""
        self._tell(Message(MessageType.GO))

    def detach(self) -> None:
        """Let the container outlive this process."""
        self._tell(Message(MessageType.DETACH))

    def end(self) -> None:
        """End the container, whoever owns it."""
        self._tell(Message(MessageType.SIGNAL, value=signal.SIGKILL))

    def take(self, deadline: float | None) -> bool:
        """Take in what the monitor said; False when the deadline (monotonic seconds, None: never) passed first.

        Raises:
            OSError: there is no monitor, its program could not be executed.
        """
        heard = self._hear(deadline)
        if self._refusal is not None:
            raise self._refusal
        return heard

    def _hear(self, deadline: float | None) -> bool:
        if self._closed:
            return True
        if not processes.wait_readable(self._channel.fileno(), deadline):
            return False
        with self._lock:
            if not self._closed:
                self._take_one()
        return True

    def await_started(self) -> Message:
        """Wait until init runs the command, or the launch failed; return that message.

        A monitor that died without a word gives a FAILED message with error ESRCH.
        """
        while self.started is None and self.failed is None and not self._closed:
            self.take(None)
        return self.started or self.failed or Message(MessageType.FAILED, error=errno.ESRCH)

    def await_exited(self, deadline: float | None) -> Message | None:
        """Wait until the container is over; None when the deadline passed, or when the monitor died silently."""
        while self.exited is None and not self._closed:
            if not self.take(deadline):
                return None
        return self.exited

    @property
    def is_over(self) -> bool:
        """True when nothing more will come: the container ended, or the monitor is gone."""
        return self.exited is not None or self.failed is not None or self._closed

    def let_go(self) -> None:
        """Close the owner channel, which ends an owned container; wait until its monitor is gone and reap it.

        An interrupt comes through when that is done; a second one at once.
        """
        try:
            self._let_go()
        except BaseException:
            self._let_go()
            raise

    def _let_go(self) -> None:
        if os.getpid() == self._starter:
            with self._lock:
                if not self._closed:
                    self._channel.shutdown(socket.SHUT_WR)
            self._await_end()
        with self._lock:
            self._close()

    def leave(self) -> int:
        """Close the owner channel of a detached container and return the pidfd, which the caller now owns."""
        with self._lock:
            self._closed = True
            self._channel.close()
            return self._pidfd

    def _await_end(self) -> None:
        # Somebody may have stopped the monitor (SIGSTOP): it has to go on in order to end. One that does
        # not end at all is killed; what it has not removed is then left to the next one.
        patience = time.monotonic() + _PATIENCE
        while not self._closed:
            if self._hear(time.monotonic() + _NUDGE):
                continue
            with self._lock:
                if not self._closed:
                    number = signal.SIGCONT if time.monotonic() < patience else signal.SIGKILL
                    signal.pidfd_send_signal(self._pidfd, number)

    def _take_one(self) -> None:
        try:
            received = receive(self._channel, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return  # another thread was faster
        if received is None:
            self._close()
            return
        self._starting.end()  # it speaks, so it was executed
        message, fds = received
        for fd in fds:
            os.close(fd)
        if message.type == MessageType.STARTED:
            self.started = message
        elif message.type == MessageType.EXITED:
            self.exited = message
        elif message.type == MessageType.FAILED:
            self.failed = message

    def _tell(self, message: Message) -> None:
        try:
            send(self._channel, message)
        except (BrokenPipeError, ConnectionResetError):
            pass  # the monitor is gone; what follows finds out

    def _close(self) -> None:
        # The monitor is gone or about to be: its zombie and our descriptors go too.
        if self._closed:
            return
        if os.getpid() == self._starter:
            processes.is_ended(self._pidfd, None)
            processes.reap(self._pidfd)  # an interrupt up to here leaves what can be done again
        self._closed = True
        os.close(self._pidfd)
        self._channel.close()
        try:
            self._starting.end()
        except OSError as err:
            self._refusal = err
