"""Blobs go to a registry: those that it has are left out, those it has elsewhere are mounted, the rest is sent.

Layers that are stored uncompressed are compressed on the way, into a file beside the
store that is gone afterwards: only then is their digest known.
"""

from __future__ import annotations

import hashlib
import io
import os
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, TypeAlias

from container_kit._images.crew import Crew
from container_kit._images.meter import Meter
from container_kit._spec.descriptor import Descriptor
from container_kit._spec.digest import Digest, algorithm_of, short_digest
from container_kit._spec.manifest import Index, Manifest
from container_kit._spec.media_types import DOCKER_LAYER_GZIP, DocumentKind, kind, layer_compression, with_compression
from container_kit._spec.paths import HostPath
from container_kit._spec.progress import ProgressCallback
from container_kit._spec.reference import Reference, parse_reference
from container_kit._store.compression import open_compressed
from container_kit._store.durable import storage_errors, write_all
from container_kit._store.scratch import scratch_path
from container_kit.errors import ContainerKitError, DigestMismatchError, ImageError

if TYPE_CHECKING:
    from container_kit._registry.client import Client
    from container_kit._store.layout import Layout
    from container_kit._store.store import ImageStore

Compression: TypeAlias = Literal["zstd", "gzip"]

UPLOAD = "upload"
PACK = "pack"
_MOST_PACKING = 2  # each uses several processors
_PIECE = 1 << 20
_MOST_SOURCES = 3  # repositories that are tried as the source of a mount


def open_crew(parallel: int, progress: ProgressCallback | None) -> Crew:
    """Return threads for a push: so many uploads at a time, and layers being compressed for them."""
    return Crew("ck-push", {UPLOAD: parallel, PACK: _MOST_PACKING}, progress=progress)


class Upload:
    """Sends blobs to one repository by the threads of a crew.

    Args:
        store: where the blobs are.
        client: asks the registry.
        reference: which repository they go to.
        crew: does the work; its `with` block is around the use of this.
        compression: what layers that are not compressed become.
        chunk_bytes: how much to send at a time; None: each blob in one piece.
    """

    def __init__(
        self,
        store: ImageStore,
        client: Client,
        reference: Reference,
        *,
        crew: Crew,
        compression: Compression,
        chunk_bytes: int | None,
    ) -> None:
        self.compressed: dict[Digest, Descriptor] = {}
        self._store = store
        self._client = client
        self._reference = reference
        self._crew = crew
        self._compression: Compression = compression
        self._chunk_bytes = chunk_bytes
        self._lock = threading.Lock()
        self._sources: dict[Digest, list[str]] | None = None

    def add(self, blob: Descriptor) -> None:
        """Have a blob in the repository as it is."""
        path = self._store.layout.blob_path(blob.digest)
        self._crew.submit(UPLOAD, lambda: self._send(blob, path))

    def add_compressed(self, layer: Descriptor) -> None:
        """Have a layer that is not compressed in the repository, compressed; `compressed` says as what."""
        self._crew.submit(PACK, lambda: self._compress(layer))

    def _send(self, blob: Descriptor, path: HostPath) -> None:
        meter = Meter(self._crew.report, "upload", subject=short_digest(blob.digest), total=blob.size)
        meter.advance(0)
        if self._client.has_blob(self._reference, blob.digest):
            meter.finish("already there")
            return
        for repository in self._sources_of(blob.digest):
            self._crew.check()
            if self._client.mount_blob(self._reference, blob.digest, repository):
                meter.finish(f"mounted from {repository}")
                return
        self._client.upload(
            self._reference,
            blob,
            lambda offset: _Content(path, offset, self._crew.check),
            chunk_bytes=self._chunk_bytes,
            progress=meter.advance,
        )
        meter.finish()

    def _compress(self, layer: Descriptor) -> None:
        meter = Meter(self._crew.report, "pack", subject=short_digest(layer.digest), total=layer.size)
        path = scratch_path(self._store.home.ingest)
        self._crew.at_end(lambda: _remove(path))
        compression = compression_for(layer, self._compression)
        packed = compress_layer(self._store.layout, layer, path, compression, self._watch(meter))
        meter.finish()
        self.compressed[layer.digest] = packed
        self._crew.submit(UPLOAD, lambda: self._send(packed, path))

    def _watch(self, meter: Meter) -> Callable[[int], None]:
        def advance(current: int) -> None:
            self._crew.check()
            meter.advance(current)

        return advance

    def _sources_of(self, digest: Digest) -> list[str]:
        """Return repositories of the same registry that should have a blob: we have images of theirs with it."""
        with self._lock:
            if self._sources is None:
                self._sources = find_sources(self._store.layout, self._reference)
        return self._sources.get(digest, [])[:_MOST_SOURCES]


