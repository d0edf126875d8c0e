"""Compressed streams: what lenient tools accept differently is refused, and nothing costs more than it may."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import random
import sys
import time
import tracemalloc
from collections.abc import Callable

import pytest
import zstandard

from container_kit._store import compression as under_test
from container_kit._store.compression import Limits, open_compressed, open_decompressed, sniff
from container_kit.errors import UnsafeArchiveError

FORMATS = ("gzip", "zstd", "bzip2", "xz")
DATA = random.Random(1).randbytes(700_000) + b"x" * 900_000 + b"some text, " * 50_000
SKIPPABLE = b"\x5a\x2a\x4d\x18" + (10).to_bytes(4, "little") + b"0123456789"

_COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "none": lambda data: data,
    "gzip": lambda data: gzip.compress(data, 6),
    "zstd": lambda data: zstandard.ZstdCompressor(write_checksum=True).compress(data),
    "bzip2": bz2.compress,
    "xz": lzma.compress,
}


def inflate(stream: bytes, name: str, *, piece: int = 1 << 20, limits: Limits | None = None) -> bytes:
    """Return what a stream inflates to, its source giving pieces of at most `piece` bytes."""
    source = io.BytesIO(stream)
    reader = open_decompressed(name, lambda size: source.read(min(size, piece)), limits=limits or Limits())
    return b"".join(iter(reader.read, b""))


def deflate(data: bytes, name: str, piece: int) -> bytes:
    """Return a compressed stream that was written in pieces."""
    parts: list[bytes] = []
    compressor = open_compressed(name, parts.append)
    for start in range(0, len(data), piece):
        compressor.write(data[start : start + piece])
    compressor.close()
    compressor.close()
    return b"".join(parts)


@pytest.mark.parametrize("piece", [1, 7, 4096, 1 << 20])
@pytest.mark.parametrize("name", ["none", *FORMATS])
def test_every_format_inflates_to_what_it_was(name: str, piece: int) -> None:
    """However the source cuts the stream."""
    data = DATA if piece > 7 else DATA[600_000:710_000]

    assert data == inflate(_COMPRESS[name](data), name, piece=piece)


@pytest.mark.parametrize("name", FORMATS)
def test_no_data_is_data(name: str) -> None:
    """A compressed nothing is a stream; nothing at all is none."""
    assert b"" == inflate(_COMPRESS[name](b""), name)
    with pytest.raises(UnsafeArchiveError, match="cut short"):
        inflate(b"", name)


@pytest.mark.parametrize("name", FORMATS)
def test_members_that_follow_each_other_are_one_stream(name: str) -> None:
    """As `cat a.gz b.gz` makes them, and parallel compressors."""
    parts = [DATA[:1000], b"", DATA[1000:900_000], b"end"]

    stream = b"".join(map(_COMPRESS[name], parts))

    assert b"".join(parts) == inflate(stream, name)
    assert b"".join(parts) == inflate(stream, name, piece=1000)


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("size", [1, 2, 3, 512, 100_000])
def test_what_follows_the_stream_is_refused(name: str, size: int) -> None:
    """Whatever it is: a second tool may read it."""
    for trailing in (b"\0" * size, b"garbage!" * size):
        with pytest.raises(UnsafeArchiveError):
            inflate(_COMPRESS[name](DATA[:5000]) + trailing[:size], name)


@pytest.mark.parametrize("name", FORMATS)
def test_a_stream_that_is_cut_is_refused(name: str) -> None:
    """Wherever it is cut, also inside headers, checksums, and the last block."""
    stream = _COMPRESS[name](b"0123456789" * 100)
    for end in range(len(stream)):
        with pytest.raises(UnsafeArchiveError):
            inflate(stream[:end], name)
    long = _COMPRESS[name](DATA)
    for end in (len(long) - 1, len(long) - 5, len(long) // 2):
        with pytest.raises(UnsafeArchiveError):
            inflate(long[:end], name)


@pytest.mark.parametrize("name", FORMATS)
def test_damage_gives_the_typed_error(name: str) -> None:
    """Damage gives the typed error, or the same data where a byte has no meaning; nothing else escapes."""
    data = b"some text that repeats, " * 40
    stream = _COMPRESS[name](data)
    for place in range(len(stream)):
        broken = bytearray(stream)
        broken[place] ^= 0x55
        try:
            assert data == inflate(bytes(broken), name)
        except UnsafeArchiveError:
            pass


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("other", ["none", *FORMATS])
def test_another_format_is_refused(name: str, other: str) -> None:
    """The media type says what it is; nothing is guessed."""
    if name != other:
        with pytest.raises(UnsafeArchiveError):
            inflate(_COMPRESS[other](DATA[:3000]), name)


def test_zlib_does_what_isal_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the extra everything works the same."""
    monkeypatch.setitem(sys.modules, "isal", None)
    parts = [DATA, b"", b"end"]
    stream = b"".join(map(_COMPRESS["gzip"], parts))

    assert b"".join(parts) == inflate(stream, "gzip", piece=50_000)
    for broken in (stream[:-1], stream + b"\0", stream + b"\x1f\x8b", b"x" + stream, b""):
        with pytest.raises(UnsafeArchiveError):
            inflate(broken, "gzip")


def test_skippable_frames_are_skipped() -> None:
    """zstd:chunked puts a table of contents into one, at the end."""
    stream = SKIPPABLE + _COMPRESS["zstd"](DATA) + SKIPPABLE

    assert DATA == inflate(stream, "zstd", piece=1000)
    assert b"" == inflate(SKIPPABLE, "zstd")
    with pytest.raises(UnsafeArchiveError, match="cut short"):
        inflate(stream[:-1], "zstd")


