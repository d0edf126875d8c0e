"""How compressed streams are taken apart: members and frames, one after the other, in bounded pieces.

Knows the formats' outer structure (RFC 1952, RFC 8878); what inflates is handed in by `compression`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

from container_kit.errors import UnsafeArchiveError

Read = Callable[[int], bytes]

LARGEST_PIECE: Final = 1 << 20
LARGEST_WINDOW: Final = 128 << 20  # of zstd --long=27; RFC 8878 asks 8 MiB of a decoder
MOST_BARREN: Final = 10_000  # empty members, frames, groups of blocks in a row: they take time all the same
_INPUT = 256 << 10
_FIRST_INPUT = 4 << 10
_LARGEST_BLOCK = 128 << 10
_BLOCKS = LARGEST_PIECE // _LARGEST_BLOCK
_RLE, _RESERVED = 1, 3
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"


class Source:
    """The compressed side: hands out what was read, counts it, and takes back what was not used."""

    def __init__(self, read: Read, what: str) -> None:
        self.total = 0
        self._read = read
        self._what = what
        self._data = memoryview(b"")
        self._at = 0

    def is_at_end(self) -> bool:
        """Say whether there is nothing more; waits for the next bytes."""
        if self._at == len(self._data):
            piece = self._read(_INPUT)
            self.total += len(piece)
            self._data, self._at = memoryview(piece), 0
        return not self._data

    def some(self, size: int = _INPUT) -> memoryview:
        """Return what is there, up to `size`; empty at the end."""
        if self.is_at_end():
            return self._data
        found = self._data[self._at : self._at + size]
        self._at += len(found)
        return found

    def give_back(self, size: int) -> None:
        """Take back the last `size` bytes of what `some` returned just before."""
        assert size <= self._at
        self._at -= size

    def exactly(self, size: int) -> bytes:
        """Return `size` bytes.

        Raises:
            UnsafeArchiveError: the stream ends before.
        """
        parts: list[memoryview] = []
        while size:
            part = self.some(size)
            if not part:
                raise self.wrong("is cut short")
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    def wrong(self, reason: str) -> UnsafeArchiveError:
        """Return the error to raise."""
        return UnsafeArchiveError(image=self._what, reason=f"its compressed stream {reason}")


class Plain:
    """What is not compressed."""

    def __init__(self, source: Source) -> None:
        self.source = source

    def step(self, size: int) -> bytes:
        """Return the next bytes."""
        return bytes(self.source.some(size))


class Member(Protocol):
    """One member of a stream: what bz2, lzma and isal have in common."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = ..., /) -> bytes: ...


class Members:
    """gzip, bzip2 or xz: members that follow each other make one stream."""

    def __init__(self, source: Source, open_member: Callable[[], Member]) -> None:
        self.source = source
        self._open = open_member
        self._member: Member | None = None
        self._count = 0
        self._feed = _FIRST_INPUT

    def step(self, size: int) -> bytes:
        """Return the next bytes, up to `size`; nothing at the end."""
        barren = 0
        while barren < MOST_BARREN:
            if self._member is None:
                if self._count and self.source.is_at_end():
                    return b""
                self._member = self._open()
                self._count += 1
                self._feed = _FIRST_INPUT  # little at first: many empty members must not cost much
            member = self._member
            piece = self._inflate(member, size)
            if member.eof:
                self.source.give_back(len(member.unused_data))
                self._member = None
                barren += 1
            if piece:
                return piece
        raise self.source.wrong("goes on and on without holding anything")

    def _inflate(self, member: Member, size: int) -> bytes:
        data = b""
        if member.needs_input:
            data = bytes(self.source.some(self._feed))
            if not data:
                raise self.source.wrong("is cut short")
        is_first_input, self._feed = self._feed == _FIRST_INPUT, _INPUT
        try:
            return member.decompress(data, size)
        except Exception as err:  # each module has its own: zlib.error, IsalError, OSError, LZMAError
            if self._count > 1 and is_first_input:
                raise self.source.wrong(f"is followed by something else: {err}") from err
            raise self.source.wrong(f"is damaged: {err}") from err


