"""Content stores below a test's directory, and how small images get into them without a registry."""

from __future__ import annotations

import os
from pathlib import Path

import attrs

from container_kit._linux import idmap, processes
from container_kit._spec.descriptor import Descriptor
from container_kit._spec.digest import Digest, parse_digest
from container_kit._spec.facts import IdMap, OverlayForm
from container_kit._state.database import Database
from container_kit._state.home import Home
from container_kit._store.ingest import begin_blob
from container_kit._store.layout import Entry
from container_kit._store.store import ImageStore
from tests.small_images import SmallImage, compress, digest_of, layer_type


def open_store(place: Path) -> ImageStore:
    """Return a store below `place`, as an engine of this user would have it."""
    home = Home.at(str(place / "root"), boot_id=processes.boot_id(), runtime_parent=str(place / "run"))
    home.make()
    rootless = os.geteuid() != 0
    id_map = idmap.find_id_map() if rootless else IdMap.identity()
    namespace = idmap.open_user_namespace(id_map) if rootless else None
    return ImageStore(
        home,
        Database(home.database),
        rootless=rootless,
        id_map=id_map,
        overlay_form=OverlayForm.FD,
        user_namespace=lambda: namespace,
    )


def close_store(store: ImageStore) -> None:
    """Close what `open_store` opened."""
    store.database.close()
    namespace = store.user_namespace()
    if namespace is not None:
        os.close(namespace)


def descriptor_of(data: bytes, media_type: str = "application/octet-stream") -> Descriptor:
    """Return the descriptor of some bytes."""
    return Descriptor(media_type=media_type, digest=parse_digest(digest_of(data)), size=len(data))


@attrs.frozen(kw_only=True)
class SmallLayer:
    """An archive and the blob it is in."""

    tar: bytes
    blob: bytes
    descriptor: Descriptor

    @property
    def diff_id(self) -> Digest:
        """The digest of the archive."""
        return parse_digest(digest_of(self.tar))


def make_layer(tar: bytes, compression: str = "gzip") -> SmallLayer:
    """Return a layer with this archive."""
    blob = compress(tar, compression)
    return SmallLayer(tar=tar, blob=blob, descriptor=descriptor_of(blob, layer_type(compression)))


def put_blob(store: ImageStore, blob: bytes) -> None:
    """Write a blob into a store."""
    writer = begin_blob(store, descriptor_of(blob))
    if writer is not None:
        with writer:
            writer.write(blob)
            writer.commit()


def put_image(store: ImageStore, image: SmallImage, name: str | None = None, source: Digest | None = None) -> Entry:
    """Put an image into a store and give it a name."""
    for data in (*image.blobs.values(), *(data for data, _ in image.documents)):
        put_blob(store, data)
    with store.layout.edit() as index:
        return index.set(name, descriptor_of(image.data, image.media_type), source)


def put_layer(store: ImageStore, tar: bytes, compression: str = "gzip") -> SmallLayer:
    """Put a layer's blob into a store."""
    layer = make_layer(tar, compression)
    put_blob(store, layer.blob)
    return layer


def ensure(store: ImageStore, layer: SmallLayer) -> Path:
    """Return where a layer is unpacked, unpacking it if it is not."""
    return Path(store.layers.ensure(layer.diff_id, layer.descriptor))


def in_layers(store: ImageStore) -> list[str]:
    """Return the names in the directory of layers."""
    return sorted(os.listdir(store.home.layers))


def read_files(tree: Path) -> dict[str, bytes]:
    """Return the regular files of a tree."""
    return {str(path.relative_to(tree)): path.read_bytes() for path in tree.rglob("*") if path.is_file()}
