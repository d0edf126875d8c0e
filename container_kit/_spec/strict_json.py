"""JSON from strangers: read in bounded time, and refused where two readers could disagree.

Follows RFC 8259 and goes further: a key may be there once, numbers are finite and fit
64 bits, signed unless asked otherwise, text is UTF-8 without halves of surrogate pairs,
and depth and size are bounded before anything is parsed. Encoding is deterministic.
"""

from __future__ import annotations

import json
import re
from typing import Any, NoReturn, cast

from container_kit.errors import ImageError, InvalidSpecError

_BIGGEST = 2**63
# A string, to the end of the text if it is not closed: never looked at twice, so time is linear.
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)', re.DOTALL)
_BRACKETS = bytes.maketrans(b"[]{}", b"()()")
_NO_BRACKETS = bytes(byte for byte in range(256) if byte not in b"[]{}")
_HALF_PAIR = re.compile(rb"\\u[dD][89a-fA-F]")


class _RefusedError(ValueError):
    """Why a document is not read."""


def parse_json(
    data: bytes, *, what: str, limit: int = 4 << 20, depth: int = 64, unsigned: bool = False
) -> dict[str, Any]:
    """Return the object that a document holds.

    Args:
        data: the document, in UTF-8.
        what: what the error calls it, e.g. `manifest of debian:12`.
        limit: the most bytes it may have.
        depth: the most objects and lists within each other.
        unsigned: integers are 0 to 2**64 - 1.

    Raises:
        ImageError: it is too large, too deep, not JSON, not an object, or ambiguous: a key twice, a number that is
            not finite or beyond 64 bits, half of a surrogate pair.
    """
    try:
        _check_shape(data, limit=limit, depth=depth)
        return _parsed(data, _UNSIGNED if unsigned else _DECODER)
    except ValueError as error:  # UnicodeDecodeError, JSONDecodeError and _RefusedError are
        reason = str(error) if isinstance(error, _RefusedError) else f"is not valid JSON: {error}"
        raise ImageError(image=what, reason=reason) from error


def encode_json(document: dict[str, Any]) -> bytes:
    """Return an object as JSON in UTF-8: keys sorted, no blanks, so that equal objects have one digest.

    Raises:
        InvalidSpecError: it holds text that is not UTF-8 (surrogate escapes), which JSON cannot hold.
    """
    text = json.dumps(document, ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":"))
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        reason = "holds bytes that are not UTF-8, which JSON cannot hold"
        raise InvalidSpecError(
            field="image document", value=error.object[error.start : error.end], reason=reason
        ) from error


def _check_shape(data: bytes, *, limit: int, depth: int) -> None:
    if len(data) > limit:
        raise _RefusedError(f"is larger than {limit} bytes")
    # The parser recurses, so depth is checked without it: each round takes the innermost brackets away.
    brackets = _STRING.sub(b"", data).translate(_BRACKETS, _NO_BRACKETS)
    for _ in range(depth):
        if not brackets:
            return
        before, brackets = len(brackets), brackets.replace(b"()", b"")
        if len(brackets) == before:
            raise _RefusedError("is not valid JSON: its brackets do not match")
    if brackets:
        raise _RefusedError(f"is nested deeper than {depth}")


def _parsed(data: bytes, decoder: json.JSONDecoder) -> dict[str, Any]:
    document: Any = decoder.decode(data.decode("utf-8"))  # anything, until it is seen to be an object
    if not isinstance(document, dict):
        raise _RefusedError("is not a JSON object")
    if _HALF_PAIR.search(data):
        _check_pairs_of_surrogates(cast("object", document))
    return cast("dict[str, Any]", document)


def _check_pairs_of_surrogates(document: object) -> None:
    try:
        json.dumps(document, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise _RefusedError("holds half of a surrogate pair") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _RefusedError(f"has the key {_first_repeated(pairs)[:100]!r} twice")
    return found


def _first_repeated(pairs: list[tuple[str, Any]]) -> str:
    seen: set[str] = set()
    for key, _ in pairs:
        if key in seen:
            return key
        seen.add(key)
    return ""


def _integer(text: str) -> int:
    number = int(text) if len(text) <= 20 else _BIGGEST
    if not -_BIGGEST <= number < _BIGGEST:
        raise _RefusedError(f"has a number beyond 64 bits: {text[:40]}")
    return number


def _unsigned(text: str) -> int:
    number = int(text) if len(text) <= 20 else -1
    if not 0 <= number < 2 * _BIGGEST:
        raise _RefusedError(f"has a number that is negative or beyond 64 bits: {text[:40]}")
    return number


def _fraction(text: str) -> float:
    number = float(text)
    if not -_BIGGEST <= number < _BIGGEST:
        raise _RefusedError(f"has a number beyond 64 bits: {text[:40]}")
    return number


def _constant(name: str) -> NoReturn:
    raise _RefusedError(f"has a number that is none: {name}")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_object, parse_int=_integer, parse_float=_fraction, parse_constant=_constant
)
_UNSIGNED = json.JSONDecoder(
    object_pairs_hook=_object, parse_int=_unsigned, parse_float=_fraction, parse_constant=_constant
)
