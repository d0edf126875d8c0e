"""Digests: one parser, and nothing gets through it that is not safe in a path and a URL."""

from __future__ import annotations

import hashlib

import pytest

from container_kit._spec.digest import algorithm_of, digest_of, hex_of, parse_digest, short_digest
from container_kit.errors import InvalidDigestError

HEX = "0123456789abcdef" * 4


def test_digest_has_an_algorithm_and_digits() -> None:
    """Both of the algorithms in use are read."""
    for text in (f"sha256:{HEX}", f"sha512:{HEX}{HEX}"):
        digest = parse_digest(text)

        assert digest == text
        assert f"{algorithm_of(digest)}:{hex_of(digest)}" == text
        assert short_digest(digest) == "0123456789ab"
        assert hashlib.new(algorithm_of(digest)).digest_size * 2 == len(hex_of(digest))


def test_digest_of_bytes_is_their_sha256() -> None:
    """As every tool computes it."""
    assert digest_of(b"") == "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "names no algorithm"),
        (HEX, "names no algorithm"),
        ("sha256:../../etc/passwd", "64 lower-case"),
        (f"sha256:{HEX.upper()}", "64 lower-case"),
        (f"sha256:{HEX[:-1]}", "64 lower-case"),
        (f"sha256:{HEX}0", "64 lower-case"),
        (f"sha256:{HEX}\n", "64 lower-case"),
        (f"sha256:{HEX[:-1]}\0", "64 lower-case"),
        (f"sha256:{HEX[:-1]}\u0661", "64 lower-case"),  # a digit, but not of ASCII
        (f" sha256:{HEX}", "algorithm other"),
        (f"SHA256:{HEX}", "algorithm other"),
        (f"md5:{HEX[:32]}", "algorithm other"),
        (f"sha512:{HEX}", "128 lower-case"),
        (f"sha512:{HEX}{HEX.upper()}", "128 lower-case"),
        (f"sha256+b64:{HEX}", "algorithm other"),
        (None, "must be a string"),
        (5, "must be a string"),
        (f"sha256:{HEX}".encode(), "must be a string"),
    ],
)
def test_what_is_no_digest_is_refused(text: object, reason: str) -> None:
    """Paths, capitals, other lengths, other algorithms, other types."""
    with pytest.raises(InvalidDigestError, match=reason) as caught:
        parse_digest(text, "layers[0].digest")

    assert caught.value.field == "layers[0].digest"
    assert caught.value.hint is not None
