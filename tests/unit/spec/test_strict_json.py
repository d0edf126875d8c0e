"""JSON from strangers: bounded, and refused where two readers could disagree."""

from __future__ import annotations

import time

import pytest

from container_kit._spec.strict_json import encode_json, parse_json
from container_kit.errors import ImageError, InvalidSpecError

LIMIT = 4 << 20


def nested(depth: int) -> bytes:
    """Return objects in one another."""
    return b'{"a":' * depth + b"1" + b"}" * depth


def test_document_is_read() -> None:
    """As any other JSON."""
    data = b' {"a": [1, -2.5, null, true], "b": {"\\u00e9": "\\ud83d\\ude00"}, "c": "[{\\"\\\\"} '

    assert {"a": [1, -2.5, None, True], "b": {"é": "😀"}, "c": '[{"\\'} == parse_json(data, what="x")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "is not valid JSON"),
        (b"[]", "is not a JSON object"),
        (b"null", "is not a JSON object"),
        (b"{} {}", "is not valid JSON"),
        (b'{"a":1', "brackets do not match"),
        (b'{"a":[}]', "is not valid JSON"),
        (b'{"a":"', "is not valid JSON|brackets do not match"),
        (b'{"a":1,"b":2,"a":1}', "has the key 'a' twice"),
        (b'{"b":{"a":1,"\\u0061":2}}', "has the key 'a' twice"),
        (b'{"a":NaN}', "a number that is none"),
        (b'{"a":-Infinity}', "a number that is none"),
        (b'{"a":1e400}', "beyond 64 bits"),
        (b'{"a":9223372036854775808}', "beyond 64 bits"),
        (b'{"a":-9223372036854775809}', "beyond 64 bits"),
        (b'{"a":' + b"1" * 10_000 + b"}", "beyond 64 bits"),
        (b'{"a":"\\ud800"}', "half of a surrogate pair"),
        (b'{"\\uDC80":1}', "half of a surrogate pair"),
        (b'{"a":"\xff"}', "is not valid JSON"),
        (b"\xef\xbb\xbf{}", "is not valid JSON"),
        ('{"a":1}'.encode("utf-16"), "is not valid JSON"),
        (b'{"a":"\0"}', "is not valid JSON"),
        (nested(65), "deeper than 64"),
        (b" " * LIMIT + b"{}", "larger than 4194304 bytes"),
    ],
)
def test_what_could_be_misread_is_refused(data: bytes, reason: str) -> None:
    """The error says which document it was."""
    with pytest.raises(ImageError, match=reason) as caught:
        parse_json(data, what="manifest of x")

    assert caught.value.image == "manifest of x"


def test_bounds_are_included() -> None:
    """The largest and the deepest document that may be, is."""
    at_limit = b'{"a":9223372036854775807}'
    at_limit += b" " * (LIMIT - len(at_limit))

    assert parse_json(at_limit, what="x") == {"a": 2**63 - 1}
    assert parse_json(nested(64), what="x")
    assert parse_json(nested(2), what="x", depth=2)
    with pytest.raises(ImageError):
        parse_json(nested(3), what="x", depth=2)
    with pytest.raises(ImageError):
        parse_json(b'{"a":1}', what="x", limit=6)


@pytest.mark.parametrize(
    "data",
    [
        b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b"[" * LIMIT,
        b'{"a":' * (LIMIT // 5),
        b'{"' + b'\\"' * (LIMIT // 2 - 1),
        b'"' * LIMIT,
        b'{"a":[' + b'"",' * (LIMIT // 3 - 3) + b"",
        b"{" + b",".join(b'"%d":1' % (number // 2) for number in range(300_000)) + b"}",
        b'{"a":' + b"1" * (LIMIT - 6) + b"}",
    ],
    ids=["deep", "open lists", "open objects", "open string", "quotes", "strings", "repeated keys", "digits"],
)
def test_hostile_document_is_refused_in_bounded_time(data: bytes) -> None:
    """Nothing takes time that grows faster than the document."""
    began = time.process_time()

    with pytest.raises(ImageError):
        parse_json(data, what="x")

    assert time.process_time() - began < 5  # mostly well below half a second


def test_encoding_is_one_and_the_same() -> None:
    """Sorted keys, no blanks, UTF-8."""
    assert encode_json({"b": [1, "é"], "a": {"d": None, "c": True}}) == '{"a":{"c":true,"d":null},"b":[1,"é"]}'.encode()


def test_bytes_that_are_no_text_cannot_be_encoded() -> None:
    """Rather than become other bytes."""
    with pytest.raises(InvalidSpecError, match="not UTF-8"):
        encode_json({"a": b"\xff".decode("utf-8", "surrogateescape")})
