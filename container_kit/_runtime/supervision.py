"""The starter's end of a monitor: its pidfd, the owner channel, and the results that came over it.

Not the way other processes reach a container (that is `control`). A supervision is what
makes a container *owned*: closing it, or dying, ends an owned container.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import threading
import time

from container_kit._linux import processes
from container_kit._linux.processes import ProcessId
from container_kit._runtime.messages import Message, MessageType, receive, send


class Supervision:
    """A monitor that this process started. Owns the pidfd and the socket; safe to use from many threads."""

    def __init__(self, pid: int, pidfd: int, channel: socket.socket) -> None:
        self.pidfd = pidfd
        self.channel = channel
        self.identity = processes.read_process_id(pid) or ProcessId(pid, 0)
        self.started: Message | None = None
        self.exited: Message | None = None
        self.failed: Message | None = None
        self._lock = threading.RLock()
        self._closed = False
        self._starter = os.getpid()

    def go(self) -> None:
        """Let the monitor begin: the intent is recorded."""
        self._tell(Message(MessageType.GO))

    def detach(self) -> None:
        """Let the container outlive this process."""
        self._tell(Message(MessageType.DETACH))

    def pump(self, deadline: float | None) -> bool:
        """Take in one message; False when the deadline (monotonic seconds) passed first.

        The end of the stream counts as a message: the monitor is gone.
        """
        with self._lock:
            if self._closed:
                return True
            poller = select.poll()
            poller.register(self.channel, select.POLLIN)
            wait_ms = None if deadline is None else max(0.0, (deadline - time.monotonic()) * 1000)
            if not poller.poll(wait_ms):
                return False
            received = receive(self.channel)
            if received is None:
                self._collect()
                return True
            message, fds = received
            for fd in fds:
                os.close(fd)
            self._note(message)
            return True

    def await_started(self) -> Message:
        """Wait until init runs the command, or the launch failed; return that message.

        A monitor that died without a word gives a FAILED message with error ESRCH.
        """
        while self.started is None and self.failed is None and not self._closed:
            self.pump(None)
        return self.started or self.failed or Message(MessageType.FAILED, error=3)

    def await_exited(self, deadline: float | None) -> Message | None:
        """Wait until the container is over; None when the deadline passed, or when the monitor died silently."""
        while self.exited is None and not self._closed:
            if not self.pump(deadline):
                return None
        return self.exited

    @property
    def is_over(self) -> bool:
        """True when nothing more will come: the container ended or the monitor is gone."""
        return self.exited is not None or self.failed is not None or self._closed

    def let_go(self) -> None:
        """Close the owner channel; an owned container ends. Waits until its monitor has cleaned up and reaps it."""
        with self._lock:
            if not self._closed:
                if os.getpid() == self._starter:
                    self.channel.shutdown(socket.SHUT_WR)
                    while not self._closed and self.pump(None):
                        pass
                self._collect()

    def leave(self) -> int:
        """Close the owner channel of a detached container and return the pidfd, which the caller now owns."""
        with self._lock:
            self._closed = True
            self.channel.close()
            return self.pidfd

    def kill_monitor(self) -> None:
        """End a monitor that has not been told to go."""
        signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)
        self._collect()

    def _note(self, message: Message) -> None:
        if message.type == MessageType.STARTED:
            self.started = message
        elif message.type == MessageType.EXITED:
            self.exited = message
        elif message.type == MessageType.FAILED:
            self.failed = message

    def _tell(self, message: Message) -> None:
        try:
            send(self.channel, message)
        except (BrokenPipeError, ConnectionResetError):
            pass  # the monitor is gone; what follows finds out

    def _collect(self) -> None:
        # Idempotent: the monitor is gone (or about to be), its zombie and our descriptors go too.
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self.channel.close()
            if os.getpid() == self._starter:
                processes.is_ended(self.pidfd, None)
                processes.reap(self.pidfd)
            os.close(self.pidfd)
