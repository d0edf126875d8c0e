"""Media types: what a document or a layer is.

Follows the OCI image-spec, media-types.md, and Docker's image manifest version 2,
schema 2. Types are compared without their parameters and without regard to case
(RFC 9110, 8.3.1), because a registry may send either.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Final, Literal, TypeAlias

from container_kit.errors import UnsupportedMediaTypeError

Compression: TypeAlias = Literal["none", "gzip", "zstd"]

OCI_INDEX: Final = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG: Final = "application/vnd.oci.image.config.v1+json"
OCI_LAYER: Final = "application/vnd.oci.image.layer.v1.tar"
OCI_LAYER_GZIP: Final = "application/vnd.oci.image.layer.v1.tar+gzip"
OCI_LAYER_ZSTD: Final = "application/vnd.oci.image.layer.v1.tar+zstd"

DOCKER_INDEX: Final = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST: Final = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_CONFIG: Final = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER: Final = "application/vnd.docker.image.rootfs.diff.tar"
DOCKER_LAYER_GZIP: Final = "application/vnd.docker.image.rootfs.diff.tar.gzip"
DOCKER_LAYER_ZSTD: Final = "application/vnd.docker.image.rootfs.diff.tar.zstd"

MANIFEST_ACCEPT: Final = (OCI_INDEX, OCI_MANIFEST, DOCKER_INDEX, DOCKER_MANIFEST)
"""What to ask a registry for, in the order of preference."""

_OCI_FOREIGN = "application/vnd.oci.image.layer.nondistributable.v1.tar"
_DOCKER_FOREIGN = "application/vnd.docker.image.rootfs.foreign.diff.tar"
_FOREIGN: Mapping[str, Compression] = {
    _OCI_FOREIGN: "none",
    f"{_OCI_FOREIGN}+gzip": "gzip",
    f"{_OCI_FOREIGN}+zstd": "zstd",
    _DOCKER_FOREIGN: "none",
    f"{_DOCKER_FOREIGN}.gzip": "gzip",
}
_COMPRESSION: Mapping[str, Compression] = {
    OCI_LAYER: "none",
    OCI_LAYER_GZIP: "gzip",
    OCI_LAYER_ZSTD: "zstd",
    DOCKER_LAYER: "none",
    DOCKER_LAYER_GZIP: "gzip",
    DOCKER_LAYER_ZSTD: "zstd",
    **_FOREIGN,
}
_SCHEMA_1 = frozenset(
    {
        "application/vnd.docker.distribution.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.v1+prettyjws",
    }
)
# What a web server says that knows nothing about images.
_UNSPECIFIC = frozenset({"", "application/json", "application/octet-stream", "text/plain"})


class DocumentKind(enum.Enum):
    """What a media type stands for."""

    INDEX = "index"
    MANIFEST = "manifest"
    CONFIG = "config"
    LAYER = "layer"
    OTHER = "other"


_KINDS = {
    OCI_INDEX: DocumentKind.INDEX,
    DOCKER_INDEX: DocumentKind.INDEX,
    OCI_MANIFEST: DocumentKind.MANIFEST,
    DOCKER_MANIFEST: DocumentKind.MANIFEST,
    OCI_CONFIG: DocumentKind.CONFIG,
    DOCKER_CONFIG: DocumentKind.CONFIG,
    **dict.fromkeys(_COMPRESSION, DocumentKind.LAYER),
}


def normalise(media_type: str) -> str:
    """Return a media type in lower case and without parameters such as `; charset=utf-8`."""
    return media_type.partition(";")[0].strip().lower()


def kind(media_type: str) -> DocumentKind:
    """Return what a media type stands for."""
    return _KINDS.get(normalise(media_type), DocumentKind.OTHER)


def is_unspecific(media_type: str) -> bool:
    """Say whether a media type, such as `application/json`, leaves it to the document to say what it is."""
    return normalise(media_type) in _UNSPECIFIC


def is_schema_1(media_type: str) -> bool:
    """Say whether this is Docker's old manifest, which no longer is supported anywhere."""
    return normalise(media_type) in _SCHEMA_1


def is_foreign(media_type: str) -> bool:
    """Say whether a layer is one that registries do not keep (non-distributable): it is never fetched from its URLs."""
    return normalise(media_type) in _FOREIGN


def layer_compression(media_type: str, *, what: str = "layer") -> Compression:
    """Return how a layer's tar is compressed: `none`, `gzip` or `zstd`.

    Args:
        media_type: the layer's.
        what: what the error calls the image.

    Raises:
        UnsupportedMediaTypeError: this is no layer that can be unpacked.
    """
    compression = _COMPRESSION.get(normalise(media_type))
    if compression is None:
        hint = "encrypted layers are not supported" if "encrypted" in media_type else "it may not be a container image"
        raise UnsupportedMediaTypeError(image=what, reason=f"unknown kind of layer {media_type[:120]!r}", hint=hint)
    return compression


def with_compression(media_type: str, compression: Compression) -> str:
    """Return the type that a layer has after being compressed otherwise; Docker's types stay Docker's.

    Args:
        media_type: the layer's present one.
        compression: `none`, `gzip` or `zstd`.

    Raises:
        UnsupportedMediaTypeError: this is no layer.
    """
    layer_compression(media_type)
    docker = normalise(media_type).startswith("application/vnd.docker.")
    tar, separator = (DOCKER_LAYER, ".") if docker else (OCI_LAYER, "+")
    return tar if compression == "none" else f"{tar}{separator}{compression}"