def find_sources(layout: Layout, target: Reference) -> dict[Digest, list[str]]:
    """Return for each blob the other repositories of a registry whose images in the store have it."""
    found: dict[Digest, list[str]] = {}
    for entry in layout.entries():
        repository = _repository_at(entry.name, target)
        if repository is None:
            continue
        for blob in _blobs_below(layout, entry.descriptor):
            known = found.setdefault(blob, [])
            if repository not in known:
                known.append(repository)
    return found


def _repository_at(name: str | None, target: Reference) -> str | None:
    try:
        reference = None if name is None else parse_reference(name)
    except ContainerKitError:
        return None  # a name of another tool
    if reference is None or reference.registry != target.registry or reference.repository == target.repository:
        return None
    return reference.repository


def _blobs_below(layout: Layout, descriptor: Descriptor) -> list[Digest]:
    try:
        document = layout.document(descriptor)
    except ImageError:
        return []  # damaged, or of a platform that is not here
    match document:
        case Manifest():
            return [blob.digest for blob in (document.config, *document.layers)]
        case Index():
            here = [below for below in document.manifests if layout.has(below.digest)]
            return [blob for below in here for blob in _blobs_below(layout, below)]


def is_compressible(blob: Descriptor) -> bool:
    """Say whether a blob is a layer that is not compressed."""
    return (
        kind(blob.media_type) is DocumentKind.LAYER
        and not blob.is_foreign
        and layer_compression(blob.media_type) == "none"
    )


def compression_for(layer: Descriptor, wanted: Compression) -> Compression:
    """Return what a layer is to become: there is no zstd in Docker's format (image manifest v2, schema 2)."""
    return "gzip" if with_compression(layer.media_type, "gzip") == DOCKER_LAYER_GZIP else wanted


def compress_layer(
    layout: Layout, layer: Descriptor, path: HostPath, compression: Compression, advance: Callable[[int], None]
) -> Descriptor:
    """Write a stored, uncompressed layer compressed to a new file, and return the descriptor of that.

    Raises:
        DigestMismatchError: the stored layer was changed.
        StorageFullError: there is no room.
    """
    before = hashlib.new(algorithm_of(layer.digest))
    after = hashlib.sha256()
    done = 0
    with storage_errors(path, f"cannot write {path}"):
        target = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)

    def write(piece: bytes) -> None:
        after.update(piece)
        with storage_errors(path, f"cannot write {path}"):
            write_all(target, piece)

    try:
        compressor = open_compressed(compression, write)
        with open(layout.open(layer.digest), "rb", buffering=0) as source:
            while piece := source.read(_PIECE):
                before.update(piece)
                compressor.write(piece)
                done += len(piece)
                advance(done)
        compressor.close()
        size = os.fstat(target).st_size
    finally:
        os.close(target)
    actual = f"{algorithm_of(layer.digest)}:{before.hexdigest()}"
    if actual != layer.digest:
        raise DigestMismatchError(image=short_digest(layer.digest), expected=layer.digest, actual=actual)
    media_type = with_compression(layer.media_type, compression)
    return Descriptor(media_type=media_type, digest=Digest(f"sha256:{after.hexdigest()}"), size=size)


class _Content(io.FileIO):
    """A file from an offset on; every read asks first whether it is still wanted."""

    def __init__(self, path: HostPath, offset: int, check: Callable[[], None]) -> None:
        super().__init__(path, "rb")
        self.seek(offset)
        self._check = check

    def read(self, size: int | None = -1, /) -> bytes:
        self._check()
        return super().read(-1 if size is None else size)


def _remove(path: HostPath) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
