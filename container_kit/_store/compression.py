"""Compressed streams of hostile origin: what they inflate to comes in pieces and is bounded.

gzip (RFC 1952; several members are one stream), zstd (RFC 8878; several frames, also skippable ones), and
for archives bzip2 and xz. A stream that is cut short or followed by anything else is an error: what
lenient tools skip, strict ones read (parser differentials), and a digest must mean one tree.
No piece is larger than what was asked for by more than a block, so a bomb costs no memory; budgets end it.

The only module that knows zstandard and isal.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Protocol, cast

import attrs

from container_kit._store.inflate import (
    LARGEST_PIECE,
    LARGEST_WINDOW,
    Frame,
    Member,
    Members,
    Plain,
    Read,
    Source,
    ZstdFrames,
    is_skippable,
)
from container_kit.errors import UnsafeArchiveError

_XZ_MEMORY = 256 << 20
_ZSTD_LEVEL = 3
_GZIP_LEVEL = 6

_MAGIC = ((b"\x1f\x8b", "gzip"), (b"\x28\xb5\x2f\xfd", "zstd"), (b"BZh", "bzip2"), (b"\xfd7zXZ\x00", "xz"))


@attrs.frozen(kw_only=True)
class Limits:
    """What a compressed stream may become before it is taken for a bomb.

    Attributes:
        bytes: the most bytes.
        entries: the most files, directories and so on in an archive.
        ratio: the most bytes for each compressed byte, once there are more than `ratio_from` bytes.
    """

    bytes: int = 64 << 30
    entries: int = 5_000_000
    ratio: int = 1000
    ratio_from: int = 1 << 30


DEFAULT_LIMITS = Limits()


def sniff(beginning: bytes) -> str:
    """Return what the first 6 or more bytes of a stream say it is: gzip, zstd, bzip2, xz or none."""
    for magic, name in _MAGIC:
        if beginning.startswith(magic):
            return name
    return "zstd" if is_skippable(beginning) else "none"


class Decompressed:
    """A reader of what a compressed stream inflates to. For one thread.

    Attributes:
        consumed, produced: bytes so far, before and after.
    """

    def __init__(self, steps: _Steps, what: str, limits: Limits) -> None:
        self.produced = 0
        self._steps = steps
        self._what = what
        self._limits = limits

    @property
    def consumed(self) -> int:
        """Compressed bytes read so far."""
        return self._steps.source.total

    def read(self, size: int = LARGEST_PIECE) -> bytes:
        """Return some bytes, up to `size` where the format allows and never more than 1 MiB; empty at the end.

        Raises:
            UnsafeArchiveError: the stream is malformed, cut short, followed by something else, or a bomb.
        """
        piece = self._steps.step(min(size, LARGEST_PIECE))
        self.produced += len(piece)
        if self.produced > self._limits.bytes:
            raise UnsafeArchiveError(image=self._what, reason=f"it inflates to more than {self._limits.bytes} bytes")
        if self.produced > self._limits.ratio_from and self.produced > self._limits.ratio * self.consumed:
            raise UnsafeArchiveError(image=self._what, reason=f"it inflates more than {self._limits.ratio} times")
        return piece


def open_decompressed(
    compression: str, read: Read, *, what: str = "layer", limits: Limits = DEFAULT_LIMITS
) -> Decompressed:
    """Return a reader of what a stream inflates to.

    Args:
        compression: none, gzip, zstd, bzip2 or xz.
        read: returns up to so many bytes of the stream, nothing at its end; its errors pass through.
        what: names the stream in errors.
        limits: what it may become.
    """
    source = Source(read, what)
    steps: _Steps
    match compression:
        case "none":
            steps = Plain(source)
        case "zstd":
            steps = _zstd_frames(source)
        case "gzip" | "bzip2" | "xz":
            steps = Members(source, _MEMBERS[compression])
        case _:
            raise UnsafeArchiveError(image=what, reason=f"there is no compression {compression!r}")
    return Decompressed(steps, what, limits)


class _Steps(Protocol):
    """One format: returns the next bytes, at least one unless the stream has ended."""

    source: Source

    def step(self, size: int, /) -> bytes: ...


# ── what inflates ────────────────────────────────────────────────────────────────────────────────


class _Zlib:
    """A gzip member by zlib, in the form of the other modules."""

    def __init__(self) -> None:
        import zlib

        self._inner = zlib.decompressobj(wbits=31)
        self._kept = b""

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def needs_input(self) -> bool:
        return not self._kept and not self._inner.eof

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    def decompress(self, data: bytes, max_length: int = -1, /) -> bytes:
        piece = self._inner.decompress(self._kept + data if self._kept else data, max_length)
        self._kept = self._inner.unconsumed_tail
        return piece


def _gzip_member() -> Member:
    try:
        from isal import igzip_lib
    except ImportError:
        return cast("Member", _Zlib())
    return cast("Member", igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP))


def _bzip2_member() -> Member:
    import bz2

    return bz2.BZ2Decompressor()


def _xz_member() -> Member:
    import lzma

    return lzma.LZMADecompressor(format=lzma.FORMAT_XZ, memlimit=_XZ_MEMORY)


_MEMBERS: dict[str, Callable[[], Member]] = {"gzip": _gzip_member, "bzip2": _bzip2_member, "xz": _xz_member}


def _zstd_frames(source: Source) -> ZstdFrames:
    import zstandard

    decompressor = zstandard.ZstdDecompressor(max_window_size=LARGEST_WINDOW)

    def open_frame(header: bytes) -> Frame:
        try:
            window = zstandard.get_frame_parameters(header).window_size
        except zstandard.ZstdError as err:
            raise ValueError(f"is damaged: {err}") from err
        if window > LARGEST_WINDOW:
            raise ValueError(f"wants a window of {window} bytes, at most {LARGEST_WINDOW} are allowed")
        return decompressor.decompressobj()

    return ZstdFrames(source, open_frame, zstandard.ZstdError)


# ── compressing ──────────────────────────────────────────────────────────────────────────────────


class Compressor:
    """A writer whose output goes to a function. For one thread; `close` writes the end."""

    def __init__(self, write: Callable[[bytes], object], inner: _Deflate) -> None:
        self._write = write
        self._inner = inner
        self._is_closed = False

    def write(self, data: bytes) -> None:
        """Compress some bytes."""
        self._pass(self._inner.compress(data))

    def close(self) -> None:
        """Write what is left. Idempotent."""
        if not self._is_closed:
            self._is_closed = True
            self._pass(self._inner.flush())

    def _pass(self, piece: bytes) -> None:
        if piece:
            self._write(piece)


class _Deflate(Protocol):
    def compress(self, data: bytes, /) -> bytes: ...
    def flush(self) -> bytes: ...


class _Copy:
    def compress(self, data: bytes, /) -> bytes:
        return data

    def flush(self) -> bytes:
        return b""


def open_compressed(compression: str, write: Callable[[bytes], object]) -> Compressor:
    """Return a compressor; the same input gives the same output, whatever pieces it comes in.

    Args:
        compression: none, gzip (mtime 0) or zstd (level 3).
        write: gets the compressed bytes.
    """
    match compression:
        case "none":
            return Compressor(write, _Copy())
        case "gzip":
            import zlib  # not isal, which may be missing: the bytes would depend on it

            return Compressor(write, zlib.compressobj(_GZIP_LEVEL, zlib.DEFLATED, 31))
        case "zstd":
            import zstandard

            # threads: any number but 0 gives the same bytes.
            threads = min(4, len(os.sched_getaffinity(0)))
            inner = zstandard.ZstdCompressor(level=_ZSTD_LEVEL, write_checksum=True, threads=threads)
            return Compressor(write, inner.compressobj())
        case _:
            raise ValueError(compression)