class Frame(Protocol):
    """One zstd frame that is being inflated."""

    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, /) -> bytes: ...


class ZstdFrames:
    """zstd: walks the blocks, so that each step inflates few of them. A block is at most 128 KiB inflated.

    The library alone inflates what it is given at once, whatever that becomes, and does not say
    that a stream ended in the middle of a frame.

    Args:
        source: the stream.
        open_frame: makes what inflates a frame; raises ValueError for a header that it refuses.
        error: what inflating raises.
    """

    def __init__(self, source: Source, open_frame: Callable[[bytes], Frame], error: type[Exception]) -> None:
        self.source = source
        self._open = open_frame
        self._error = error
        self._frame: Frame | None = None
        self._has_checksum = False
        self._was_last = False
        self._is_first = True

    def step(self, _size: int) -> bytes:
        """Return the next bytes, at most 1 MiB; nothing at the end."""
        for _ in range(MOST_BARREN):
            if self._frame is None:
                if not self._is_first and self.source.is_at_end():
                    return b""
                piece = self._begin()
            else:
                piece = self._inflate(self._frame, self._blocks())
            if piece:
                return piece
        raise self.source.wrong("goes on and on without holding anything")

    def _begin(self) -> bytes:
        """Read a frame's header (RFC 8878, 3.1.1), or a whole skippable frame."""
        magic = self.source.exactly(4)
        if is_skippable(magic):
            self._is_first = False
            self._skip(int.from_bytes(self.source.exactly(4), "little"))
            return b""
        if magic != _ZSTD_MAGIC:
            raise self.source.wrong("is not zstd" if self._is_first else "is followed by something else")
        self._is_first = False
        descriptor = self.source.exactly(1)
        is_single = bool(descriptor[0] & 0x20)
        content_bytes = (int(is_single), 2, 4, 8)[descriptor[0] >> 6]
        rest = self.source.exactly((not is_single) + (0, 1, 2, 4)[descriptor[0] & 3] + content_bytes)
        self._has_checksum = bool(descriptor[0] & 0x04)
        self._was_last = False
        header = magic + descriptor + rest
        try:
            self._frame = self._open(header)
        except ValueError as err:
            raise self.source.wrong(str(err)) from err
        return self._inflate(self._frame, header)

    def _blocks(self) -> bytes:
        """Read some whole blocks (RFC 8878, 3.1.1.2), and the checksum after the last one."""
        parts: list[bytes] = []
        for _ in range(_BLOCKS):
            header = self.source.exactly(3)
            number = int.from_bytes(header, "little")
            kind, size = number >> 1 & 3, number >> 3
            if kind == _RESERVED or size > _LARGEST_BLOCK:
                raise self.source.wrong("is damaged: a block of an impossible type or size")
            parts += (header, self.source.exactly(1 if kind == _RLE else size))
            if number & 1:
                self._was_last = True
                if self._has_checksum:
                    parts.append(self.source.exactly(4))
                break
        return b"".join(parts)

    def _inflate(self, frame: Frame, data: bytes) -> bytes:
        try:
            piece = frame.decompress(data)
        except self._error as err:
            raise self.source.wrong(f"is damaged: {err}") from err
        if self._was_last:
            if not frame.eof or frame.unused_data:
                raise self.source.wrong("is damaged: a frame does not end where its blocks do")
            self._frame = None
            self._was_last = False
        return piece

    def _skip(self, size: int) -> None:
        while size:
            piece = self.source.some(min(size, _INPUT))
            if not piece:
                raise self.source.wrong("is cut short")
            size -= len(piece)


def is_skippable(beginning: bytes) -> bool:
    """Say whether a zstd stream begins with a frame that holds no data (RFC 8878, 3.1.2)."""
    return len(beginning) >= 4 and beginning[1:4] == b"\x2a\x4d\x18" and beginning[0] & 0xF0 == 0x50
