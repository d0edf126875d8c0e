"""Entries are left out of an archive, and nothing else changes."""

from __future__ import annotations

import io
import tarfile

import pytest

from container_kit._trees.layer_filter import drop_entries
from container_kit.errors import UnsafeArchiveError

LONG = "deep/" * 40 + "name"


def archive(*names: str, content: bytes = b"") -> bytes:
    """Return a pax archive; directories end with a slash."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name in names:
            entry = tarfile.TarInfo(name.rstrip("/"))
            entry.type = tarfile.DIRTYPE if name.endswith("/") else tarfile.REGTYPE
            entry.size = len(content) if not name.endswith("/") else 0
            entry.mtime = 1.5
            tar.addfile(entry, io.BytesIO(content))
    return file.getvalue()


def names_in(data: bytes) -> list[str]:
    """Return the names in an archive."""
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return tar.getnames()


def filtered(data: bytes, *names: str) -> bytes:
    """Return an archive without these."""
    sink = io.BytesIO()
    drop_entries(io.BytesIO(data), sink, {name.encode() for name in names})
    return sink.getvalue()


def test_named_entries_are_left_out_with_their_extended_headers() -> None:
    """Also one whose name only fits into a pax header."""
    data = archive("etc/", "etc/hosts", LONG, "usr/")

    assert ["etc", "usr"] == names_in(filtered(data, "etc/hosts", LONG))


def test_nothing_else_changes() -> None:
    """Byte for byte, contents included."""
    data = archive("a", LONG, "b/", "c", content=bytes(range(256)) * 5)

    assert data == filtered(data, "absent")


def test_what_has_content_is_not_left_out() -> None:
    """That would be a mistake of ours: it is said, not hidden."""
    with pytest.raises(UnsafeArchiveError):
        filtered(archive("etc/hosts", content=b"127.0.0.1"), "etc/hosts")


def test_an_archive_that_ends_too_early_is_an_error() -> None:
    """In the middle of a file, and before the end marker."""
    for size in (700, 1300):
        with pytest.raises(UnsafeArchiveError):
            filtered(archive("a", "b", content=bytes(600))[: size + 0], "x")
