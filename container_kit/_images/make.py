"""Makes images: from tar streams and directories, and from other images with another config or one more layer.

Same input, same digest: times are the caller's or the epoch, packing is sorted, compressing
and encoding deterministic. What is made here gets its name when everything of it is there
and unpacked; leases hold it until then.
"""

from __future__ import annotations

import os
import platform as _host
from collections.abc import Sequence
from functools import partial
from typing import BinaryIO

import attrs

from container_kit._files.view import directory_view
from container_kit._files.worker import FileWorker, PackOptions
from container_kit._images.layer_stream import LAYER_TYPES, Compression, Tar
from container_kit._images.layer_stream import add_layer as add_layer
from container_kit._images.sources import open_any, open_source
from container_kit._spec.changes import apply_changes
from container_kit._spec.descriptor import Descriptor
from container_kit._spec.digest import Digest, digest_of
from container_kit._spec.image_config import ImageConfig
from container_kit._spec.manifest import Manifest, encode_manifest
from container_kit._spec.media_types import OCI_CONFIG, OCI_MANIFEST, layer_compression
from container_kit._spec.oci_config import HistoryEntry, OciConfig, edit_oci_config, new_oci_config
from container_kit._spec.paths import parse_host_path
from container_kit._spec.platform import Platform, host_platform
from container_kit._spec.progress import ProgressCallback
from container_kit._spec.reference import parse_reference
from container_kit._store.index_file import Entry
from container_kit._store.store import ImageStore, Lease
from container_kit.errors import ImageError, InvalidReferenceError, UnsafeArchiveError

EPOCH = "1970-01-01T00:00:00Z"


@attrs.frozen(kw_only=True)
class Note:
    """What an image's history says of a step.

    Args:
        created: when, as RFC 3339 has it. The default makes images reproducible.
        created_by: the command or call that made it.
        author, comment: text for people.
    """

    created: str = EPOCH
    created_by: str = ""
    author: str = ""
    comment: str = ""

    def entry(self, *, empty_layer: bool = False) -> HistoryEntry:
        """Return the entry of the history; `empty_layer` when only the config changed."""
        return HistoryEntry(
            created=self.created,
            created_by=self.created_by,
            author=self.author,
            comment=self.comment,
            empty_layer=empty_layer,
        )


@attrs.frozen(kw_only=True)
class Packing:
    """How a directory becomes a layer.

    Args:
        owner: uid and gid that everything has; None: as it is (rootless: as the container would see it).
        latest_mtime_ns: later times become this one; None: times stay.
        compression: of the blob.
    """

    owner: tuple[int, int] | None = None
    latest_mtime_ns: int | None = None
    compression: Compression = "zstd"


# ── whole images ─────────────────────────────────────────────────────────────────────────────────


def import_tar(
    store: ImageStore,
    source: str | BinaryIO,
    name: str | None,
    *,
    changes: Sequence[str] = (),
    platform: Platform | None = None,
    note: Note | None = None,
    compression: Compression = "zstd",
    progress: ProgressCallback | None = None,
) -> Entry:
    """Make an image of one layer from a root file system tar. Blocks until it is unpacked.

    Args:
        store: where it goes.
        source: a path, or a binary file that is read to its end and stays open; the compression is found out.
        name: of the image; None: it has none.
        changes: Dockerfile instructions for its config, e.g. `CMD ["/bin/sh"]`.
        platform: what it is for; None: this host.
        note: for its history.
        compression: of the layer in the store.
        progress: is told of bytes.

    Raises:
        InvalidReferenceError: the name cannot be.
        InvalidSpecError: a change is none.
        UnsafeArchiveError: the tar is malformed or larger than allowed.
        HostError: it cannot be read.
        StorageFullError: there is no room.
    """
    canonical = check_name(name)
    said = note or Note(created_by="import")
    blank = apply_changes(_blank(platform), changes)  # what is wrong with them is said before anything is read
    what = source if isinstance(source, str) else "archive"
    with store.lease() as lease, open_source(source) as file:
        tar = open_any(file, what=what)
        made = add_layer(store, tar, compression=compression, lease=lease, progress=progress)
        if not tar.produced:
            raise UnsafeArchiveError(image=what, reason="it is empty")
        return _finish(store, blank, None, made, said, name=canonical, lease=lease, progress=progress)


