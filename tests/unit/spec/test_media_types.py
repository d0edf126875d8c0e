"""Media types: what is what, and how a layer is compressed."""

from __future__ import annotations

import pytest

from container_kit._spec import media_types
from container_kit._spec.media_types import Compression, DocumentKind, is_foreign, kind, layer_compression
from container_kit.errors import UnsupportedMediaTypeError


@pytest.mark.parametrize(
    ("media_type", "expected"),
    [
        (media_types.OCI_INDEX, DocumentKind.INDEX),
        (media_types.DOCKER_INDEX, DocumentKind.INDEX),
        (media_types.OCI_MANIFEST, DocumentKind.MANIFEST),
        (f"{media_types.OCI_MANIFEST.upper()} ; charset=utf-8", DocumentKind.MANIFEST),
        (media_types.DOCKER_CONFIG, DocumentKind.CONFIG),
        (media_types.OCI_LAYER_ZSTD, DocumentKind.LAYER),
        ("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", DocumentKind.LAYER),
        ("application/vnd.docker.distribution.manifest.v1+json", DocumentKind.OTHER),
        ("application/json", DocumentKind.OTHER),
        ("", DocumentKind.OTHER),
    ],
)
def test_kind_follows_from_the_media_type(media_type: str, expected: DocumentKind) -> None:
    """Whatever its case and parameters."""
    assert expected == kind(media_type)


@pytest.mark.parametrize(
    ("media_type", "expected"),
    [
        (media_types.OCI_LAYER, "none"),
        (media_types.OCI_LAYER_GZIP, "gzip"),
        (media_types.OCI_LAYER_ZSTD, "zstd"),
        (media_types.DOCKER_LAYER, "none"),
        (media_types.DOCKER_LAYER_GZIP, "gzip"),
        (media_types.DOCKER_LAYER_ZSTD, "zstd"),
        ("application/vnd.oci.image.layer.nondistributable.v1.tar+zstd", "zstd"),
    ],
)
def test_layer_says_how_it_is_compressed(media_type: str, expected: Compression) -> None:
    """And with another compression it stays of the same family."""
    assert expected == layer_compression(media_type)
    if not is_foreign(media_type):
        assert media_type == media_types.with_compression(media_type, expected)


def test_family_stays_when_the_compression_changes() -> None:
    """Docker's types become Docker's."""
    assert media_types.with_compression(media_types.DOCKER_LAYER_GZIP, "zstd") == media_types.DOCKER_LAYER_ZSTD
    assert media_types.with_compression(media_types.OCI_LAYER, "gzip") == media_types.OCI_LAYER_GZIP
    assert media_types.with_compression(media_types.OCI_LAYER_ZSTD, "none") == media_types.OCI_LAYER


@pytest.mark.parametrize("media_type", [media_types.OCI_CONFIG, "application/vnd.cncf.helm.chart.content.v1.tar+gzip"])
def test_what_is_no_layer_is_refused(media_type: str) -> None:
    """Artifacts are kept in registries too."""
    with pytest.raises(UnsupportedMediaTypeError, match="unknown kind of layer") as caught:
        layer_compression(media_type, what="chart:1")

    assert caught.value.image == "chart:1"


def test_encrypted_layer_is_refused_by_name() -> None:
    """The reason is not to be guessed."""
    with pytest.raises(UnsupportedMediaTypeError, match="encrypted layers are not supported"):
        layer_compression("application/vnd.oci.image.layer.v1.tar+gzip+encrypted")


def test_foreign_layers_are_marked() -> None:
    """Only they."""
    assert is_foreign("application/vnd.oci.image.layer.nondistributable.v1.tar+gzip")
    assert is_foreign("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip")
    assert not is_foreign(media_types.OCI_LAYER_GZIP)


def test_what_is_asked_for_is_what_can_be_read() -> None:
    """Each is an index or a manifest."""
    assert {kind(accepted) for accepted in media_types.MANIFEST_ACCEPT} == {DocumentKind.INDEX, DocumentKind.MANIFEST}
