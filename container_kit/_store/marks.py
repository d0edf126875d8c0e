"""What is in use: everything that images, containers and leases refer to, followed through the documents.

A document that cannot be read, or is not what its digest says, may have named anything. One that is what
its digest says and still malformed never becomes better: every digest in it counts as named, and that is all.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable

import attrs

from container_kit._spec.digest import Digest, parse_digest
from container_kit._spec.manifest import Index, Manifest, parse_document
from container_kit._spec.media_types import DocumentKind, kind
from container_kit._spec.oci_config import parse_oci_config
from container_kit._state import content_records, records
from container_kit._store.index_file import Entry
from container_kit._store.layout import LARGEST_DOCUMENT
from container_kit._store.store import ImageStore
from container_kit.errors import HostError, ImageError, InvalidDigestError, InvalidSpecError

_DIGEST = re.compile(rb"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}")


@attrs.define
class Marks:
    """What must stay.

    Attributes:
        blobs: digests of blobs.
        layers: diff_ids of layers.
        directories: names of layers' directories that containers use.
        is_complete: False when a document is damaged or cannot be read, so that more might have to stay.
    """

    blobs: set[Digest] = attrs.Factory(set[Digest])
    layers: set[Digest] = attrs.Factory(set[Digest])
    directories: set[str] = attrs.Factory(set[str])
    is_complete: bool = True


@attrs.frozen
class _Part:
    """A blob to look into: a config, or what may be a manifest or an index."""

    digest: Digest
    is_config: bool = False


def mark(store: ImageStore, entries: Iterable[Entry]) -> Marks:
    """Return what is in use. Inside a transaction, so that it stays true until that ends."""
    marks = Marks()
    waiting: list[_Part] = []
    for entry in entries:
        marks.blobs.add(entry.descriptor.digest)
        if _is_document(entry.descriptor.media_type):
            waiting.append(_Part(entry.descriptor.digest))
        if entry.source is not None:
            marks.blobs.add(entry.source)
    waiting += [_mark_unknown(marks, Digest(digest)) for digest in content_records.live_leases(store.database)]
    for record in records.list_all(store.database):
        for overlay in record.root.overlays:
            marks.directories.update(os.path.basename(path) for path in overlay.lowers)
        try:
            waiting.append(_mark_unknown(marks, parse_digest(record.image_id)))
        except InvalidDigestError:
            pass  # not made from the store
    _follow(store, marks, waiting)
    return marks


def _follow(store: ImageStore, marks: Marks, waiting: list[_Part]) -> None:
    """Mark what documents refer to. Each is looked at once: indexes may list each other many times."""
    seen: set[_Part] = set()
    while waiting:
        part = waiting.pop()
        if part in seen:
            continue
        seen.add(part)
        data = _read(store, marks, part.digest)
        if data is not None:
            waiting += _mark_named(marks, part, data)


def _read(store: ImageStore, marks: Marks, digest: Digest) -> bytes | None:
    """Return what may be a document; None for what is absent, and for what is larger than documents are."""
    try:
        if not store.layout.has(digest) or store.layout.size(digest) > LARGEST_DOCUMENT:
            return None
        return store.layout.read(digest)
    except (HostError, ImageError):
        marks.is_complete = False
        return None


def _mark_named(marks: Marks, part: _Part, data: bytes) -> list[_Part]:
    """Mark what a document names, and return what of that is to be looked into."""
    try:
        if part.is_config:
            marks.layers.update(parse_oci_config(data, what=part.digest).diff_ids)
            return []
        document = parse_document(data, media_type=None, what=part.digest)
    except (ImageError, InvalidSpecError):
        return [_mark_unknown(marks, Digest(found.decode())) for found in set(_DIGEST.findall(data))]
    return _mark_document(marks, document)


def _mark_unknown(marks: Marks, digest: Digest) -> _Part:
    """Mark what a digest means of which nothing else is known: a diff_id, a layer's blob, a document."""
    marks.layers.add(digest)
    marks.blobs.add(digest)
    return _Part(digest)


def _mark_document(marks: Marks, document: Manifest | Index) -> list[_Part]:
    if isinstance(document, Index):
        marks.blobs.update(child.digest for child in document.manifests)
        return [_Part(child.digest) for child in document.manifests if _is_document(child.media_type)]
    config = document.config
    marks.blobs.add(config.digest)
    marks.blobs.update(layer.digest for layer in document.layers)
    return [_Part(config.digest, is_config=True)] if kind(config.media_type) is DocumentKind.CONFIG else []


def _is_document(media_type: str) -> bool:
    return kind(media_type) in (DocumentKind.MANIFEST, DocumentKind.INDEX)