def from_directory(
    store: ImageStore,
    path: str,
    name: str | None,
    *,
    config: ImageConfig | None = None,
    changes: Sequence[str] = (),
    platform: Platform | None = None,
    packing: Packing | None = None,
    note: Note | None = None,
    progress: ProgressCallback | None = None,
) -> Entry:
    """Make an image of one layer from a directory. Blocks until it is unpacked.

    Args:
        store: where it goes.
        path: the root of a file system. What is mounted in it is left out; it is not written.
        name: of the image; None: it has none.
        config: how its processes run by default.
        changes: Dockerfile instructions, applied to the config.
        platform: what it is for; None: this host.
        packing: owners, times and compression.
        note: for its history.
        progress: is told of bytes.

    Raises:
        InvalidReferenceError: the name cannot be.
        InvalidSpecError: a change is none.
        ImageError: there is no such directory.
        PathError: something in it cannot be read.
        StorageFullError: there is no room.
    """
    canonical = check_name(name)
    blank = apply_changes(_blank(platform, config), changes)
    with store.lease() as lease:
        made = add_directory(store, path, packing=packing, lease=lease, progress=progress)
        said = note or Note(created_by="from_directory")
        return _finish(store, blank, None, made, said, name=canonical, lease=lease, progress=progress)


# ── images from images ───────────────────────────────────────────────────────────────────────────


def with_config(
    store: ImageStore,
    image: Entry | Descriptor,
    name: str | None = None,
    *,
    config: ImageConfig | None = None,
    changes: Sequence[str] = (),
    platform: Platform | None = None,
    note: Note | None = None,
) -> Entry:
    """Make an image that differs in its config only; it shares every layer.

    Args:
        store: where both are.
        image: what it is made from.
        name: of the new image; None: it has none.
        config: what replaces the config; None: it stays.
        changes: Dockerfile instructions, applied to it.
        platform: which of several images; None: this host's.
        note: for its history.

    Raises:
        InvalidReferenceError: the name cannot be.
        InvalidSpecError: a change is none.
        ImageError: a part of the image is missing or malformed.
    """
    canonical = check_name(name)
    with store.lease(_digest_of(image)) as lease:
        manifest, before = _parts_of(store, image, platform)
        said = note or Note(created_by="with_config")
        edited = apply_changes(edit_oci_config(before, image=config), changes)
        history = (*before.history, said.entry(empty_layer=True))
        after = edit_oci_config(edited, history=history, created=said.created)
        descriptor = compose(store, after, base=manifest, lease=lease)
        return give_name(store, canonical, descriptor)


def with_layer(
    store: ImageStore,
    image: Entry | Descriptor,
    content: str | Tar,
    name: str | None = None,
    *,
    platform: Platform | None = None,
    packing: Packing | None = None,
    note: Note | None = None,
    progress: ProgressCallback | None = None,
) -> Entry:
    """Make an image with one more layer on top.

    Args:
        store: where both are.
        image: what it is made from.
        content: a directory, or a tar as `add_layer` takes it; `.wh.NAME` in a tar takes NAME away.
        name: of the new image; None: it has none.
        platform: which of several images; None: this host's.
        packing: how a directory is packed; of a tar only the compression counts.
        note: for its history.
        progress: is told of bytes.

    Raises:
        InvalidReferenceError: the name cannot be.
        ImageError: a part of the image is missing or malformed, or it would have too many layers.
        UnsafeArchiveError: the tar is malformed or larger than allowed.
    """
    canonical = check_name(name)
    how = packing or Packing()
    with store.lease(_digest_of(image)) as lease:
        manifest, before = _parts_of(store, image, platform)
        if isinstance(content, str):
            made = add_directory(store, content, packing=how, lease=lease, progress=progress)
        else:
            made = add_layer(store, content, compression=how.compression, lease=lease, progress=progress)
        said = note or Note(created_by="with_layer")
        return _finish(store, before, manifest, made, said, name=canonical, lease=lease, progress=progress)


# ── pieces ───────────────────────────────────────────────────────────────────────────────────────


