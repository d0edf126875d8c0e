"""Container ids, names and host names: what they look like.

Sources: Docker's name grammar, RFC 1123 for host names, sethostname(2) for their length.
"""

from __future__ import annotations

import re
from typing import NewType

from container_kit.errors import InvalidNameError, InvalidSpecError

ContainerId = NewType("ContainerId", str)

ID_BYTES = 32
_ID = re.compile(r"[0-9a-f]{64}")
_ID_PREFIX = re.compile(r"[0-9a-f]{1,64}")
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{1,127}", re.ASCII)
_HOST_LABEL = r"[a-zA-Z0-9](?:[a-zA-Z0-9_-]*[a-zA-Z0-9])?"
_HOSTNAME = re.compile(rf"{_HOST_LABEL}(?:\.{_HOST_LABEL})*", re.ASCII)
_HOSTNAME_MAX = 64


def new_id_from(entropy: bytes) -> ContainerId:
    """Return the id made of 32 random bytes."""
    if len(entropy) != ID_BYTES:
        raise ValueError(f"an id takes {ID_BYTES} bytes, not {len(entropy)}")
    return ContainerId(entropy.hex())


def parse_container_id(text: str) -> ContainerId:
    """Return a full id: 64 lower-case hexadecimal digits."""
    if not _ID.fullmatch(text):
        raise InvalidSpecError(field="container id", value=text, reason="must be 64 hexadecimal digits")
    return ContainerId(text)


def is_id_prefix(text: str) -> bool:
    """Say whether a text could be the beginning of an id."""
    return _ID_PREFIX.fullmatch(text) is not None


def short_id(container: ContainerId) -> str:
    """Return the first 12 digits, the form shown to people."""
    return container[:12]


def check_name(name: object) -> str:
    """Return a container name: 2 to 128 of `[a-zA-Z0-9_.-]`, a letter or digit first, and not like a full id."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        reason = "must be 2 to 128 letters, digits, '_', '.' or '-', and begin with a letter or digit"
        raise InvalidNameError(field="name", value=name, reason=reason)
    if _ID.fullmatch(name):
        raise InvalidNameError(field="name", value=name, reason="must not look like a container id")
    return name


def check_hostname(name: object, field: str = "hostname") -> str:
    """Return a host name of at most 64 characters: labels of letters, digits and inner hyphens, joined by dots."""
    if not isinstance(name, str) or len(name) > _HOSTNAME_MAX or not _HOSTNAME.fullmatch(name):
        reason = f"must be at most {_HOSTNAME_MAX} letters, digits and hyphens, in parts joined by dots"
        raise InvalidSpecError(field=field, value=name, reason=reason)
    return name
