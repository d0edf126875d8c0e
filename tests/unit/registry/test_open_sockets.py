"""Sockets that end together, whenever they came."""

from __future__ import annotations

import socket
import threading
import weakref
from collections.abc import Callable, Iterator

import pytest

from container_kit._registry.open_sockets import OpenSockets


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Give two connected sockets."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.settimeout(20)
        yield ours, theirs


def test_a_socket_that_is_there_is_shut_down(pair: tuple[socket.socket, socket.socket]) -> None:
    """Its peer sees the end."""
    ours, theirs = pair
    sockets = OpenSockets()
    sockets.add(ours)

    sockets.shut_down()

    assert b"" == theirs.recv(1)


def test_a_socket_that_comes_too_late_is_shut_down_at_once(pair: tuple[socket.socket, socket.socket]) -> None:
    """Nobody would do it later."""
    ours, theirs = pair
    sockets = OpenSockets()
    sockets.shut_down()

    sockets.add(ours)

    assert b"" == theirs.recv(1)


def test_a_socket_that_was_closed_is_left_alone(pair: tuple[socket.socket, socket.socket]) -> None:
    """Another one may have its number."""
    ours, theirs = pair
    copy = ours.dup()
    sockets = OpenSockets()
    sockets.add(copy)
    sockets.close(copy)

    sockets.shut_down()
    ours.sendall(b"x")

    assert b"x" == theirs.recv(1)


def test_what_is_no_socket_is_left_alone() -> None:
    """TLS in TLS comes as an object of urllib3's."""
    sockets = OpenSockets()

    sockets.add(object())
    sockets.add(None)

    sockets.shut_down()


def test_a_thread_may_connect_while_another_closes(
    monkeypatch: pytest.MonkeyPatch, pair: tuple[socket.socket, socket.socket]
) -> None:
    """Neither fails, and its socket is not forgotten."""
    ours, theirs = pair
    late, peer = socket.socketpair()
    sockets = OpenSockets()
    moved = threading.Event()

    def connect() -> None:
        sockets.add(late)
        moved.set()

    connecting = threading.Thread(target=connect)

    def let_it_connect() -> None:
        connecting.start()
        moved.wait()

    monkeypatch.setattr(sockets, "_lock", TellingLock(moved))
    monkeypatch.setattr(sockets, "_sockets", SlowSet(let_it_connect))
    sockets.add(ours)

    with late, peer:
        sockets.shut_down()
        connecting.join()
        peer.settimeout(20)

        assert (b"", b"") == (theirs.recv(1), peer.recv(1))


class TellingLock:
    """A lock that says when somebody has to wait for it."""

    def __init__(self, waited_for: threading.Event) -> None:
        self._lock = threading.Lock()
        self._waited_for = waited_for

    def __enter__(self) -> None:
        if not self._lock.acquire(blocking=False):
            self._waited_for.set()
            self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()


class SlowSet(weakref.WeakSet[socket.socket]):
    """A set during whose iteration something happens once."""

    def __init__(self, happening: Callable[[], object]) -> None:
        super().__init__()
        self._happenings = [happening]

    def __iter__(self) -> Iterator[socket.socket]:
        for sock in super().__iter__():
            yield sock
            while self._happenings:
                self._happenings.pop()()
