"""Where a registry may send us, and what may go along.

The rules, for redirects, upload locations, next pages and token servers alike: http and https only, never from
https to http, no user or password in a URL, credentials only to the origin (scheme, host and port) that they
belong to. A token server may be elsewhere, by https (Docker Hub's is): what it gets are the credentials for this
registry and no others. The same over http only from a registry on the same host that is asked by http itself.
"""

from __future__ import annotations

from urllib.parse import urljoin, urlsplit

from container_kit._registry.connection_errors import shown_url
from container_kit._spec.registries import host_of, is_loopback
from container_kit.errors import AuthenticationError, RegistryError

MOST_REDIRECTS = 10
_LONGEST = 16 << 10
_PORTS = {"http": 80, "https": 443}


def origin_of(url: str) -> tuple[str, str, int]:
    """Return (scheme, host, port): what credentials are bound to."""
    parts = urlsplit(url)
    return parts.scheme, (parts.hostname or "").lower(), parts.port or _PORTS.get(parts.scheme, 0)


def is_same_origin(one: str, other: str) -> bool:
    """Tell whether credentials for one URL may go to the other."""
    return origin_of(one) == origin_of(other)


def follow(url: str, location: str) -> str:
    """Return where `location`, sent by `url`, leads.

    Raises:
        RegistryError: It must not be followed.
    """
    if not 0 < len(location) <= _LONGEST or any(ord(letter) <= 0x20 or ord(letter) == 0x7F for letter in location):
        raise RegistryError(url=shown_url(url), reason="it sent a malformed location")
    try:
        target = urljoin(url, location)
        parts, _ = urlsplit(target), origin_of(target)  # a port that is none shows only there
    except ValueError as err:
        raise RegistryError(url=shown_url(url), reason="it sent a malformed location") from err
    if parts.scheme not in _PORTS or not parts.hostname or "@" in parts.netloc:
        raise RegistryError(
            url=shown_url(url), reason=f"it sends us to {shown_url(target)!r}, which is no place for us"
        )
    if parts.scheme == "http" and urlsplit(url).scheme == "https":
        reason = f"it sends us from https to http, to {shown_url(target)}"
        raise RegistryError(url=shown_url(url), reason=reason, hint="nobody could tell who answers there")
    return target


def check_realm(registry_url: str, realm: str, *, with_credentials: bool) -> str:
    """Return the URL of a token server that a registry named.

    Raises:
        AuthenticationError: It is not to be asked, or must not get credentials.
    """
    try:
        target = follow(registry_url, realm)
    except RegistryError as err:
        reason = f"its token server cannot be used: {err.reason}"
        raise AuthenticationError(url=shown_url(registry_url), status=401, reason=reason) from err
    if urlsplit(target).scheme == "https" or not with_credentials:
        return target
    here, there = urlsplit(registry_url).netloc, urlsplit(target).netloc
    if host_of(here).lower() == host_of(there).lower() or (is_loopback(here) and is_loopback(there)):
        return target
    reason = f"it wants the credentials sent to {shown_url(target)}, another host, unencrypted"
    raise AuthenticationError(url=shown_url(registry_url), status=401, reason=reason)
