"""Small images made by hand, without container_kit: tar archives, documents, and how they get into a registry.

What the library makes of them can be held against what was put in.
"""

from __future__ import annotations

import gzip
import hashlib
import http.client
import io
import json
import platform
import random
import tarfile
from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import zstandard

OCI = "application/vnd.oci.image"
DOCKER = "application/vnd.docker"
MANIFEST = f"{OCI}.manifest.v1+json"
INDEX = f"{OCI}.index.v1+json"
CONFIG = f"{OCI}.config.v1+json"
LAYER = f"{OCI}.layer.v1.tar"
DOCKER_MANIFEST = f"{DOCKER}.distribution.manifest.v2+json"
DOCKER_INDEX = f"{DOCKER}.distribution.manifest.list.v2+json"
DOCKER_CONFIG = f"{DOCKER}.container.image.v1+json"
DOCKER_LAYER = f"{DOCKER}.image.rootfs.diff.tar"

ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
FOREIGN_ARCHITECTURE = "s390x"


def digest_of(data: bytes) -> str:
    """Return the sha256 digest of some bytes."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def encode(document: Mapping[str, Any]) -> bytes:
    """Return a document as JSON, in a form that no other encoder makes: whoever encodes it again changes it."""
    return json.dumps(document, indent=3).encode()


def make_tar(files: Mapping[str, bytes]) -> bytes:
    """Return a tar archive of regular files; a name that ends with `/` is a directory."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name.rstrip("/"))
            info.mode = 0o755 if name.endswith("/") else 0o644
            info.type = tarfile.DIRTYPE if name.endswith("/") else tarfile.REGTYPE
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return target.getvalue()


def noise(size: int, seed: int = 0) -> bytes:
    """Return bytes that do not compress, always the same."""
    return random.Random(seed).randbytes(size)


@attrs.frozen(kw_only=True)
class SmallImage:
    """A manifest or an index, and every blob and document that it needs.

    `documents` are (bytes, media type), each after those it refers to, the image itself last.
    """

    blobs: Mapping[str, bytes]
    documents: Sequence[tuple[bytes, str]]
    architecture: str = ARCHITECTURE
    variant: str = ""

    @property
    def data(self) -> bytes:
        """The bytes of the manifest or index."""
        return self.documents[-1][0]

    @property
    def media_type(self) -> str:
        """What `data` is."""
        return self.documents[-1][1]

    @property
    def digest(self) -> str:
        """The digest of `data`."""
        return digest_of(self.data)

    @property
    def layers(self) -> list[str]:
        """The digests of a manifest's layers, the lowest first."""
        return [layer["digest"] for layer in json.loads(self.data)["layers"]]

    @property
    def config(self) -> str:
        """The digest of a manifest's config."""
        digest: str = json.loads(self.data)["config"]["digest"]
        return digest

    def descriptor(self) -> dict[str, Any]:
        """Return how an index refers to it."""
        platform = {"os": "linux", "architecture": self.architecture}
        if self.variant:
            platform["variant"] = self.variant
        return {"mediaType": self.media_type, "digest": self.digest, "size": len(self.data), "platform": platform}


def compress(tar: bytes, compression: str) -> bytes:
    """Return an archive compressed: gzip, zstd or none."""
    match compression:
        case "gzip":
            return gzip.compress(tar, 1, mtime=0)
        case "zstd":
            return zstandard.compress(tar, 1)
        case _:
            return tar


def layer_type(compression: str, *, docker: bool = False) -> str:
    """Return the media type of a layer."""
    plain, mark = (DOCKER_LAYER, ".") if docker else (LAYER, "+")
    return plain if compression == "none" else f"{plain}{mark}{compression}"


