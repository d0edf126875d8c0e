"""The sockets of a client, so that closing it wakes threads that wait for them."""

from __future__ import annotations

import contextlib
import socket
import threading
import weakref


class OpenSockets:
    """Sockets that end together; thread-safe. They are not kept open by being in here."""

    def __init__(self) -> None:
        self._sockets: weakref.WeakSet[socket.socket] = weakref.WeakSet()
        self._lock = threading.Lock()
        self._is_shut = False

    def add(self, sock: object) -> None:
        """Take a socket in; it is shut down at once when the others were. What is no socket is left alone."""
        if not isinstance(sock, socket.socket):
            return
        with self._lock:
            self._sockets.add(sock)
            if self._is_shut:
                _shut_down(sock)

    def close(self, sock: socket.socket) -> None:
        """Close one socket; its descriptor is not used any more, whatever number another one gets."""
        with self._lock:
            self._sockets.discard(sock)
            sock.close()

    def shut_down(self) -> None:
        """Shut down all, and those that are added later."""
        with self._lock:
            self._is_shut = True
            for sock in list(self._sockets):
                _shut_down(sock)


def _shut_down(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):
        socket.socket.shutdown(sock, socket.SHUT_RDWR)  # not the one of TLS, which forgets its keys
