"""Servers that answer without ever coming to the point: headers that drip or never end."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from itertools import chain, repeat

import pytest

from container_kit.errors import ImageUnreachableError
from tests.registry_clients import MemorySink, blob_of, make_client, reference_to

DATA, BLOB = blob_of(5000)


@contextmanager
def raw_server(answer: Callable[[], Iterable[bytes]], *, pause: float = 0.0) -> Generator[str, None, None]:
    """Run a server that reads a little and sends these bytes to everybody, `pause` seconds between them."""
    stopping = threading.Event()
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(0.02)

    def serve() -> None:
        while not stopping.is_set():
            with contextlib.suppress(OSError):
                connection, _ = listener.accept()
                with connection:
                    connection.settimeout(5)
                    connection.recv(65_536)
                    for piece in answer():
                        connection.sendall(piece)
                        if stopping.wait(pause):
                            break

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"127.0.0.1:{listener.getsockname()[1]}"
    finally:
        stopping.set()
        thread.join()
        listener.close()


def dripping_header() -> Iterable[bytes]:
    """Send one byte at a time."""
    return chain([b"HTTP/1.1 200 OK\r\n"], repeat(b"X"))


def endless_continue() -> Iterable[bytes]:
    """Never send the final status."""
    return repeat(b"HTTP/1.1 100 Continue\r\n\r\n" * 100)


def endless_headers() -> Iterable[bytes]:
    """Never send the empty line."""
    return chain([b"HTTP/1.1 200 OK\r\n"], repeat(b"X: y\r\n" * 100))


@pytest.mark.parametrize(
    ("answer", "pause"), [(dripping_header, 0.03), (endless_continue, 0.0), (endless_headers, 0.0)]
)
def test_headers_that_never_end_are_given_up(answer: Callable[[], Iterable[bytes]], pause: float) -> None:
    """By time or by size; each is a failure as any other of a connection."""
    with (
        raw_server(answer, pause=pause) as authority,
        make_client(stall_timeout=0.3, attempts=1) as client,
        pytest.raises(ImageUnreachableError),
    ):
        client.resolve(reference_to(authority))


def test_trailers_that_never_end_do_not_matter() -> None:
    """The content is there: what follows it is not waited for."""

    def answer() -> Iterable[bytes]:
        head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        return chain([head, b"%x\r\n%b\r\n0\r\n" % (len(DATA), DATA)], repeat(b"X: y\r\n" * 1000))

    sink = MemorySink()
    with raw_server(answer) as authority, make_client() as client:
        client.download(reference_to(authority), BLOB, sink, verify=sink.verifier(BLOB))

    assert DATA == bytes(sink.data)


def test_a_kept_connection_that_was_closed_meanwhile_is_no_failure() -> None:
    """Servers end idle connections when they like: the request is sent again, at once."""

    def answer() -> Iterable[bytes]:
        return [b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"]

    with raw_server(answer) as authority, make_client(attempts=1) as client:
        for _ in range(5):
            client.check_login(authority)
