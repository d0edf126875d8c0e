"""Writes images to an archive: an OCI layout in a tar, and for Docker one that is a docker-archive as well.

`oci`: everything as it is in the store, for all platforms that are there.
`docker`: one platform, and a `manifest.json` beside the layout. Docker and podman do not
take zstd in there, so such layers become plain tars; the config, and with it the
diff_ids, stays the same, the manifest becomes another one.

Same images, same bytes: entries are sorted and have no times. Every blob is verified while it
is copied, and is there once. Names are written as annotations and, for Docker, as RepoTags.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import BinaryIO, Literal, assert_never

import attrs

from container_kit._archives.docker_archive import LISTING
from container_kit._archives.oci_archive import MARKER, NAME_ANNOTATIONS, TOP
from container_kit._archives.output import CHUNK, ArchiveWriter, open_target
from container_kit._images.meter import Meter
from container_kit._spec.descriptor import Descriptor
from container_kit._spec.digest import Digest, algorithm_of, digest_of, hex_of, short_digest
from container_kit._spec.manifest import Index, Manifest, encode_manifest
from container_kit._spec.media_types import OCI_INDEX, DocumentKind, kind, layer_compression, with_compression
from container_kit._spec.oci_config import OciConfig
from container_kit._spec.platform import Platform
from container_kit._spec.progress import Progress, ProgressCallback
from container_kit._spec.reference import parse_reference
from container_kit._spec.strict_json import encode_json
from container_kit._store.compression import open_compressed, open_decompressed
from container_kit._store.index_file import Entry
from container_kit._store.layout import Layout
from container_kit._store.store import ImageStore
from container_kit.errors import ContainerKitError, DigestMismatchError, InvalidSpecError


def save(
    store: ImageStore,
    entries: Sequence[Entry],
    target: str | BinaryIO,
    *,
    format: Literal["docker", "oci"] = "docker",  # noqa: A002  # as users of `docker save --format` and podman know it
    compression: Literal["none", "gzip", "zstd"] = "none",
    platform: Platform | None = None,
    progress: ProgressCallback | None = None,
) -> None:
    """Write images to an archive. Blocks until it is written.

    Args:
        store: where the images are.
        entries: which, and under which names; each name of an image is an entry.
        target: a path, which is replaced when the archive is complete, or a binary file to write to, which stays
            open. A file is not forced to the disk.
        format: `docker`: for docker, podman and skopeo; `oci`: exactly what is in the store.
        compression: of the archive as a whole.
        platform: for `docker`, which image of several; None: this host's.
        progress: is told of each blob.

    Raises:
        InvalidSpecError: there is nothing to save, or `compression` or `format` is none of those.
        DigestMismatchError: a blob in the store was damaged.
        ImageError: a part is missing.
        ImageNotFoundError: there is no image for the platform.
        StorageFullError: there is no room for it.
    """
    _check(entries, format, compression)
    roots = tuple(entry.descriptor.digest for entry in entries)
    with store.lease(*roots), open_target(target) as file:
        compressor = open_compressed(compression, file.write)
        is_plain_file = isinstance(target, str) and compression == "none"
        seekable = file if is_plain_file else None
        write = file.write if compression == "none" else compressor.write
        writer = ArchiveWriter(write, seekable=seekable, scratch=store.home.ingest)
        saving = _Saving(store.layout, writer, progress)
        match format:
            case "docker":
                saving.write_docker(entries, platform)
            case "oci":
                saving.write_oci(entries)
            case _:
                assert_never(format)
        writer.finish()
        compressor.close()
    if progress is not None:
        subject = target if isinstance(target, str) else "archive"
        progress(Progress(action="done", subject=subject, finished=True))


def _check(entries: Sequence[Entry], archive_format: str, compression: str) -> None:
    if not entries:
        raise InvalidSpecError(field="images", reason="are none: there is nothing to save")
    if archive_format not in ("docker", "oci"):
        raise InvalidSpecError(field="format", value=archive_format, reason="must be 'docker' or 'oci'")
    if compression not in ("none", "gzip", "zstd"):
        raise InvalidSpecError(field="compression", value=compression, reason="must be 'none', 'gzip' or 'zstd'")


@attrs.frozen(kw_only=True)
class _Image:
    """One manifest on its way into a docker-archive."""

    entry: Entry
    descriptor: Descriptor
    manifest: Manifest
    config: OciConfig

    @property
    def layers(self) -> tuple[tuple[Descriptor, Digest], ...]:
        return tuple(zip(self.manifest.layers, self.config.diff_ids, strict=True))


class _Saving:
    """One archive being filled."""

    def __init__(self, layout: Layout, writer: ArchiveWriter, progress: ProgressCallback | None) -> None:
        self._layout = layout
        self._writer = writer
        self._progress = progress
        self._algorithms: set[str] = set()

    # ── OCI ──────────────────────────────────────────────────────────────────────────────────────

    def write_oci(self, entries: Sequence[Entry]) -> None:
        """Write everything that the entries refer to, and who they are."""
        blobs: dict[Digest, Descriptor] = {}
        for entry in entries:
            self._gather(entry.descriptor, blobs)
        self._begin(blobs)
        for digest in sorted(blobs):
            self._copy(blobs[digest])
        self._end([(entry, entry.descriptor) for entry in entries])

    def _gather(self, descriptor: Descriptor, blobs: dict[Digest, Descriptor]) -> None:
        if descriptor.digest in blobs:
            return
        blobs[descriptor.digest] = descriptor
        if kind(descriptor.media_type) not in (DocumentKind.INDEX, DocumentKind.MANIFEST):
            return
        document = self._layout.document(descriptor)
        parts = document.manifests if isinstance(document, Index) else (document.config, *document.layers)
        for part in parts:
            self._gather(part, blobs)

    # ── Docker ───────────────────────────────────────────────────────────────────────────────────

    def write_docker(self, entries: Sequence[Entry], platform: Platform | None) -> None:
        """Write one manifest for each entry: its layers, its documents, and both kinds of listing."""
        images = [self._image_of(entry, platform) for entry in entries]
        layers = {_name_of(*pair): pair for image in images for pair in image.layers}
        self._begin([*layers, *(image.descriptor.digest for image in images)])
        sizes: dict[Digest, int] = {}
        for digest in sorted(layers):
            sizes[digest] = self._copy_layer(*layers[digest])
        manifests = [self._encoded(image, sizes) for image in images]
        documents = {digest_of(data): data for data in manifests}
        documents.update((image.manifest.config.digest, image.config.raw) for image in images)
        for digest in sorted(documents):
            self._writer.add_bytes(_path_of(digest), documents[digest])
        described = [
            (image.entry, attrs.evolve(image.descriptor, digest=digest_of(data), size=len(data)))
            for image, data in zip(images, manifests, strict=True)
        ]
        self._end(described, listing=_docker_listing(images))

    def _image_of(self, entry: Entry, platform: Platform | None) -> _Image:
        descriptor, manifest = self._layout.manifest_of(entry, platform)
        config = self._layout.oci_config(manifest)
        return _Image(entry=entry, descriptor=descriptor, manifest=manifest, config=config)

    def _copy_layer(self, layer: Descriptor, diff_id: Digest) -> int:
        if layer_compression(layer.media_type) != "zstd":
            self._copy(layer)
            return layer.size
        with open(self._layout.open(layer.digest), "rb", buffering=0) as file:
            reader = open_decompressed("zstd", lambda size: file.read(size) or b"", what=short_digest(layer.digest))
            chunks = iter(lambda: reader.read(CHUNK), b"")
            return self._writer.add_unsized_file(_path_of(diff_id), self._verified(chunks, diff_id, None))

    def _encoded(self, image: _Image, sizes: dict[Digest, int]) -> bytes:
        names = [_name_of(*pair) for pair in image.layers]
        if names == [layer.digest for layer in image.manifest.layers]:
            return self._layout.read(image.descriptor)  # as it is: what has a digest is not encoded again
        layers = tuple(
            layer
            if layer.digest == name
            else Descriptor(media_type=with_compression(layer.media_type, "none"), digest=name, size=sizes[name])
            for layer, name in zip(image.manifest.layers, names, strict=True)
        )
        return encode_manifest(attrs.evolve(image.manifest, layers=layers))

    # ── both ─────────────────────────────────────────────────────────────────────────────────────

    def _begin(self, digests: Iterable[Digest]) -> None:
        self._writer.add_directory("blobs")
        for algorithm in sorted({algorithm_of(digest) for digest in digests} | {"sha256"}):
            self._writer.add_directory(f"blobs/{algorithm}")

    def _copy(self, descriptor: Descriptor) -> None:
        with open(self._layout.open(descriptor.digest), "rb", buffering=0) as file:
            chunks = iter(lambda: file.read(CHUNK) or b"", b"")
            verified = self._verified(chunks, descriptor.digest, descriptor.size)
            self._writer.add_file(_path_of(descriptor.digest), descriptor.size, verified)

    def _verified(self, chunks: Iterable[bytes], digest: Digest, size: int | None) -> Iterator[bytes]:
        total = hashlib.new(algorithm_of(digest))
        meter = Meter(self._report, "pack", subject=short_digest(digest), total=size)
        count = 0
        for chunk in chunks:
            total.update(chunk)
            count += len(chunk)
            meter.advance(count)
            yield chunk
        actual = f"{algorithm_of(digest)}:{total.hexdigest()}"
        if actual != digest:
            hint = "the store was damaged: remove the image and pull or load it again"
            raise DigestMismatchError(image=short_digest(digest), expected=digest, actual=actual, hint=hint)
        meter.finish()

    def _report(self, event: Progress) -> None:
        if self._progress is not None:
            self._progress(event)

    def _end(self, images: Iterable[tuple[Entry, Descriptor]], *, listing: list[object] | None = None) -> None:
        rows = sorted((_row_of(entry, descriptor) for entry, descriptor in images), key=encode_json)
        index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": rows}
        self._writer.add_bytes(TOP, encode_json(index))
        if listing is not None:
            self._writer.add_bytes(LISTING, json.dumps(listing, separators=(",", ":"), sort_keys=True).encode())
        self._writer.add_bytes(MARKER, encode_json({"imageLayoutVersion": "1.0.0"}))


def _name_of(layer: Descriptor, diff_id: Digest) -> Digest:
    """Return the digest that a layer has in a docker-archive."""
    return diff_id if layer_compression(layer.media_type) == "zstd" else layer.digest


def _row_of(entry: Entry, descriptor: Descriptor) -> dict[str, object]:
    names = tuple((key, entry.name) for key in NAME_ANNOTATIONS) if entry.name is not None else ()
    return attrs.evolve(descriptor, annotations=names, urls=()).to_json()


def _docker_listing(images: Sequence[_Image]) -> list[object]:
    """Return the content of manifest.json: one item an image, with all its names."""
    items: dict[Digest, dict[str, object]] = {}
    tags: dict[Digest, set[str]] = {}
    for image in sorted(images, key=lambda image: image.descriptor.digest):
        key = image.descriptor.digest
        layers = [_path_of(_name_of(*pair)) for pair in image.layers]
        items[key] = {"Config": _path_of(image.manifest.config.digest), "Layers": layers}
        tags.setdefault(key, set()).update(_repo_tags(image.entry))
    return [{**item, "RepoTags": sorted(tags[key]) or None} for key, item in items.items()]


def _repo_tags(entry: Entry) -> Iterator[str]:
    if entry.name is None:
        return
    try:
        reference = parse_reference(entry.name, default_tag=False)
    except ContainerKitError:
        return  # a name that another tool put into the layout
    if reference.tag is not None:
        yield attrs.evolve(reference, digest=None).familiar


def _path_of(digest: Digest) -> str:
    return f"blobs/{algorithm_of(digest)}/{hex_of(digest)}"
