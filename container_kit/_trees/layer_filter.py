"""Leave entries out of a tar stream that our own worker packs, byte for byte the same otherwise.

Only for what `FileWorker.pack` writes: ustar headers, each perhaps after one pax header (pax(1)),
sizes in octal or in the pax header. What is left out has no content and nothing refers to it.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from typing import BinaryIO, Protocol

from container_kit.errors import UnsafeArchiveError

_BLOCK = 512
_CHUNK = 1 << 20
_EXTENDED = b"x"


class _Sink(Protocol):
    def write(self, data: bytes, /) -> object: ...


def drop_entries(source: BinaryIO, sink: _Sink, names: AbstractSet[bytes]) -> None:
    """Copy an archive without some of its entries.

    Args:
        source: the archive.
        sink: where the rest goes.
        names: what to leave out, as in the archive but without slashes at the ends.

    Raises:
        UnsafeArchiveError: it is not such an archive.
    """
    held = b""
    fields: dict[bytes, bytes] = {}
    while True:
        header = _read(source, _BLOCK)
        if not any(header):
            sink.write(header)
            _copy(source, sink, None)
            return
        size = int(fields[b"size"]) if b"size" in fields else _octal(header[124:136])
        if header[156:157] == _EXTENDED:
            body = _read(source, _padded(size))
            fields = _pax_fields(body[:size])
            held = header + body
            continue
        if _name_of(header, fields).strip(b"/") not in names:
            sink.write(held + header)
            _copy(source, sink, _padded(size))
        elif size:
            raise UnsafeArchiveError(image="layer", reason="an entry to be left out has content")
        held, fields = b"", {}


def _name_of(header: bytes, fields: dict[bytes, bytes]) -> bytes:
    if b"path" in fields:
        return fields[b"path"]
    name, prefix = header[:100].split(b"\0", 1)[0], header[345:500].split(b"\0", 1)[0]
    return b"/".join((prefix, name)) if prefix else name


def _pax_fields(body: bytes) -> dict[bytes, bytes]:
    fields: dict[bytes, bytes] = {}
    while body:
        length, _, _ = body.partition(b" ")
        record, body = body[: int(length)], body[int(length) :]
        key, _, value = record[len(length) + 1 : -1].partition(b"=")
        fields[key] = value
    return fields


def _octal(digits: bytes) -> int:
    return int(digits.strip(b"\0 ") or b"0", 8)


def _padded(size: int) -> int:
    return -(-size // _BLOCK) * _BLOCK


def _read(source: BinaryIO, size: int) -> bytes:
    data = source.read(size)
    if len(data) != size:
        raise UnsafeArchiveError(image="layer", reason="the archive ends too early")
    return data


def _copy(source: BinaryIO, sink: _Sink, size: int | None) -> None:
    while size is None or size:
        data = source.read(_CHUNK if size is None else min(size, _CHUNK))
        if not data:
            if size is None:
                return
            raise UnsafeArchiveError(image="layer", reason="the archive ends too early")
        sink.write(data)
        size = None if size is None else size - len(data)