def make_image(
    *tars: bytes,
    compression: str = "gzip",
    docker: bool = False,
    architecture: str = ARCHITECTURE,
    variant: str = "",
    config: Mapping[str, Any] | None = None,
    manifest: Mapping[str, Any] | None = None,
) -> SmallImage:
    """Return an image with these layers; `config` and `manifest` replace or add fields of the documents."""
    layers = [compress(tar, compression) for tar in tars]
    rootfs = {"type": "layers", "diff_ids": [digest_of(tar) for tar in tars]}
    document: dict[str, Any] = {"os": "linux", "architecture": architecture, "rootfs": rootfs, "config": {}}
    if variant:
        document["variant"] = variant
    config_data = encode({**document, **(config or {})})
    media_type = DOCKER_MANIFEST if docker else MANIFEST
    top: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": media_type,
        "config": describe(config_data, DOCKER_CONFIG if docker else CONFIG),
        "layers": [describe(layer, layer_type(compression, docker=docker)) for layer in layers],
        **(manifest or {}),
    }
    return SmallImage(
        blobs={digest_of(data): data for data in (config_data, *layers)},
        documents=[(encode(top), media_type)],
        architecture=architecture,
        variant=variant,
    )


def make_index(*images: SmallImage, docker: bool = False) -> SmallImage:
    """Return an index of images."""
    media_type = DOCKER_INDEX if docker else INDEX
    top = {"schemaVersion": 2, "mediaType": media_type, "manifests": [image.descriptor() for image in images]}
    below = [document for image in images for document in image.documents]
    blobs = {digest: data for image in images for digest, data in image.blobs.items()}
    return SmallImage(blobs=blobs, documents=[*below, (encode(top), media_type)])


def describe(data: bytes, media_type: str) -> dict[str, Any]:
    """Return a descriptor."""
    return {"mediaType": media_type, "digest": digest_of(data), "size": len(data)}


def publish(image: SmallImage, authority: str, repository: str, tag: str) -> None:
    """Put an image into a registry that asks for nothing, over http."""
    connection = http.client.HTTPConnection(authority, timeout=20)
    try:
        for digest, data in image.blobs.items():
            _send_blob(connection, repository, digest, data)
        for data, media_type in image.documents:
            name = tag if data == image.data else digest_of(data)
            path = f"/v2/{repository}/manifests/{name}"
            _ask(connection, "PUT", path, data, {"Content-Type": media_type}, expected=201)
    finally:
        connection.close()


def read_manifest(authority: str, repository: str, name: str) -> tuple[bytes, str]:
    """Return the bytes and media type of a manifest in a registry."""
    accept = f"{MANIFEST}, {INDEX}, {DOCKER_MANIFEST}, {DOCKER_INDEX}"
    connection = http.client.HTTPConnection(authority, timeout=20)
    try:
        path = f"/v2/{repository}/manifests/{name}"
        answer, data = _ask(connection, "GET", path, None, {"Accept": accept}, expected=200)
        return data, answer.headers["Content-Type"]
    finally:
        connection.close()


def read_blob(authority: str, repository: str, digest: str) -> bytes:
    """Return a blob in a registry."""
    connection = http.client.HTTPConnection(authority, timeout=20)
    try:
        return _ask(connection, "GET", f"/v2/{repository}/blobs/{digest}", None, {}, expected=200)[1]
    finally:
        connection.close()


def _send_blob(connection: http.client.HTTPConnection, repository: str, digest: str, data: bytes) -> None:
    answer, _ = _ask(connection, "POST", f"/v2/{repository}/blobs/uploads/", b"", {}, expected=202)
    place = answer.headers["Location"].partition("/v2/")[2]
    headers = {"Content-Type": "application/octet-stream"}
    mark = "&" if "?" in place else "?"
    _ask(connection, "PUT", f"/v2/{place}{mark}digest={digest}", data, headers, expected=201)


def _ask(
    connection: http.client.HTTPConnection,
    method: str,
    path: str,
    body: bytes | None,
    headers: Mapping[str, str],
    *,
    expected: int,
) -> tuple[http.client.HTTPResponse, bytes]:
    connection.request(method, path, body, dict(headers))
    answer = connection.getresponse()
    data = answer.read()
    assert expected == answer.status, (method, path, answer.status, data)
    return answer, data
