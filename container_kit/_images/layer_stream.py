"""Turns a tar stream into a layer of the store: one pass, in which it is hashed, compressed, hashed and written.

The blob is written beside and renamed when it is complete. Whether the tar is a good one
shows when it is unpacked (`Layers.ensure`); nothing should be named before that.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import partial
from typing import Literal, Protocol, TypeAlias

import attrs

from container_kit._images.crew import Crew
from container_kit._images.meter import Meter
from container_kit._images.pipes import PipeEnd, open_pipe
from container_kit._spec.descriptor import Descriptor
from container_kit._spec.digest import Digest
from container_kit._spec.media_types import OCI_LAYER, OCI_LAYER_GZIP, OCI_LAYER_ZSTD
from container_kit._spec.progress import Progress, ProgressCallback
from container_kit._store.compression import open_compressed
from container_kit._store.durable import CONTENT_MODE, storage_errors, sync_directory, write_all
from container_kit._store.scratch import scratch_path
from container_kit._store.store import ImageStore, Lease

Compression: TypeAlias = Literal["none", "gzip", "zstd"]
LAYER_TYPES = {"none": OCI_LAYER, "gzip": OCI_LAYER_GZIP, "zstd": OCI_LAYER_ZSTD}
_CHUNK = 1 << 20


class Readable(Protocol):
    """What can be read from: returns up to `size` bytes, nothing at its end."""

    def read(self, size: int, /) -> bytes:
        """Return some bytes."""
        ...


Tar: TypeAlias = "int | Readable | Callable[[int], object]"


def add_layer(
    store: ImageStore,
    tar: Tar,
    *,
    compression: Compression = "zstd",
    lease: Lease | None = None,
    progress: ProgressCallback | None = None,
) -> tuple[Descriptor, Digest]:
    """Store a tar stream as a layer; it is not unpacked yet. Blocks until it is there, durably.

    Args:
        store: where.
        tar: a descriptor to read from to its end, borrowed; an object with `read`; or a function that writes the
            tar to a descriptor it is given, in a thread of its own, such as a `FileWorker.pack`.
        compression: of the blob. The same tar and compression give the same blob.
        lease: holds blob and layer from the moment they are there; without one a collection may take them.
        progress: is told of the bytes of the tar.

    Returns:
        The layer's descriptor and its diff_id.

    Raises:
        StorageFullError: there is no room.
    """
    meter = Meter(progress or tell_nobody, "pack", subject="layer")
    with _opened(tar) as source:
        layer = _write(store, source, meter, compression=compression, lease=lease)
    meter.finish()
    return layer


def tell_nobody(_: Progress) -> None:
    """Take a progress event and do nothing."""


def _nothing() -> None:
    pass


@attrs.frozen(kw_only=True)
class _Source:
    """Where a tar comes from; `finish` raises what ended it early."""

    read: Callable[[int], bytes]
    finish: Callable[[], None] = _nothing


def _write(
    store: ImageStore,
    source: _Source,
    meter: Meter,
    *,
    compression: Compression,
    lease: Lease | None,
) -> tuple[Descriptor, Digest]:
    temporary = scratch_path(store.home.ingest)
    with storage_errors(temporary, "cannot write a layer"):
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        diff_id, digest, size = _copy(source.read, fd, meter, compression)
        source.finish()
        layer = Descriptor(media_type=LAYER_TYPES[compression], digest=digest, size=size)
        if lease is not None:
            lease.add(digest, diff_id)
        _place(store, fd, temporary, digest)
    finally:
        os.close(fd)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
    return layer, diff_id


def _copy(read: Callable[[int], bytes], fd: int, meter: Meter, compression: Compression) -> tuple[Digest, Digest, int]:
    outside, inside = hashlib.sha256(), hashlib.sha256()
    size = 0

    def write(piece: bytes) -> None:
        nonlocal size
        with storage_errors("layer", "cannot write a layer"):
            write_all(fd, piece)
        outside.update(piece)
        size += len(piece)

    compressor = open_compressed(compression, write)
    count = 0
    while piece := read(_CHUNK):
        inside.update(piece)
        compressor.write(piece)
        count += len(piece)
        meter.advance(count)
    compressor.close()
    return Digest(f"sha256:{inside.hexdigest()}"), Digest(f"sha256:{outside.hexdigest()}"), size


def _place(store: ImageStore, fd: int, temporary: str, digest: Digest) -> None:
    if store.layout.has(digest):
        return
    store.layout.prepare_for(digest)
    with storage_errors(temporary, f"cannot store the blob {digest}"):
        os.fchmod(fd, CONTENT_MODE)
        os.fsync(fd)
        path = store.layout.blob_path(digest)
        os.rename(temporary, path)
        sync_directory(os.path.dirname(path))


@contextmanager
def _opened(tar: Tar) -> Generator[_Source, None, None]:
    if isinstance(tar, int):
        fd = tar
        yield _Source(read=lambda size: os.read(fd, size))
    elif not callable(tar):
        yield _Source(read=tar.read)
    else:
        with open_pipe() as (incoming, outgoing), Crew("ck-layer", {"pack": 1}) as crew, incoming:
            crew.submit("pack", partial(_produce, tar, outgoing))
            # Leaving shuts the reading end first: one that still writes gets EPIPE, and can be waited for.
            yield _Source(read=lambda size: os.read(incoming.fileno(), size), finish=crew.finish)


def _produce(write_tar: Callable[[int], object], outgoing: PipeEnd) -> None:
    with outgoing:
        write_tar(outgoing.fileno())
