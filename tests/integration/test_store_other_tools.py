"""Other tools read our image layout, and we read what they put into it."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from container_kit._store.collect import Collected, collect
from container_kit._store.store import ImageStore
from tests.conftest import LedgerWatch
from tests.small_images import make_image, make_tar, noise
from tests.stores import close_store, open_store, put_image, read_files

DEBIAN = "docker.io/library/debian:12"
FILES = {"etc/": b"", "etc/name": b"value", "data": noise(50_000)}


@pytest.fixture
def store(tmp_path: Path, ledger: LedgerWatch | None) -> Iterator[ImageStore]:
    """Give an empty store; what it is at work with is gone at the end."""
    store = open_store(tmp_path)
    if ledger is not None:
        ledger.watch(Path(store.home.ingest))

    yield store

    close_store(store)


def skopeo(place: Path, *words: str) -> str:
    """Run skopeo with everything it keeps below `place`."""
    environment = {**os.environ, "HOME": str(place), "XDG_RUNTIME_DIR": str(place), "TMPDIR": str(place)}
    done = subprocess.run(
        ["skopeo", "--insecure-policy", *words], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.needs_tools("skopeo")
@pytest.mark.parametrize("compression", ["none", "gzip", "zstd"])
def test_skopeo_reads_our_layout(tmp_path: Path, store: ImageStore, compression: str) -> None:
    """By the name that we gave; all of it is there and right."""
    image = make_image(make_tar(FILES), compression=compression)
    put_image(store, image, DEBIAN)
    ours = f"oci:{store.home.images}:{DEBIAN}"

    assert image.digest == json.loads(skopeo(tmp_path, "inspect", ours))["Digest"]
    skopeo(tmp_path, "copy", ours, f"dir:{tmp_path}/copy")

    assert image.data == (tmp_path / "copy" / "manifest.json").read_bytes()


@pytest.mark.needs_tools("skopeo")
def test_what_skopeo_puts_into_our_layout_is_an_image(tmp_path: Path, store: ImageStore) -> None:
    """It is listed, unpacks, and is collected when it is removed; what was there stays."""
    put_image(store, make_image(make_tar({"mine": b"1"})), DEBIAN)
    other = open_store(tmp_path / "other")
    put_image(other, make_image(make_tar(FILES), make_tar({"top": b"1"})), "docker.io/library/alpine:3")

    source, target = f"oci:{other.home.images}:docker.io/library/alpine:3", f"oci:{store.home.images}:alpine:3"
    skopeo(tmp_path, "copy", source, target)

    assert [DEBIAN, "docker.io/library/alpine:3"] == [entry.name for entry in store.layout.entries()]
    entry = store.layout.entries()[1]
    _, manifest = store.layout.manifest_of(entry)
    lowers = store.layers.ensure_all(manifest, store.layout.oci_config(manifest))
    assert {"etc/name": b"value", "data": FILES["data"]} == read_files(Path(lowers[1]))
    assert Collected() == collect(store)
    with store.layout.edit() as index:
        index.remove(entry.descriptor.digest)
    assert (4, 2) == (collect(store).blobs, len(lowers))
    assert [DEBIAN] == [entry.name for entry in store.layout.entries()]
    close_store(other)


@pytest.mark.needs_root
@pytest.mark.needs_tools("umoci")
def test_umoci_unpacks_from_our_layout(tmp_path: Path, store: ImageStore) -> None:
    """The tree is the same as ours."""
    entry = put_image(store, make_image(make_tar(FILES)), "docker.io/library/alpine:3")
    document = json.loads(Path(store.home.images, "index.json").read_bytes())
    assert "docker.io/library/alpine:3" in json.dumps(document)
    _, manifest = store.layout.manifest_of(entry)
    (lower,) = store.layers.ensure_all(manifest, store.layout.oci_config(manifest))

    subprocess.run(
        [
            "umoci",
            "raw",
            "unpack",
            "--image",
            f"{store.home.images}:docker.io/library/alpine:3",
            str(tmp_path / "tree"),
        ],
        check=True,
        capture_output=True,
    )

    assert read_files(tmp_path / "tree") == read_files(Path(lower))
