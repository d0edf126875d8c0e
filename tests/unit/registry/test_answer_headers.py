"""Headers of answers: ranges, links, times to wait."""

from __future__ import annotations

import pytest

from container_kit._registry.answer_headers import (
    ContentRange,
    next_link,
    parse_content_range,
    parse_retry_after,
    parse_uploaded,
)


def test_a_content_range_says_which_part() -> None:
    """First, last and, where it is known, the whole."""
    assert ContentRange(first=5, last=9, total=10) == parse_content_range("bytes 5-9/10")
    assert ContentRange(first=0, last=0, total=None) == parse_content_range(" bytes 0-0/* ")


@pytest.mark.parametrize(
    "header",
    ["", "bytes", "bytes 0-", "bytes 5-4/10", "bytes 0-10/10", "bytes */10", "items 0-1/2", "bytes 0-1/2,",
     "bytes -1-1/2", "bytes 0-٣/10", f"bytes 0-{10**30}/*", "bytes 0-1/2 bytes 0-1/2"],
)  # fmt: skip
def test_a_content_range_that_makes_no_sense_is_none(header: str) -> None:
    """Nothing is guessed."""
    assert None is parse_content_range(header)


@pytest.mark.parametrize(
    ("header", "expected"),
    [("0-99", 100), ("bytes=0-99", 100), ("0-0", 0), ("", None), ("1-99", None), ("0-x", None), ("99", None)],
)
def test_how_much_of_an_upload_is_there(header: str, expected: int | None) -> None:
    """Always from the beginning."""
    assert expected == parse_uploaded(header)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, None),
        ("", None),
        ("120", 120.0),
        (" 5 ", 5.0),
        ("-5", None),
        ("1e3", None),
        ("9" * 30, None),
        ("Thu, 01 Jan 1970 00:17:40 GMT", 60.0),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0),
        ("Thu, 99 Jan 1970 00:00:00 GMT", None),
        ("soon", None),
    ],
)
def test_when_to_come_back(header: str | None, expected: float | None) -> None:
    """Seconds or a date; the clock says 1000."""
    assert expected == parse_retry_after(header, 1000.0)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ('</v2/a/tags/list?n=2&last=b>; rel="next"', "/v2/a/tags/list?n=2&last=b"),
        ("</x>;rel=next", "/x"),
        ('</a>; rel="prev", </b>; rel="next"', "/b"),
        ('</a>; title="x"; rel="last next"', "/a"),
        ('</a,b;c>; rel="next"', "/a,b;c"),
        ('</a>; rel="nextish"', None),
        ("</a>; rel=nextish", None),
        ("</a>", None),
        ("", None),
        ("rel=next", None),
    ],
)
def test_the_next_page(header: str, expected: str | None) -> None:
    """Its relation says that it is."""
    assert expected == next_link(header)


@pytest.mark.parametrize("piece", ["<a>", "</a>; rel=", '; rel="', "<", ' rel="a '])
def test_long_links_take_no_time(piece: str) -> None:
    """No pattern backtracks."""
    next_link("</a>" + piece * 20_000)
