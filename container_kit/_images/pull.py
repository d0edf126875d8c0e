"""Pulling: an image of a registry becomes an image of the store.

Small documents come first and decide what else is needed; then blobs and layers, several
at once. A name means the image only when everything is there and verified: until then a
lease protects what has come, and what a failure leaves is gone on with by the next pull.

A tag that means what it meant is one request. A digest that is here is none.
"""

from __future__ import annotations

import platform as _host
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import attrs

from container_kit._images.documents import Document, Documents, Image, is_document
from container_kit._images.fetch import Fetch, open_crew
from container_kit._images.meter import Meter
from container_kit._spec.descriptor import Descriptor
from container_kit._spec.digest import Digest, short_digest
from container_kit._spec.manifest import Index, Manifest
from container_kit._spec.platform import Platform, host_platform
from container_kit._spec.progress import Progress, ProgressCallback
from container_kit._spec.reference import Reference
from container_kit._store.index_file import Entry
from container_kit.errors import ContainerKitError, ImageError, ImageNotFoundError

if TYPE_CHECKING:
    from container_kit._registry.client import Client
    from container_kit._store.layout import Layout
    from container_kit._store.store import ImageStore


@attrs.frozen(kw_only=True)
class _Source:
    """Where the image is, and where it goes."""

    store: ImageStore
    client: Client
    reference: Reference


@attrs.frozen(kw_only=True)
class _Wish:
    """What of an image is wanted."""

    platform: Platform
    is_explicit: bool
    all_platforms: bool


@attrs.frozen(kw_only=True)
class _Choice:
    """What the name will mean, and what of it is to be there."""

    descriptor: Descriptor
    image: Image | None
    beside: tuple[Manifest, ...] = ()


def pull(
    store: ImageStore,
    client: Client,
    reference: Reference,
    *,
    platform: Platform | None = None,
    all_platforms: bool = False,
    parallel: int = 3,
    progress: ProgressCallback | None = None,
) -> Entry:
    """Have an image of a registry in the store, ready to run, under its name.

    With a digest the name keeps it (`debian:12@sha256:…`), and the digest is what counts.
    An image that had the name until now stays, dangling when it has no other.

    Args:
        store: where it goes.
        client: asks the registry and its mirrors.
        reference: which image.
        platform: which of several; None: this host's. An image that there is for one platform only is taken
            as it is unless another platform is asked for here.
        all_platforms: every image of an index; only the one for `platform` is unpacked.
        parallel: how many blobs to download at a time.
        progress: called with events, in this thread.

    Raises:
        ManifestUnknownError: the registry has no such image.
        ImageNotFoundError: it is not there for this platform; `near` says for which it is.
        ImageError: it is malformed, not what its digests promise, or no container image.
        RegistryError: the registry refuses or cannot be reached; `ImageUnreachableError` when none can.
        StorageFullError: there is no room.
    """
    wish = _Wish(
        platform=platform or host_platform(_host.machine()),
        is_explicit=platform is not None,
        all_platforms=all_platforms,
    )
    report = progress or _tell_nobody
    with naming("pulling", reference):
        entry = _pulled(store, client, reference, wish, parallel, report)
    report(Progress(action="done", subject=reference.familiar, finished=True))
    return entry


@contextmanager
def naming(doing: str, reference: Reference) -> Generator[None, None, None]:
    """Add to each of our errors which image it is about."""
    try:
        yield
    except ContainerKitError as error:
        error.add_note(f"while {doing} {reference.canonical}")
        raise


def _pulled(
    store: ImageStore, client: Client, reference: Reference, wish: _Wish, parallel: int, report: ProgressCallback
) -> Entry:
    meter = Meter(report, "resolve", subject=reference.familiar)
    known = next((entry for entry in store.layout.entries() if entry.name == reference.canonical), None)
    if known is not None and reference.digest is not None and _is_settled(store, known, reference.digest, wish):
        return known
    meter.advance(0)
    resolved = client.resolve(reference)
    meter.finish(short_digest(resolved.digest))
    if known is not None and _is_settled(store, known, resolved.digest, wish):
        return known
    with store.lease(resolved.digest):  # and with it all that it refers to
        documents = Documents(store, client, reference)
        top, document = documents.top(resolved)
        choice = _choose(documents, top, document, wish)
        source = _Source(store=store, client=client, reference=reference)
        _fetch(source, choice, parallel=parallel, progress=report)
        with store.layout.edit() as edit:
            return edit.set(reference.canonical, choice.descriptor, resolved.digest)


