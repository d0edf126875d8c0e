"""Pushing: an image of the store becomes an image of a registry.

Blobs first, then manifests, then indexes, and the tag last: the registry never has a name
for what is not complete. Documents go out as they are, byte for byte, unless a layer that
is stored uncompressed was compressed for the push: then only what refers to it is changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs

from container_kit._images.pull import naming
from container_kit._images.upload import Compression, Upload, is_compressible, open_crew
from container_kit._spec.descriptor import Descriptor
from container_kit._spec.digest import Digest, digest_of, short_digest
from container_kit._spec.manifest import Manifest
from container_kit._spec.media_types import DocumentKind, kind
from container_kit._spec.progress import Progress, ProgressCallback
from container_kit._spec.reference import Reference
from container_kit._spec.strict_json import encode_json, parse_json
from container_kit._store.index_file import Entry
from container_kit.errors import ImageError, InvalidReferenceError

if TYPE_CHECKING:
    from container_kit._registry.client import Client
    from container_kit._store.layout import Layout
    from container_kit._store.store import ImageStore


def push(
    store: ImageStore,
    client: Client,
    entry: Entry,
    reference: Reference,
    *,
    compression: Compression = "zstd",
    chunk_bytes: int | None = None,
    parallel: int = 3,
    progress: ProgressCallback | None = None,
) -> Digest:
    """Have an image of the store in a registry; return the digest it has there.

    Args:
        store: where it is.
        client: asks the registry.
        entry: which image; an index goes with all its manifests.
        reference: what it is to be called. With a digest and no tag it gets no name; the digest must be its own.
        compression: what layers become that are stored uncompressed; of an image in Docker's format always gzip.
        chunk_bytes: how much to send at a time; None: each blob in one piece.
        parallel: how many blobs to send at a time.
        progress: called with events, in this thread.

    Raises:
        ImageError: a part of it is not here, or damaged.
        AuthenticationError: the registry wants other credentials.
        RegistryError: the registry refuses or cannot be reached.
        InvalidReferenceError: the reference has a digest, and the image has another one there.
    """
    with naming("pushing", reference), store.lease(entry.descriptor.digest):
        parts = list(_parts_of(store.layout, entry.descriptor))
        with open_crew(parallel, progress) as crew:
            connections = client.twin()
            crew.at_stop(connections.close)
            crew.at_end(connections.close)
            upload = Upload(store, connections, reference, crew=crew, compression=compression, chunk_bytes=chunk_bytes)
            _send_blobs(upload, parts)
            crew.finish()
        digest = _send_documents(client, reference, parts, upload.compressed)
    if progress is not None:
        progress(Progress(action="done", subject=reference.familiar, finished=True, message=short_digest(digest)))
    return digest


@attrs.frozen(kw_only=True)
class _Part:
    """A document of the image, its bytes, and its manifest unless it is an index."""

    descriptor: Descriptor
    data: bytes
    manifest: Manifest | None


def _parts_of(layout: Layout, descriptor: Descriptor) -> Iterator[_Part]:
    """Yield an image's documents, each after those that it refers to."""
    document = layout.document(descriptor)
    if isinstance(document, Manifest):
        yield _Part(descriptor=descriptor, data=layout.read(descriptor), manifest=document)
        return
    for below in document.manifests:
        if kind(below.media_type) in (DocumentKind.MANIFEST, DocumentKind.INDEX):
            if not layout.has(below.digest):
                reason = f"its image for {below.platform or 'another platform'} is not here"
                hint = "pull it with all_platforms=True, or push the image of one platform"
                raise ImageError(image=short_digest(descriptor.digest), reason=reason, hint=hint)
            yield from _parts_of(layout, below)
    yield _Part(descriptor=descriptor, data=layout.read(descriptor), manifest=None)


def _send_blobs(upload: Upload, parts: Iterable[_Part]) -> None:
    manifests = [part.manifest for part in parts if part.manifest is not None]
    blobs = {blob.digest: blob for manifest in manifests for blob in (*manifest.layers, manifest.config)}
    for blob in sorted(blobs.values(), key=lambda blob: -blob.size):
        if is_compressible(blob):
            upload.add_compressed(blob)
        elif not blob.is_foreign:  # a registry does not keep those
            upload.add(blob)


def _send_documents(
    client: Client, reference: Reference, parts: Sequence[_Part], changed: Mapping[Digest, Descriptor]
) -> Digest:
    """Send documents in an order in which each refers to what is there; return the digest of the last one."""
    now = dict(changed)
    for part in parts[:-1]:
        data = _with_changes(part, now)
        digest = _digest_of(part, data)
        client.put_manifest(reference.with_tag(None).with_digest(digest), data, part.descriptor.media_type)
        now[part.descriptor.digest] = attrs.evolve(part.descriptor, digest=digest, size=len(data))
    top = parts[-1]
    data = _with_changes(top, now)
    digest = _digest_of(top, data)
    if reference.digest is not None and reference.digest != digest:
        reason = f"the image has the digest {digest} there"
        raise InvalidReferenceError(
            field="reference", value=reference.canonical, reason=reason, hint="push it by a tag"
        )
    target = reference.with_digest(None) if reference.tag is not None else reference.with_digest(digest)
    client.put_manifest(target, data, top.descriptor.media_type)
    return digest


def _with_changes(part: _Part, changed: Mapping[Digest, Descriptor]) -> bytes:
    """Return a document's bytes, with descriptors of what was changed; fields that we do not know stay."""
    document = parse_json(part.data, what=short_digest(part.descriptor.digest))
    items: list[dict[str, Any]] = document["manifests"] if part.manifest is None else document["layers"]
    concerned = [item for item in items if _is_changed(item, changed)]
    if not concerned:
        return part.data
    for item in concerned:
        new = changed[item["digest"]]
        item.update(mediaType=new.media_type, digest=new.digest, size=new.size)
    return encode_json(document)


def _digest_of(part: _Part, data: bytes) -> Digest:
    return part.descriptor.digest if data == part.data else digest_of(data)


def _is_changed(item: Mapping[str, Any], changed: Mapping[Digest, Descriptor]) -> bool:
    new = changed.get(item["digest"])
    return new is not None and new.digest != item["digest"]
