"""Closing a client ends connections that are only being made."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from container_kit._registry.connection_errors import ConnectionFailedError, Trouble
from container_kit._registry.retrying import Patience
from container_kit._registry.transport import Transport, Trust

PATIENCE = Patience(connect_timeout=60.0, stall_timeout=60.0)


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """Give a server that has only its kernel to answer."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(20)
        yield listener


class Sending:
    """A thread that sends a request; `error` is what came of it."""

    def __init__(self, transport: Transport, scheme: str, listener: socket.socket) -> None:
        self.error: ConnectionFailedError | None = None
        self._transport = transport
        self._url = f"{scheme}://127.0.0.1:{listener.getsockname()[1]}/"
        self._thread = threading.Thread(target=self._work)
        self._thread.start()

    def _work(self) -> None:
        try:
            self._transport.send("GET", self._url, {}, trust=Trust(insecure=True))
        except ConnectionFailedError as err:
            self.error = err

    def has_ended(self) -> bool:
        """Wait for the thread, and tell whether it came to an end."""
        self._thread.join(20)
        return not self._thread.is_alive()


def test_closing_ends_a_handshake(listener: socket.socket) -> None:
    """The server has the client's greeting and says nothing."""
    transport = Transport(PATIENCE)
    sending = Sending(transport, "https", listener)
    connection, _ = listener.accept()
    with connection:
        connection.settimeout(20)
        assert connection.recv(1)

        transport.close()
        ended = sending.has_ended()

    assert ended
    assert sending.error is not None
    assert Trouble.CLOSED is sending.error.trouble


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_connection_that_is_made_while_the_client_closes_is_not_used(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    """It ends at once: the server gets no byte of a request."""
    transport = Transport(PATIENCE)
    real = socket.getaddrinfo

    def resolve(*arguments: object, **options: object) -> object:
        transport.close()
        return real(*arguments, **options)  # type: ignore[arg-type]  # handed on as they came

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    sending = Sending(transport, scheme, listener)
    connection, _ = listener.accept()
    with connection:
        connection.settimeout(20)
        came = connection.recv(1)

    assert sending.has_ended()
    assert b"" == came
    assert sending.error is not None
    assert Trouble.CLOSED is sending.error.trouble