# ── what is wanted ───────────────────────────────────────────────────────────────────────────────


def _choose(documents: Documents, top: Descriptor, document: Document, wish: _Wish) -> _Choice:
    if isinstance(document, Manifest):
        image = documents.image(top, document)
        if wish.is_explicit:
            documents.require_platform(image, wish.platform)
        return _Choice(descriptor=image.descriptor, image=image)
    if not wish.all_platforms:
        image = documents.choose(document, wish.platform)
        return _Choice(descriptor=image.descriptor, image=image)
    manifests = documents.everything(document)
    try:
        chosen = documents.choose(document, wish.platform)
    except ImageNotFoundError:
        if wish.is_explicit:
            raise
        chosen = None  # all of it is for other hosts
    return _Choice(descriptor=top, image=chosen, beside=tuple(manifests))


def _is_settled(store: ImageStore, known: Entry, digest: Digest, wish: _Wish) -> bool:
    """Say whether a name means what it should, and everything that is wanted is there."""
    if digest not in (known.source, known.descriptor.digest):
        return False
    try:
        if wish.all_platforms and (known.descriptor.digest != digest or not _is_whole(store.layout, known.descriptor)):
            return False
        descriptor, manifest = store.layout.manifest_of(known, wish.platform if wish.is_explicit else None)
        config = store.layout.oci_config(manifest)
    except (ImageError, ImageNotFoundError):
        return False
    if known.descriptor.digest != digest and not _is_same(descriptor.platform or config.platform, wish.platform):
        return False  # the index may have a better one
    wanted = set(config.diff_ids)
    return _has_all(store.layout, manifest) and len(store.layers.find_all(list(wanted))) == len(wanted)


def _is_whole(layout: Layout, descriptor: Descriptor) -> bool:
    """Say whether all that a manifest or an index refers to is there."""
    document = layout.document(descriptor) if layout.has(descriptor.digest) else None
    match document:
        case None:
            return False
        case Manifest():
            return _has_all(layout, document)
        case Index():
            return all(_is_whole(layout, below) for below in document.manifests if is_document(below))


def _has_all(layout: Layout, manifest: Manifest) -> bool:
    return all(layout.has(blob.digest) for blob in (manifest.config, *manifest.layers))


def _is_same(one: Platform, other: Platform) -> bool:
    return (one.os, one.architecture, one.variant) == (other.os, other.architecture, other.variant)


# ── having it ────────────────────────────────────────────────────────────────────────────────────


def _fetch(fetch_from: _Source, choice: _Choice, *, parallel: int, progress: ProgressCallback) -> None:
    """Have all blobs of a choice in the store, and the layers of its image unpacked."""
    blobs = _wanted_blobs(choice)
    with open_crew(parallel, progress) as crew:
        client = fetch_from.client.twin()
        crew.at_stop(client.close)
        crew.at_end(client.close)
        fetch = Fetch(fetch_from.store, client, fetch_from.reference, crew=crew)
        # The largest first: what is begun last should not be what takes longest.
        for blob, diff_id in sorted(blobs.values(), key=lambda pair: -pair[0].size):
            fetch.add(blob, diff_id)
        crew.finish()


def _wanted_blobs(choice: _Choice) -> dict[Digest, tuple[Descriptor, Digest | None]]:
    """Return each blob once, with the diff_id of the layer that is to be unpacked from it."""
    blobs: dict[Digest, tuple[Descriptor, Digest | None]] = {}
    if choice.image is not None:
        image = choice.image
        for layer, diff_id in zip(image.manifest.layers, image.config.diff_ids, strict=True):
            if blobs.setdefault(layer.digest, (layer, diff_id))[1] != diff_id:
                reason = f"the layer {short_digest(layer.digest)} has two diff_ids"
                raise ImageError(image=image.name, reason=reason)
    for manifest in choice.beside:
        for blob in (manifest.config, *manifest.layers):
            blobs.setdefault(blob.digest, (blob, None))
    return blobs


def _tell_nobody(event: Progress) -> None:
    pass
