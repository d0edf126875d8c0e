"""Takes images out of an archive into the store: docker-archives, old and new, and OCI layouts, compressed or not.

The archive is unpacked into a scratch directory, its documents are read and verified, then
the blobs of the chosen images become blobs of the store, their layers are unpacked, and at
last all names are set at once. Before that nothing can be seen; what an error leaves in the
store has no name and is collected.
"""

from __future__ import annotations

import os
import platform as _host
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from functools import partial
from typing import BinaryIO

import attrs

from container_kit._archives.contents import ArchivedBlob, ArchivedImage, check_names
from container_kit._archives.docker_archive import LISTING, read_docker_images
from container_kit._archives.input import Scratch, open_archive
from container_kit._archives.oci_archive import MARKER, TOP, read_oci_images
from container_kit._images.crew import Crew
from container_kit._spec.descriptor import Descriptor
from container_kit._spec.digest import Digest, algorithm_of
from container_kit._spec.platform import Platform, host_platform
from container_kit._spec.progress import Progress, ProgressCallback
from container_kit._spec.reference import parse_reference
from container_kit._spec.text import check_strings
from container_kit._store.index_file import Entry
from container_kit._store.layers import pair_layers
from container_kit._store.store import ImageStore
from container_kit._store.unpack import Cancellation
from container_kit.errors import DigestMismatchError, ImageError, ImageNotFoundError

_MOST_THREADS = 4


def load(
    store: ImageStore,
    source: str | BinaryIO,
    *,
    names: Sequence[str] | None = None,
    platform: Platform | None = None,
    progress: ProgressCallback | None = None,
) -> tuple[Entry, ...]:
    """Take images out of an archive and unpack their layers. Blocks until that is done.

    A name that meant another image until now means the new one; the older image becomes dangling.

    Args:
        store: where the images go.
        source: a path, or a binary file that is read to its end, need not be able to seek, and stays open.
            The compression is found out: none, gzip, zstd, bzip2 or xz.
        names: the images to take, by names in the archive; None: all of them, by all their names, also those
            that have no name.
        platform: of which image the layers are unpacked where there is a choice; None: this host's.
        progress: is told of what is unpacked and verified.

    Returns:
        One entry for each name, and for each image without one, in the order of the archive.

    Raises:
        UnsafeArchiveError: the archive, or a layer in it, is malformed or larger than allowed.
        DigestMismatchError: something in it is not what its digest says.
        ImageError: it holds no image, an incomplete one, or contradicts itself.
        ImageNotFoundError: it has no image of a name that was asked for; `near` holds similar ones.
        StorageFullError: there is no room.
    """
    with store.lease() as lease, open_archive(store, source, progress=progress) as scratch:
        found = _read_images(scratch, platform or host_platform(_host.machine()))
        chosen = _choose(found, names, scratch.name)
        for image in chosen:  # a manifest holds its layers as well
            lease.add(image.descriptor.digest, *(blob.digest for blob in image.blobs))
        _store_blobs(store, scratch, chosen)
        _unpack_layers(store, chosen, progress)
        entries = _set_names(store, chosen)
    if progress is not None:
        progress(Progress(action="done", subject=scratch.name, finished=True))
    return entries


def _read_images(scratch: Scratch, platform: Platform) -> tuple[ArchivedImage, ...]:
    if scratch.has(MARKER) and scratch.has(TOP):
        images = read_oci_images(scratch, platform)
    elif scratch.has(LISTING):
        images = read_docker_images(scratch)
    else:
        hint = "Image.import_ takes the root file system of an image"
        if scratch.has("repositories"):
            hint = "it was made by a Docker older than 1.10: load and save it with a newer one"
        reason = f"is no archive of images: it has neither {MARKER} nor {LISTING}"
        raise ImageError(image=scratch.name, reason=reason, hint=hint)
    if not images:
        raise ImageError(image=scratch.name, reason="is an archive without images")
    check_names(images, scratch.name)
    return images


def _choose(images: tuple[ArchivedImage, ...], names: Sequence[str] | None, what: str) -> tuple[ArchivedImage, ...]:
    if names is None:
        return images
    wanted = [parse_reference(name).canonical for name in check_strings(names, "names")]
    known = {name.canonical: name.familiar for image in images for name in image.names}
    for name, given in zip(wanted, names, strict=True):
        if name not in known:
            near = tuple(get_close_matches(given, known.values())) or tuple(known.values())[:5]
            raise ImageNotFoundError(name=given, near=near, hint=f"{what} has no image of that name")
    chosen = (
        attrs.evolve(image, names=tuple(name for name in image.names if name.canonical in wanted)) for image in images
    )
    return tuple(image for image in chosen if image.names)


def _store_blobs(store: ImageStore, scratch: Scratch, images: Iterable[ArchivedImage]) -> None:
    """Verify everything that is not in the store yet, and only then let it in."""
    missing: dict[Digest, ArchivedBlob] = {}
    for blob in (blob for image in images for blob in image.blobs):
        if not store.layout.has(blob.digest):
            missing.setdefault(blob.digest, blob)
    _verify(scratch, missing)
    for blob in missing.values():
        if blob.data is not None:
            store.layout.put(blob.data)
        else:
            scratch.move(blob.path, blob.digest, store.layout)


def _verify(scratch: Scratch, blobs: Mapping[Digest, ArchivedBlob]) -> None:
    unverified = [blob for blob in blobs.values() if blob.path and not blob.is_verified]
    measured = scratch.measure((blob.path, algorithm_of(blob.digest)) for blob in unverified)
    for blob in unverified:
        what = f"{blob.path} of {scratch.name}"
        actual = measured[blob.path]
        if actual.size != blob.size:
            reason = "the content does not have the promised size"
            raise DigestMismatchError(image=what, reason=reason, expected=str(blob.size), actual=str(actual.size))
        if actual.digest != blob.digest:
            raise DigestMismatchError(image=what, expected=blob.digest, actual=actual.digest)


def _unpack_layers(store: ImageStore, images: Iterable[ArchivedImage], progress: ProgressCallback | None) -> None:
    wanted: dict[Digest, Descriptor] = {}
    for image in images:
        if image.manifest is not None and image.config is not None:
            wanted |= pair_layers(image.manifest, image.config)
    cancellation = Cancellation()

    def unpack(diff_id: Digest, layer: Descriptor) -> None:
        store.layers.ensure(diff_id, layer, progress=crew.report, cancellation=cancellation)

    threads = min(len(os.sched_getaffinity(0)), _MOST_THREADS)
    with Crew("ck-load", {"unpack": threads}, progress=progress) as crew:
        crew.at_stop(cancellation.cancel)
        for diff_id, layer in sorted(wanted.items(), key=lambda pair: -pair[1].size):  # the largest take longest
            crew.submit("unpack", partial(unpack, diff_id, layer))
        crew.finish()


def _set_names(store: ImageStore, images: Iterable[ArchivedImage]) -> tuple[Entry, ...]:
    entries: list[Entry] = []
    with store.layout.edit() as index:
        for image in images:
            entries += [index.set(name.canonical, image.descriptor, image.source) for name in image.names]
            if not image.names:
                entries.append(index.set(None, image.descriptor, image.source))
    return tuple(entries)
