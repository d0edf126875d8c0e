"""Fields as bytes, compared with bytes written by hand from the comment in ckit.h."""

from __future__ import annotations

import struct
import sys

import pytest

from container_kit._plan import wire
from container_kit._plan.ops import Uid

LITTLE = sys.byteorder == "little"
pytestmark = pytest.mark.skipif(not LITTLE, reason="the bytes below are little-endian")


@pytest.mark.parametrize(
    ("text", "packed"),
    [
        ("", b"\0\0\0\0" + b"\0\0\0\0"),
        ("a", b"\x01\0\0\0" + b"a\0\0\0"),
        ("abc", b"\x03\0\0\0" + b"abc\0"),
        ("abcd", b"\x04\0\0\0" + b"abcd\0\0\0\0"),
        ("ä", b"\x02\0\0\0" + b"\xc3\xa4\0\0"),
        ("\udcff", b"\x01\0\0\0" + b"\xff\0\0\0"),
    ],
)
def test_text_has_a_length_and_ends_in_zeros_up_to_four(text: str, packed: bytes) -> None:
    """C can use a text in place: there is always at least one NUL, and the next field is aligned."""
    assert packed == wire.pack_text(text)


def test_text_longer_than_a_page_is_packed_the_same_way() -> None:
    """Long texts take another way through the code than short ones."""
    text = "x" * 5000

    packed = wire.pack_text(text)

    assert (5000).to_bytes(4, "little") + text.encode() + bytes(4) == packed


@pytest.mark.parametrize("text", ["a\0b", "\0", "x" * 300 + "\0"])
def test_text_with_a_nul_is_refused(text: str) -> None:
    """C would see a shorter text than was checked."""
    with pytest.raises(ValueError, match="NUL"):
        wire.pack_text(text)


def test_bytes_may_hold_nuls() -> None:
    """Contents of files and filters are bytes, not text."""
    assert b"\x02\0\0\0" + b"\0\0" + b"\0\0" == wire.pack_bytes(b"\0\0")


def test_strings_are_a_count_and_texts() -> None:
    """An empty list is just a zero."""
    assert bytes(4) == wire.pack_strings(())
    assert b"\x02\0\0\0" + b"\x01\0\0\0a\0\0\0" + bytes(8) == wire.pack_strings(("a", ""))


@pytest.mark.parametrize("number", [-1, 2**32])
def test_number_that_does_not_fit_is_refused(number: int) -> None:
    """A number never wraps around: uid 2**32 would be root."""
    with pytest.raises(struct.error):
        wire.pack_record(Uid(uid=number))


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"", "u"),
        (b"\0\0\0", "u"),
        (b"\0\0\0\0", "U"),
        (b"\x05\0\0\0abcd", "p"),
        (b"\x01\0\0\0a\0\0", "b"),
        (b"\x01\0\0\0a\0\0\x01", "b"),
        (b"\x01\0\0\0\0\0\0\0", "p"),
        (b"\xff\xff\xff\xff", "S"),
        (b"\0\0\0\0", "?"),
    ],
)
def test_reader_refuses_what_cannot_be(data: bytes, kind: str) -> None:
    """Truncated fields, padding that is not zero, NUL in text, unknown kinds."""
    with pytest.raises(ValueError, match=r"wanted|padding|NUL|kind"):
        wire.Reader(data).take(kind)
