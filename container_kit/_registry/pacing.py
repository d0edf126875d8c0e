"""Keeping servers to a pace: bytes must come, and most of them must be content.

A timeout between bytes is not enough: one byte now and then keeps it from passing, and http.client reads headers,
1xx answers and trailers for as long as they come. So what the socket gives is measured where it is read. Headers
and documents, which are small, must also be there as a whole after some time; blobs may take as long as they need.
"""

from __future__ import annotations

import http.client
import io
import socket
import threading

import attrs

from container_kit._registry.retrying import Patience

_LEAST_RATE = 64  # bytes per second; who sends less sends nothing
_MOST_BESIDE = 1 << 20  # bytes of headers and the like
_BESIDE_RATIO = 8  # bytes on the wire for one of content: chunks of one byte have six


@attrs.define(kw_only=True)
class Pace:
    """What came for one answer. Only time spent waiting counts: who reads slowly is not stalled by the server."""

    patience: Patience
    content_bytes: int = 0
    is_document: bool = True
    _wire_bytes: int = 0
    _waited: float = 0.0
    _waited_in_all: float = 0.0
    _came: int = 0

    def note(self, count: int, waited: float) -> None:
        """Note bytes from the wire and the seconds spent waiting for them.

        Raises:
            TimeoutError: Next to nothing came in `stall_timeout`, or not all of a document in `document_timeout`.
            http.client.HTTPException: Headers or trailers without end.
        """
        self._wire_bytes += count
        if self._wire_bytes > _MOST_BESIDE + _BESIDE_RATIO * self.content_bytes:
            raise http.client.HTTPException("headers without end")
        self._came += count
        self._waited += waited
        self._waited_in_all += waited
        if self.is_document and self._waited_in_all > self.patience.document_timeout:
            raise TimeoutError(f"after {self._waited_in_all:.0f} s not all of its answer is there")
        if self._waited < self.patience.stall_timeout:
            return
        if count and self._came < _LEAST_RATE * self._waited:
            raise TimeoutError(f"only {self._came} bytes came in {self._waited:.0f} s")
        self._came, self._waited = 0, 0.0


class Paces(threading.local):
    """The pace of the request that this thread is sending."""

    pace: Pace | None = None


def paced_response_class(paces: Paces) -> type[http.client.HTTPResponse]:
    """Return a class of answers that take the pace of the request they belong to."""

    class PacedResponse(http.client.HTTPResponse):
        def __init__(
            self, sock: socket.socket, debuglevel: int = 0, method: str | None = None, url: str | None = None
        ) -> None:
            super().__init__(sock, debuglevel, method, url)
            if paces.pace is not None:
                self.fp = io.BufferedReader(_PacedSocket(self.fp, paces.pace))

    return PacedResponse


class _PacedSocket(io.RawIOBase):
    """Reads a socket's file and notes what comes."""

    def __init__(self, file: io.BufferedReader, pace: Pace) -> None:
        super().__init__()
        self._raw = file.detach()
        self._pace = pace

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int | None:  # type: ignore[override]  # what BufferedReader gives
        began = self._pace.patience.monotonic()
        count = self._raw.readinto(buffer)
        self._pace.note(count or 0, self._pace.patience.monotonic() - began)
        return count

    def close(self) -> None:
        try:
            self._raw.close()
        finally:
            super().close()