def add_directory(
    store: ImageStore,
    path: str,
    *,
    packing: Packing | None = None,
    lease: Lease | None = None,
    progress: ProgressCallback | None = None,
) -> tuple[Descriptor, Digest]:
    """Store a directory, its own mode and owner included, as a layer; see `add_layer`.

    Raises:
        ImageError: there is no such directory.
        PathError: something in it cannot be read.
    """
    how = packing or Packing()
    directory = parse_host_path(os.path.abspath(path), "image directory")
    if not os.path.isdir(directory):
        raise ImageError(image=directory, reason="is not a directory", hint="give the root of a file system tree")
    options = PackOptions(name=".", owner=how.owner, latest_mtime_ns=how.latest_mtime_ns)
    view = directory_view(directory, read_only=True)
    with FileWorker.start(view, user_namespace=store.user_namespace()) as worker:
        tar = partial(worker.pack, "/", options=options)
        return add_layer(store, tar, compression=how.compression, lease=lease, progress=progress)


def compose(
    store: ImageStore,
    config: OciConfig,
    *,
    base: Manifest | None = None,
    layers: Sequence[Descriptor] = (),
    lease: Lease | None = None,
) -> Descriptor:
    """Store the documents of an image whose layers are there, and return the descriptor of its manifest.

    Args:
        store: where.
        config: with a diff_id for each layer.
        base: the image below, whose layers are shared.
        layers: those on top of it, from the lowest.
        lease: holds the image from the moment it is there.

    Raises:
        ImageError: config and layers are not as many, or a layer is gone.
    """
    below = tuple(_as_oci(layer) for layer in base.layers) if base is not None else ()
    together = (*below, *layers)
    if len(together) != len(config.diff_ids):
        raise ImageError(image="new", reason=f"has {len(together)} layers and {len(config.diff_ids)} diff_ids")
    if lease is not None:
        lease.add(*(layer.digest for layer in together), *config.diff_ids)
    for layer in together:
        store.layout.size(layer.digest)  # its documents are remembered, the image may have been removed since
    described = _put(store, config.raw, OCI_CONFIG, lease)
    return _put(store, encode_manifest(Manifest(config=described, layers=together)), OCI_MANIFEST, lease)


def give_name(store: ImageStore, name: str | None, descriptor: Descriptor) -> Entry:
    """Let a name, as `check_name` returned it, mean an image; None: it is there without a name."""
    with store.layout.edit() as index:
        return index.set(name, descriptor)


def check_name(name: str | None) -> str | None:
    """Return the canonical form of the name for a new image.

    Raises:
        InvalidReferenceError: it is no reference, or has a digest, which only content can have.
    """
    if name is None:
        return None
    reference = parse_reference(name)
    if reference.digest is not None:
        raise InvalidReferenceError(field="name", value=name, reason="has a digest, which nobody can choose")
    return reference.canonical


def _finish(
    store: ImageStore,
    config: OciConfig,
    base: Manifest | None,
    made: tuple[Descriptor, Digest],
    note: Note,
    *,
    name: str | None,
    lease: Lease,
    progress: ProgressCallback | None,
) -> Entry:
    """Put a layer on top of a config, unpack it, and give the image its name."""
    layer, diff_id = made
    after = edit_oci_config(
        config, add_layers=((diff_id, note.entry()),), created=note.created, author=note.author or None
    )
    descriptor = compose(store, after, base=base, layers=(layer,), lease=lease)
    store.layers.ensure(diff_id, layer, progress=progress)
    return give_name(store, name, descriptor)


def _blank(platform: Platform | None, config: ImageConfig | None = None) -> OciConfig:
    return new_oci_config(platform or host_platform(_host.machine()), image=config)


def _parts_of(store: ImageStore, image: Entry | Descriptor, platform: Platform | None) -> tuple[Manifest, OciConfig]:
    _, manifest = store.layout.manifest_of(image, platform)
    return manifest, store.layout.oci_config(manifest)


def _digest_of(image: Entry | Descriptor) -> Digest:
    return image.descriptor.digest if isinstance(image, Entry) else image.digest


def _as_oci(layer: Descriptor) -> Descriptor:
    # One of Docker's types in an OCI manifest is refused by some; the bytes are the same.
    return attrs.evolve(layer, media_type=LAYER_TYPES[layer_compression(layer.media_type)], urls=(), annotations=())


def _put(store: ImageStore, data: bytes, media_type: str, lease: Lease | None) -> Descriptor:
    digest = digest_of(data)
    if lease is not None:
        lease.add(digest)
    store.layout.put(data)
    return Descriptor(media_type=media_type, digest=digest, size=len(data))
