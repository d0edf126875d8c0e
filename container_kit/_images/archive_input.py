"""Reads what somebody hands in, compressed or not, from wherever it comes: a file, a pipe, an object that reads."""

from __future__ import annotations

from io import FileIO
from typing import BinaryIO

from container_kit._images.compression import Decompressed, open_decompressed, sniff

BEGINNING = 16  # bytes; enough to tell the compression


def open_any(source: BinaryIO | FileIO, *, what: str) -> Decompressed:
    """Return a reader of what a file inflates to; its beginning tells the compression.

    Args:
        source: a binary file, read from where it is to its end. It need not be able to seek.
        what: what errors call it.
    """
    pieces: list[bytes] = []
    # A pipe may give less than it was asked for.
    while sum(map(len, pieces)) < BEGINNING and (piece := source.read(BEGINNING)):
        pieces.append(piece)
    compression = sniff(b"".join(pieces))
    pieces.reverse()

    def read(size: int) -> bytes:
        return pieces.pop() if pieces else source.read(size) or b""

    return open_decompressed(compression, read, what=what)
