"""Archives of small images, written by hand with the standard library, as other tools write them."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import json
import lzma
import tarfile
from collections.abc import Mapping, Sequence
from typing import Any

import zstandard

from tests.small_images import INDEX, SmallImage, digest_of

COMPRESSIONS = ("none", "gzip", "zstd", "bzip2", "xz")

# A file's bytes, or where a symlink leads to.
Member = bytes | str
Images = Sequence[tuple[SmallImage, Sequence[str]]]


def write_tar(members: Mapping[str, Member]) -> bytes:
    """Return a tar archive of files and symlinks."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            if isinstance(content, str):
                info.type, info.linkname = tarfile.SYMTYPE, content
                tar.addfile(info)
            else:
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    return target.getvalue()


def read_tar(archive: bytes) -> dict[str, bytes]:
    """Return the regular files in a tar archive; none is there twice."""
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        members = [member for member in tar if member.isreg()]
        names = [member.name for member in members]
        assert len(set(names)) == len(names)
        return {member.name: _content(tar, member) for member in members}


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(member)
    assert file is not None
    return file.read()


def compress(data: bytes, compression: str) -> bytes:
    """Return bytes in one of `COMPRESSIONS`."""
    match compression:
        case "gzip":
            return gzip.compress(data, 1)
        case "zstd":
            return zstandard.compress(data, 1)
        case "bzip2":
            return bz2.compress(data, 1)
        case "xz":
            return lzma.compress(data, preset=0)
        case _:
            return data


def docker_members(images: Images) -> dict[str, Member]:
    """Return a docker-archive as podman and Docker since 1.10 write it: `<hex>.json`, `<hex>.tar`, manifest.json."""
    members: dict[str, Member] = {}
    listing: list[dict[str, Any]] = []
    for image, names in images:
        config = f"{image.config.partition(':')[2]}.json"
        members[config] = image.blobs[image.config]
        layers = [f"{digest.partition(':')[2]}.tar" for digest in image.layers]
        members.update(zip(layers, (image.blobs[digest] for digest in image.layers), strict=True))
        listing.append({"Config": config, "RepoTags": list(names) or None, "Layers": layers})
    return {**members, "manifest.json": json.dumps(listing).encode()}


def old_docker_members(images: Images) -> dict[str, Member]:
    """Return a docker-archive as Docker 1.10 to 24 wrote it: a directory a layer, symlinks for layers that repeat."""
    members: dict[str, Member] = {}
    listing: list[dict[str, Any]] = []
    first: dict[str, str] = {}
    for number, (image, names) in enumerate(images):
        config = f"{image.config.partition(':')[2]}.json"
        members[config] = image.blobs[image.config]
        layers: list[str] = []
        for position, digest in enumerate(image.layers):
            directory = hashlib.sha256(f"{number} {position}".encode()).hexdigest()
            path = f"{directory}/layer.tar"
            members[f"{directory}/VERSION"] = b"1.0"
            members[path] = f"../{first[digest]}" if digest in first else image.blobs[digest]
            first.setdefault(digest, path)
            layers.append(path)
        listing.append({"Config": config, "RepoTags": list(names) or None, "Layers": layers})
    return {**members, "manifest.json": json.dumps(listing).encode(), "repositories": b"{}"}


def oci_members(images: Images, *, annotation: str = "org.opencontainers.image.ref.name") -> dict[str, Member]:
    """Return an OCI layout: each name of an image is a descriptor in index.json."""
    members: dict[str, Member] = {"oci-layout": b'{"imageLayoutVersion":"1.0.0"}'}
    rows: list[dict[str, Any]] = []
    for image, names in images:
        for data in (*image.blobs.values(), *(data for data, _ in image.documents)):
            members[f"blobs/sha256/{digest_of(data).partition(':')[2]}"] = data
        rows += [{**image.descriptor(), "annotations": {annotation: name}} for name in names]
        if not names:
            rows.append(image.descriptor())
    index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": rows}
    return {**members, "index.json": json.dumps(index).encode()}


def hybrid_members(images: Images) -> dict[str, Member]:
    """Return what Docker since 25 writes: an OCI layout that is a docker-archive as well."""
    listing = [
        {
            "Config": _blob(image.config),
            "RepoTags": list(names) or None,
            "Layers": [_blob(digest) for digest in image.layers],
        }
        for image, names in images
    ]
    members = oci_members([(image, ()) for image, _ in images])
    return {**members, "manifest.json": json.dumps(listing).encode()}


def _blob(digest: str) -> str:
    return f"blobs/sha256/{digest.partition(':')[2]}"
