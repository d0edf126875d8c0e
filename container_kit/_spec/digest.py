"""Digests, the names of content: `sha256:<64 hex>` or `sha512:<128 hex>`.

A digest becomes part of paths and of URLs, so there is one parser, and it lets nothing
through but lower-case hexadecimal of the right length. Follows the OCI image-spec,
descriptor.md, "Digests"; of its registered algorithms the two that are in use.
"""

from __future__ import annotations

import hashlib
import re
from typing import NewType

from container_kit.errors import InvalidDigestError

Digest = NewType("Digest", str)

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}")
_HINT = "a digest is 'sha256:' and 64 lower-case hexadecimal digits"


def parse_digest(text: object, field: str = "digest") -> Digest:
    """Return a digest.

    Args:
        text: `sha256:` and 64, or `sha512:` and 128, lower-case hexadecimal digits.
        field: what the error calls it.

    Raises:
        InvalidDigestError: it is anything else.
    """
    if not isinstance(text, str) or not _DIGEST.fullmatch(text):
        raise InvalidDigestError(field=field, value=text, reason=_reason(text), hint=_HINT)
    return Digest(text)


def digest_of(content: bytes) -> Digest:
    """Return the sha256 digest of some bytes."""
    return Digest(f"sha256:{hashlib.sha256(content).hexdigest()}")


def algorithm_of(digest: Digest) -> str:
    """Return the algorithm, as `hashlib.new` knows it: `sha256` or `sha512`."""
    return digest.partition(":")[0]


def hex_of(digest: Digest) -> str:
    """Return the hexadecimal digits."""
    return digest.partition(":")[2]


def short_digest(digest: Digest) -> str:
    """Return the first 12 hexadecimal digits, the form shown to people."""
    return hex_of(digest)[:12]


def _reason(text: object) -> str:
    if not isinstance(text, str):
        return "must be a string"
    algorithm, colon, _ = text.partition(":")
    if not colon:
        return "names no algorithm"
    if algorithm not in ("sha256", "sha512"):
        return "is of an algorithm other than sha256 and sha512"
    return f"must be {64 if algorithm == 'sha256' else 128} lower-case hexadecimal digits"
