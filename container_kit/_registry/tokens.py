"""Bearer tokens: what the token server of a registry is asked for and what it answers.

Follows the distribution project's "Token Authentication Specification" (GET with Basic credentials or none) and
its OAuth 2 variant (POST with a refresh token).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlencode

import attrs

from container_kit._registry.login import Login
from container_kit._spec.strict_json import parse_json
from container_kit.errors import AuthenticationError, ImageError

MOST_TOKEN_BYTES = 1 << 20
_LEAST_LIFETIME = 60  # seconds; what a server means that says nothing or less
_TOKEN = re.compile(r"[\x21-\x7e]+")
_CLIENT = "container-kit"


@attrs.frozen(kw_only=True)
class TokenRequest:
    """How to ask: method, URL, headers and body of one request."""

    method: str
    url: str
    headers: tuple[tuple[str, str], ...] = attrs.field(repr=False)
    body: bytes | None = attrs.field(default=None, repr=False)


@attrs.frozen(kw_only=True)
class Token:
    """A token and the time (of a monotonic clock) from which on it is not used any more."""

    text: str = attrs.field(repr=False)
    stale_at: float


def token_request(realm: str, service: str, scopes: Sequence[str], login: Login | None) -> TokenRequest:
    """Return the request for a token; `realm` was checked."""
    if login is not None and login.identity_token:
        form = [("grant_type", "refresh_token"), ("refresh_token", login.identity_token), ("client_id", _CLIENT)]
        form += [("service", service)] if service else []
        form += [("scope", " ".join(scopes))] if scopes else []
        body = urlencode(form).encode()
        kind = (("Content-Type", "application/x-www-form-urlencoded"), ("Content-Length", str(len(body))))
        return TokenRequest(method="POST", url=realm, headers=kind, body=body)
    query = [("service", service)] if service else []
    query += [("scope", scope) for scope in scopes]
    joined = realm if not query else f"{realm}{'&' if '?' in realm else '?'}{urlencode(query)}"
    proof = (("Authorization", login.basic()),) if login is not None else ()
    return TokenRequest(method="GET", url=joined, headers=proof)


def read_token(body: bytes, url: str, now: float) -> Token:
    """Return the token in an answer; `now` is of a monotonic clock, in seconds.

    Raises:
        AuthenticationError: There is none, or it cannot be one.
    """
    try:
        document: dict[str, Any] = parse_json(body, what="token", limit=MOST_TOKEN_BYTES)
    except ImageError as err:
        raise AuthenticationError(url=url, reason=f"its token server's answer {err.reason}") from None
    text = document.get("token") or document.get("access_token")
    if not isinstance(text, str) or not _TOKEN.fullmatch(text):
        raise AuthenticationError(url=url, reason="its token server gave no token")
    lifetime = document.get("expires_in")
    seconds = lifetime if isinstance(lifetime, int) and lifetime > _LEAST_LIFETIME else _LEAST_LIFETIME
    return Token(text=text, stale_at=now + 0.9 * min(seconds, 24 * 3600))
