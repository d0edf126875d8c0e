"""What is in use: everything that images, containers and leases refer to, followed through the documents."""

from __future__ import annotations

import os
from collections.abc import Iterable

import attrs

from container_kit._spec.descriptor import Descriptor
from container_kit._spec.digest import Digest, parse_digest
from container_kit._spec.manifest import Index, Manifest, parse_document
from container_kit._spec.media_types import DocumentKind, kind
from container_kit._state import content_records, records
from container_kit._store.index_file import Entry
from container_kit._store.store import ImageStore
from container_kit.errors import ImageError, InvalidDigestError

_DEEPEST = 16  # far more than an image may have: what is kept is not what is good


@attrs.define
class Marks:
    """What must stay.

    Attributes:
        blobs: digests of blobs.
        layers: diff_ids of layers.
        directories: names of layers' directories that containers use.
        is_complete: False when a document is damaged, so that more might have to stay.
    """

    blobs: set[Digest] = attrs.Factory(set[Digest])
    layers: set[Digest] = attrs.Factory(set[Digest])
    directories: set[str] = attrs.Factory(set[str])
    is_complete: bool = True


def mark(store: ImageStore, entries: Iterable[Entry]) -> Marks:
    """Return what is in use. Inside a transaction, so that it stays true until that ends."""
    marks = Marks()
    for entry in entries:
        _mark_descriptor(store, marks, entry.descriptor, _DEEPEST)
        if entry.source is not None:
            marks.blobs.add(entry.source)
    for digest in content_records.live_leases(store.database):
        _mark_digest(store, marks, Digest(digest))
    for record in records.list_all(store.database):
        for overlay in record.root.overlays:
            marks.directories.update(os.path.basename(path) for path in overlay.lowers)
        try:
            _mark_digest(store, marks, parse_digest(record.image_id))
        except InvalidDigestError:
            pass  # not made from the store
    return marks


def _mark_digest(store: ImageStore, marks: Marks, digest: Digest) -> None:
    """Mark what a digest means of which nothing else is known: a diff_id, a layer's blob, a document."""
    marks.layers.add(digest)
    marks.blobs.add(digest)
    try:
        document = parse_document(store.layout.read(digest), media_type=None, what=digest)
    except ImageError:
        return
    _mark_document(store, marks, document, _DEEPEST)


def _mark_descriptor(store: ImageStore, marks: Marks, descriptor: Descriptor, depth: int) -> None:
    is_document = kind(descriptor.media_type) in (DocumentKind.MANIFEST, DocumentKind.INDEX)
    marks.blobs.add(descriptor.digest)
    if not is_document or depth == 0 or not store.layout.has(descriptor.digest):
        return
    try:
        document = store.layout.document(descriptor)
    except ImageError:
        marks.is_complete = False
        return
    _mark_document(store, marks, document, depth)


def _mark_document(store: ImageStore, marks: Marks, document: Manifest | Index, depth: int) -> None:
    if isinstance(document, Index):
        for child in document.manifests:
            _mark_descriptor(store, marks, child, depth - 1)
        return
    marks.blobs.add(document.config.digest)
    marks.blobs.update(layer.digest for layer in document.layers)
    if kind(document.config.media_type) is DocumentKind.CONFIG and store.layout.has(document.config.digest):
        try:
            marks.layers.update(store.layout.oci_config(document).diff_ids)
        except ImageError:
            marks.is_complete = False