def test_frames_of_every_kind_are_read() -> None:
    """With and without sizes, checksums, single segments; raw, repeated and compressed blocks; long windows."""
    for parameters in (
        zstandard.ZstdCompressionParameters(window_log=27, enable_ldm=True),
        zstandard.ZstdCompressionParameters(window_log=10),
        zstandard.ZstdCompressionParameters(write_content_size=False, write_checksum=True),
        zstandard.ZstdCompressionParameters(threads=2, job_size=1 << 20),
    ):
        compressor = zstandard.ZstdCompressor(compression_params=parameters)
        for data in (b"", b"a", b"a" * 300, b"a" * 1_000_000, DATA[:200_000], DATA):
            whole = compressor.compress(data)
            parts = compressor.compressobj()
            streamed = parts.compress(data) + parts.flush()
            assert data == inflate(whole, "zstd")
            assert data == inflate(streamed, "zstd")


def test_a_window_that_is_too_large_is_refused() -> None:
    """Before any memory is taken: the header says 2 GiB."""
    header = b"\x28\xb5\x2f\xfd" + bytes([0x00, (31 - 10) << 3])

    with pytest.raises(UnsafeArchiveError, match="window"):
        inflate(header + b"\x01\x00\x00", "zstd")


def test_a_frame_that_claims_a_terabyte_is_refused() -> None:
    """A single segment's window is its size."""
    header = b"\x28\xb5\x2f\xfd" + bytes([0xE0]) + (1 << 40).to_bytes(8, "little")

    with pytest.raises(UnsafeArchiveError, match="window"):
        inflate(header + b"\x01\x00\x00", "zstd")


@pytest.mark.parametrize("name", ["gzip", "zstd", "bzip2", "xz"])
def test_a_bomb_costs_no_memory_and_ends(name: str) -> None:
    """Pieces stay small whatever they inflate to, and the budget ends it."""
    stream = _COMPRESS[name](b"\0" * (64 << 20))
    limits = Limits(bytes=48 << 20)
    source = io.BytesIO(stream)
    reader = open_decompressed(name, source.read, limits=limits)

    tracemalloc.start()
    try:
        sizes: list[int] = []
        with pytest.raises(UnsafeArchiveError, match="more than"):
            sizes.extend(len(piece) for piece in iter(reader.read, b""))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert max(sizes) <= 1 << 20
    assert peak < 16 << 20  # xz has a dictionary of 8 MiB
    assert reader.produced <= limits.bytes + (1 << 20)


def test_the_ratio_ends_a_bomb_early() -> None:
    """A small blob does not get all of the byte budget."""
    stream = b"".join([_COMPRESS["zstd"](b"\0" * (16 << 20))] * 4)

    with pytest.raises(UnsafeArchiveError, match="times"):
        inflate(stream, "zstd", limits=Limits(ratio=1000, ratio_from=32 << 20))


# What holds nothing: members, frames, skippable frames, blocks of a frame that does not end.
EMPTY = {
    "gzip": ("gzip", b"", gzip.compress(b"")),
    "bzip2": ("bzip2", b"", bz2.compress(b"")),
    "xz": ("xz", b"", lzma.compress(b"")),
    "frames": ("zstd", b"", zstandard.ZstdCompressor().compress(b"")),
    "skippable frames": ("zstd", b"", SKIPPABLE),
    "blocks": ("zstd", b"\x28\xb5\x2f\xfd\x00\x58", bytes(3)),
}


@pytest.mark.parametrize("kind", EMPTY)
def test_a_stream_of_nothing_ends_in_bounded_time(kind: str) -> None:
    """A second for each few MB of it, in which nothing is heard of any cancellation."""
    name, beginning, part = EMPTY[kind]
    started = time.process_time()

    with pytest.raises(UnsafeArchiveError, match="without holding"):
        inflate(beginning + part * 200_000, name)

    assert time.process_time() - started < 4.0


def test_some_empty_members_are_fine() -> None:
    """Tools that append write them, and so do those that compress in parallel; a source may give single bytes."""
    stream = gzip.compress(b"") * 100 + gzip.compress(b"x") + gzip.compress(b"") * 100

    assert b"x" == inflate(stream, "gzip")
    assert b"x" == inflate(stream, "gzip", piece=1)


@pytest.mark.parametrize("name", ["none", "gzip", "zstd"])
def test_compressing_is_deterministic(name: str) -> None:
    """The same input gives the same bytes, whatever pieces it came in."""
    one, other = deflate(DATA, name, 1000), deflate(DATA, name, 1 << 20)

    assert one == other
    assert DATA == inflate(one, name)


def test_zstd_bytes_do_not_depend_on_the_number_of_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else an image would have another digest on another machine."""
    data = DATA * 12
    processors = {0}

    def affinity(_pid: int) -> set[int]:
        return processors

    monkeypatch.setattr(os, "sched_getaffinity", affinity)
    one = deflate(data, "zstd", 1 << 20)
    processors = set(range(64))

    assert one == deflate(data, "zstd", 1 << 20)


@pytest.mark.parametrize("name", ["none", *FORMATS])
def test_sniffing_names_what_it_sees(name: str) -> None:
    """By the first bytes."""
    assert name == sniff(_COMPRESS[name](b"some text")[:16])
    assert "zstd" == sniff(SKIPPABLE[:4])
    assert "none" == sniff(b"")


def test_an_unknown_compression_is_refused() -> None:
    """A media type that we do not know never gets here; a caller's mistake is an error of ours."""
    with pytest.raises(UnsafeArchiveError, match="lz4"):
        open_decompressed("lz4", io.BytesIO().read)


def test_the_extra_is_found() -> None:
    """The development environment has isal: what is tested above is tested with it."""
    assert "igzip_lib" == type(under_test._gzip_member()).__module__
