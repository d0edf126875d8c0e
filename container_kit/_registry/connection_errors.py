"""Connections that fail: what happened, told without secrets."""

from __future__ import annotations

import enum
from urllib.parse import urlsplit

from container_kit.errors import ImageUnreachableError


class Trouble(enum.Enum):
    """How a connection failed."""

    NAME = "its name cannot be resolved"
    REFUSED = "no connection"
    CERTIFICATE = "its certificate is not trusted"
    TLS = "no TLS there"
    STALLED = "it does not answer"
    BROKEN = "the connection broke"
    CLOSED = "the client was closed"


class ConnectionFailedError(ImageUnreachableError):
    """One connection that failed; part of what `ImageUnreachableError` tells in the end."""

    trouble: Trouble


def shown_url(url: str) -> str:
    """Return a URL without what may be secret: user, password, query and fragment."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
