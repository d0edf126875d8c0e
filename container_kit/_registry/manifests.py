"""Manifests and indexes: what a tag means, the bytes of a digest, and putting them there."""

from __future__ import annotations

import hashlib
from typing import Any
from urllib.parse import quote

from container_kit._registry.asking import At
from container_kit._registry.connection_errors import shown_url
from container_kit._registry.results import Resolved
from container_kit._registry.session import Request
from container_kit._registry.transport import Answer
from container_kit._spec.digest import Digest, algorithm_of, digest_of, parse_digest
from container_kit._spec.media_types import (
    DOCKER_INDEX,
    DOCKER_MANIFEST,
    MANIFEST_ACCEPT,
    OCI_INDEX,
    OCI_MANIFEST,
    is_unspecific,
    normalise,
)
from container_kit._spec.strict_json import parse_json
from container_kit.errors import DigestMismatchError, ImageError, InvalidDigestError, RegistryError

MOST_MANIFEST_BYTES = 4 << 20
_ACCEPT = {"Accept": ", ".join(MANIFEST_ACCEPT)}
_NO_HEAD = frozenset({400, 405, 415, 501})  # what servers say that know no HEAD


def head_manifest(at: At, tag: str) -> Resolved | None:
    """Return what a tag means without its bytes; None when the registry does not tell by HEAD."""
    with _send(at, "HEAD", tag, expect=(200, *_NO_HEAD)) as answer:
        digest = _announced(answer)
        media_type = normalise(answer.headers.get("Content-Type", ""))
        length = answer.headers.get("Content-Length", "")
    if answer.status != 200 or digest is None or is_unspecific(media_type) or not length.isdigit():
        return None
    if len(length) > 9 or int(length) > MOST_MANIFEST_BYTES:
        reason = f"its manifest is larger than {MOST_MANIFEST_BYTES} bytes"
        raise RegistryError(url=shown_url(answer.url), status=200, reason=reason)
    return Resolved(digest=digest, media_type=media_type, size=int(length))


def get_manifest(at: At, wanted: str, digest: Digest | None) -> Resolved:
    """Return a manifest with its bytes, verified: against `digest`, else against what the registry says it is.

    Raises:
        DigestMismatchError: The bytes are others.
        RegistryError: It is larger than 4 MiB, or the registry refuses.
    """
    with _send(at, "GET", wanted, expect=(200,)) as answer:
        data = answer.read_all(MOST_MANIFEST_BYTES)
        promised = digest or _announced(answer) or digest_of(data)
        media_type = normalise(answer.headers.get("Content-Type", ""))
    actual = f"{algorithm_of(promised)}:{hashlib.new(algorithm_of(promised), data).hexdigest()}"
    if actual != promised:
        raise DigestMismatchError(image=shown_url(answer.url), expected=promised, actual=actual)
    if is_unspecific(media_type):
        media_type = _media_type_within(data, shown_url(answer.url))
    return Resolved(digest=promised, media_type=media_type, size=len(data), data=data)


def put_manifest(at: At, name: str, data: bytes, media_type: str) -> Digest:
    """Store a manifest under a tag or its digest; return its digest.

    Raises:
        RegistryError: The registry refuses, or says that it has something else now.
    """
    request = Request(
        method="PUT",
        target=f"/v2/{at.repository}/manifests/{quote(name, safe=':')}",
        repository=at.repository,
        scopes=at.push_scope,
        headers={"Content-Type": media_type, "Content-Length": str(len(data))},
        body=lambda: data,
    )
    with at.session.send(at.endpoint, request, expect=(201,)) as answer:
        stored = _announced(answer)
    digest = digest_of(data)
    if stored is not None and algorithm_of(stored) == "sha256" and stored != digest:
        raise RegistryError(url=shown_url(answer.url), status=201, reason=f"it stored {stored} instead of {digest}")
    return digest


def _send(at: At, method: str, name: str, *, expect: tuple[int, ...]) -> Answer:
    request = Request(
        method=method,
        target=f"/v2/{at.repository}/manifests/{quote(name, safe=':')}",
        repository=at.repository,
        scopes=at.pull_scope,
        headers=_ACCEPT,
    )
    return at.session.send(at.endpoint, request, expect=expect)


def _announced(answer: Answer) -> Digest | None:
    try:
        return parse_digest(answer.headers.get("Docker-Content-Digest", ""))
    except InvalidDigestError:
        return None


def _media_type_within(data: bytes, url: str) -> str:
    """Return what a document is that came without a media type: what it says itself, else what it looks like."""
    try:
        document: dict[str, Any] = parse_json(data, what=url, limit=MOST_MANIFEST_BYTES)
    except ImageError as err:
        raise RegistryError(url=url, status=200, reason=f"its manifest {err.reason}") from err
    said = document.get("mediaType")
    if isinstance(said, str) and normalise(said) in (OCI_INDEX, OCI_MANIFEST, DOCKER_INDEX, DOCKER_MANIFEST):
        return normalise(said)
    return OCI_INDEX if "manifests" in document else OCI_MANIFEST
