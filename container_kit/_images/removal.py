"""Taking images away, and saying what they take up.

Removing is: take the names out of the index, then collect what nothing refers to any more. What a
container was made from stays, whoever asks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import TypeAlias, TypeVar

import attrs

from container_kit._images.find import familiar, short_of
from container_kit._spec.descriptor import Descriptor
from container_kit._spec.digest import Digest
from container_kit._spec.manifest import Index, Manifest
from container_kit._spec.media_types import DocumentKind, kind
from container_kit._state import content_records, records
from container_kit._store.collect import collect
from container_kit._store.index_file import IndexEdit
from container_kit._store.layout import Entry
from container_kit._store.reserve import with_reserve
from container_kit._store.store import ImageStore
from container_kit.errors import ImageError, ImageNotFoundError, InUseError

Document: TypeAlias = "Manifest | Index"

_Value = TypeVar("_Value")
_DOCUMENTS = (DocumentKind.MANIFEST, DocumentKind.INDEX)


@attrs.frozen(kw_only=True)
class Pruned:
    """What a prune took away: names or short ids, and the bytes that were freed."""

    removed: tuple[str, ...]
    bytes: int


@attrs.frozen(kw_only=True)
class ImageUsage:
    """What one image takes up on disk, in bytes.

    Attributes:
        id, names: which one.
        bytes: its blobs and its unpacked layers.
        shared, unique: of that, what other images use as well, and what removing it frees.
        containers: names of those made from it.
    """

    id: Digest
    names: tuple[str, ...]
    bytes: int
    shared: int
    unique: int
    containers: tuple[str, ...]


def remove(store: ImageStore, digest: Digest, name: str | None, *, force: bool) -> None:
    """Remove one name of an image, or with its last name the image.

    Args:
        store: where.
        digest: of the image.
        name: the canonical name to remove; None: the image with all its names.
        force: also when it has several names, or when containers were made from it: then it only loses its names.

    Raises:
        ImageNotFoundError: it is gone, or does not have that name.
        InUseError: containers were made from it, or it has several names and none was given; `users` has them.
    """
    with_reserve(store.home, lambda: _take_out(store, digest, name, force=force))
    with_reserve(store.home, lambda: collect(store))


def _take_out(store: ImageStore, digest: Digest, name: str | None, *, force: bool) -> None:
    with store.layout.edit() as index:
        names = _names_of(index, digest, name)
        if name is None and len(names) > 1 and not force:
            hint = "remove it by one of its names, or with force=True"
            raise InUseError(name=f"image {short_of(digest)}", users=tuple(map(familiar, names)), hint=hint)
        is_last = name is None or len(names) <= 1
        users = users_of(store, _descriptor_of(index, digest)) if is_last else ()
        if users and not force:
            hint = "remove those containers first, or only take the name away with untag()"
            raise InUseError(name=f"image {familiar(name) if name else short_of(digest)}", users=users, hint=hint)
        if is_last and not users:
            index.remove(digest)
        else:
            for one in names if name is None else (name,):
                index.remove_name(one)


def untag(store: ImageStore, digest: Digest, name: str) -> None:
    """Take a name of an image away. The image stays, dangling if this was its last name.

    Raises:
        ImageNotFoundError: it does not have that name.
    """
    with store.layout.edit() as index:
        _names_of(index, digest, name)
        index.remove_name(name)


def prune(store: ImageStore, goes: Callable[[Entry], bool]) -> Pruned:
    """Remove those images for which `goes` is true and from which no container was made."""
    removed = with_reserve(store.home, lambda: _take_out_all(store, goes))
    return Pruned(removed=tuple(removed), bytes=with_reserve(store.home, lambda: collect(store)).bytes)


def _take_out_all(store: ImageStore, goes: Callable[[Entry], bool]) -> list[str]:
    removed: list[str] = []
    with store.layout.edit() as index:
        for entry in index.entries:
            digest = entry.descriptor.digest
            if not goes(entry) or users_of(store, entry.descriptor):
                continue
            if entry.name is None or len(_names_of(index, digest, entry.name)) == 1:
                index.remove(digest)
            else:
                index.remove_name(entry.name)
            removed.append(familiar(entry.name) if entry.name is not None else short_of(digest))
    return removed


def disk_usage(store: ImageStore) -> tuple[ImageUsage, ...]:
    """Return what each image takes up, and how much of it it shares."""
    names: dict[Descriptor, list[str]] = {}
    for entry in store.layout.entries():
        names.setdefault(entry.descriptor, []).extend([familiar(entry.name)] if entry.name is not None else [])
    parts = {descriptor: _sizes_of(store, descriptor) for descriptor in names}
    uses = Counter(part for sizes in parts.values() for part in sizes)
    found: list[ImageUsage] = []
    for descriptor, sizes in parts.items():
        whole = sum(sizes.values())
        shared = sum(size for part, size in sizes.items() if uses[part] > 1)
        found.append(
            ImageUsage(
                id=descriptor.digest,
                names=tuple(names[descriptor]),
                bytes=whole,
                shared=shared,
                unique=whole - shared,
                containers=users_of(store, descriptor),
            )
        )
    return tuple(found)


def users_of(store: ImageStore, descriptor: Descriptor) -> tuple[str, ...]:
    """Return the names of the containers that were made from an image, whichever of its platforms they use."""
    return records.names_made_from(store.database, list(_documents_below(store, descriptor)))


def _names_of(index: IndexEdit, digest: Digest, name: str | None) -> list[str]:
    entries = [entry for entry in index.entries if entry.descriptor.digest == digest]
    names = [entry.name for entry in entries if entry.name is not None]
    if not entries or (name is not None and name not in names):
        hint = "it was removed, or its name was given to another image"
        raise ImageNotFoundError(name=familiar(name) if name else digest, hint=hint)
    return names


def _descriptor_of(index: IndexEdit, digest: Digest) -> Descriptor:
    return next(entry.descriptor for entry in index.entries if entry.descriptor.digest == digest)


def _documents_below(store: ImageStore, descriptor: Descriptor) -> dict[Digest, tuple[Descriptor, Document | None]]:
    """Return the manifests and indexes of an image that are here, None for a damaged one: that can be removed too.

    Depth and number are bounded by their parser.
    """
    found: dict[Digest, tuple[Descriptor, Document | None]] = {}
    waiting = [descriptor]
    while waiting:
        one = waiting.pop()
        if one.digest in found or not store.layout.has(one.digest):
            continue
        document = _intact(partial(store.layout.document, one))
        found[one.digest] = (one, document)
        if isinstance(document, Index):
            waiting += [each for each in document.manifests if kind(each.media_type) in _DOCUMENTS]
    return found


def _sizes_of(store: ImageStore, descriptor: Descriptor) -> dict[str, int]:
    """Return digest → bytes on disk of everything that belongs to an image: documents, blobs and unpacked layers."""
    sizes: dict[str, int] = {}
    for one, document in _documents_below(store, descriptor).values():
        sizes[one.digest] = one.size
        if isinstance(document, Manifest) and store.layout.has(document.config.digest):
            blobs = (document.config, *document.layers)
            sizes.update({blob.digest: blob.size for blob in blobs if store.layout.has(blob.digest)})
            config = _intact(partial(store.layout.oci_config, document))
            unpacked = content_records.layers(store.database, config.diff_ids) if config is not None else {}
            sizes.update({f"unpacked {diff_id}": record.bytes for diff_id, record in unpacked.items()})
    return sizes


def _intact(read: Callable[[], _Value]) -> _Value | None:
    try:
        return read()
    except ImageError:
        return None
