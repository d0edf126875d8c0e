"""From an answer that is no good to the error that says so: host, path, status, the registry's own words.

What a registry writes is bounded, made printable, and never shows what we sent to prove who we are.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, cast

from container_kit._registry.answer_headers import parse_retry_after
from container_kit._registry.connection_errors import ConnectionFailedError, shown_url
from container_kit._registry.transport import Answer
from container_kit.errors import (
    AuthenticationError,
    ManifestUnknownError,
    RateLimitedError,
    RegistryError,
)

_MOST_BODY = 64 << 10
_MOST_TEXT = 300
_LOGIN_HINT = "log in with login(), or give other credentials; private images look as if they were not there"


def refusal(answer: Answer, *, now: float, secrets: Sequence[str] = (), otherwise: str = "") -> RegistryError:
    """Return the error for an answer and close it.

    Args:
        answer: With a status that nobody asked for.
        now: Seconds since the epoch; for Retry-After.
        secrets: What must not be shown even if the registry repeats it.
        otherwise: The reason when the registry gives none.
    """
    code, text = _words(_body(answer))
    reason = _cleaned(text, secrets) or otherwise
    url, status = shown_url(answer.url), answer.status
    retry_after = parse_retry_after(answer.headers.get("Retry-After"), now)
    if status in (401, 403):
        return AuthenticationError(url=url, status=status, code=code, reason=reason, hint=_LOGIN_HINT)
    if status == 429 or (status == 503 and retry_after is not None):
        return RateLimitedError(url=url, status=status, code=code, reason=reason, retry_after=retry_after)
    if status == 404 and "/manifests/" in url:
        return ManifestUnknownError(url=url, status=status, code=code, reason=reason)
    return RegistryError(url=url, status=status, code=code, reason=reason)


def _body(answer: Answer) -> bytes:
    pieces: list[bytes] = []
    total = 0
    try:
        while total < _MOST_BODY and (chunk := answer.read(_MOST_BODY - total)):
            pieces.append(chunk)
            total += len(chunk)
    except ConnectionFailedError:
        pass  # the status says enough
    finally:
        answer.close()
    return b"".join(pieces)


def _words(body: bytes) -> tuple[str | None, str]:
    """Return the code and message of the first error: distribution-spec, "Error Codes"; else the details of a realm."""
    try:
        document: object = json.loads(body)
    except (ValueError, RecursionError):
        return None, ""  # HTML, most likely
    if not isinstance(document, dict):
        return None, ""
    fields = cast("dict[str, Any]", document)  # JSON has string keys
    errors: object = fields.get("errors")
    if isinstance(errors, list) and errors:
        first: object = cast("list[object]", errors)[0]
        if isinstance(first, dict):
            entry = cast("dict[str, Any]", first)  # JSON has string keys
            return _code(entry.get("code")), _text(entry.get("message"))
    return None, _text(fields.get("details")) or _text(fields.get("error_description")) or _text(fields.get("message"))


def _code(value: object) -> str | None:
    return value[:64] if isinstance(value, str) and value.isascii() and value.replace("_", "").isalnum() else None


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _cleaned(text: str, secrets: Sequence[str]) -> str:
    for secret in secrets:
        if secret:
            text = text.replace(secret, "…")
    shown = "".join(letter if letter.isprintable() else " " for letter in text[: 2 * _MOST_TEXT])
    return shown if len(shown) <= _MOST_TEXT else f"{shown[: _MOST_TEXT - 1]}…"
