"""Reads what somebody hands in, compressed or not, from wherever it comes: a file, a pipe, an object that reads."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from io import FileIO
from typing import BinaryIO

from container_kit._store.compression import Decompressed, open_decompressed, sniff
from container_kit._store.durable import storage_errors

BEGINNING = 16  # bytes; enough to tell the compression


@contextmanager
def open_source(source: str | BinaryIO) -> Generator[BinaryIO | FileIO, None, None]:
    """Give a file to read: the caller's, which stays open, or the one at a path.

    Raises:
        HostError: it cannot be opened.
    """
    if not isinstance(source, str):
        yield source
        return
    with storage_errors(source, f"cannot read {source}"):
        file = open(source, "rb", buffering=0)  # noqa: SIM115  # closed by the next line
    with file:
        yield file


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
