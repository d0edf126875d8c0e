"""What tests of loading share: two small images, the forms of archives, and looking at what came of them."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path

from container_kit._archives.load import load
from container_kit._spec.digest import Digest
from container_kit._store.store import ImageStore
from tests.archives import Images, Member, docker_members, hybrid_members, oci_members, old_docker_members
from tests.small_images import digest_of, make_image, make_tar, noise

BASE = make_tar({"etc/": b"", "etc/os-release": b"ID=small\n", "bin/": b"", "bin/tool": noise(30_000)})
APP = make_tar({"app/": b"", "app/data": noise(50_000, seed=1)})
OTHER = make_tar({"other": b"other\n"})
IMAGE = make_image(BASE, APP, compression="none")
SECOND = make_image(BASE, OTHER, compression="none")
NAME = "docker.io/library/box:1"
FORMS: dict[str, Callable[[Images], dict[str, Member]]] = {
    "docker": docker_members,
    "old-docker": old_docker_members,
    "oci": oci_members,
    "hybrid": hybrid_members,
}


def load_bytes(store: ImageStore, archive: bytes, *names: str) -> list[str | None]:
    """Load an archive from memory and return the names of the entries."""
    entries = load(store, io.BytesIO(archive), names=names or None)
    return [entry.name for entry in entries]


def config_of(store: ImageStore, name: str) -> bytes:
    """Return the config of an image, as it is in the store."""
    entry = next(entry for entry in store.layout.entries() if entry.name == name)
    _, manifest = store.layout.manifest_of(entry)
    return store.layout.oci_config(manifest).raw


def read_layer(store: ImageStore, tar: bytes, name: str) -> bytes:
    """Return a file of an unpacked layer."""
    place = store.layers.find(Digest(digest_of(tar)))
    assert place is not None
    return Path(place, name).read_bytes()


def assert_empty(store: ImageStore) -> None:
    """Fail when anything can be seen of an archive that was refused."""
    assert () == store.layout.entries()
    assert [] == os.listdir(store.home.ingest)
    assert [] == [name for name in os.listdir(store.home.layers) if name.startswith(".")]
