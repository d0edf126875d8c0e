"""Manifests, indexes and the descriptors in them: read strictly, written deterministically."""

from __future__ import annotations

import json
from typing import Any

import pytest

from container_kit._spec import media_types
from container_kit._spec.descriptor import Descriptor, parse_descriptor
from container_kit._spec.digest import Digest
from container_kit._spec.manifest import Index, Manifest, encode_index, encode_manifest, parse_document
from container_kit._spec.platform import UNKNOWN_PLATFORM, Platform
from container_kit.errors import ImageError, InvalidDigestError, InvalidSpecError, UnsupportedMediaTypeError

DIGEST = Digest(f"sha256:{'a' * 64}")
LAYER: dict[str, Any] = {"mediaType": media_types.OCI_LAYER_GZIP, "digest": DIGEST, "size": 10}
CONFIG: dict[str, Any] = {"mediaType": media_types.OCI_CONFIG, "digest": DIGEST, "size": 2}
MANIFEST: dict[str, Any] = {
    "schemaVersion": 2,
    "mediaType": media_types.OCI_MANIFEST,
    "config": CONFIG,
    "layers": [LAYER, LAYER],
    "annotations": {"a": "1"},
}
INDEX: dict[str, Any] = {
    "schemaVersion": 2,
    "manifests": [
        {
            "mediaType": media_types.OCI_MANIFEST,
            "digest": DIGEST,
            "size": 3,
            "platform": {"architecture": "arm", "os": "linux", "variant": "v7", "os.features": ["x"]},
        }
    ],
}
FOREIGN = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"


def parse(document: dict[str, Any], media_type: str | None = None) -> Manifest | Index:
    """Parse a document that is given as a dictionary."""
    return parse_document(json.dumps(document).encode(), media_type=media_type, what="x")


def test_manifest_is_read() -> None:
    """Config, layers from the lowest on, annotations."""
    layer = Descriptor(media_type=media_types.OCI_LAYER_GZIP, digest=DIGEST, size=10)

    manifest = parse(MANIFEST, media_types.OCI_MANIFEST)

    expected = Manifest(
        media_type=media_types.OCI_MANIFEST,
        config=Descriptor(media_type=media_types.OCI_CONFIG, digest=DIGEST, size=2),
        layers=(layer, layer),
        annotations=(("a", "1"),),
    )
    assert expected == manifest


def test_index_is_read() -> None:
    """With the platform of each image."""
    index = parse(INDEX)

    assert isinstance(index, Index)
    assert index.media_type == media_types.OCI_INDEX
    assert index.manifests[0].platform == Platform(os="linux", architecture="arm", variant="v7")


def test_type_of_a_document_may_come_from_the_registry() -> None:
    """Docker's and OCI's; one that says nothing is as good as none."""
    plain = {key: value for key, value in MANIFEST.items() if key != "mediaType"}

    assert parse(plain, media_types.DOCKER_MANIFEST).media_type == media_types.DOCKER_MANIFEST
    assert parse(plain, "application/json; charset=utf-8").media_type == media_types.OCI_MANIFEST
    assert parse(INDEX, media_types.DOCKER_INDEX).media_type == media_types.DOCKER_INDEX
    assert parse(MANIFEST, f"{media_types.OCI_MANIFEST}; charset=utf-8") == parse(MANIFEST)


def test_null_is_as_good_as_absent_and_an_image_may_have_no_layers() -> None:
    """Programs in Go write null for nothing."""
    empty = parse(MANIFEST | {"layers": None, "annotations": None})

    assert isinstance(empty, Manifest)
    assert (empty.layers, empty.annotations) == ((), ())
    assert parse({"schemaVersion": 2, "manifests": None}) == Index()


WRONG: list[tuple[dict[str, Any], str | None, str]] = [
    (MANIFEST | {"manifests": []}, None, "config is ambiguous: it does not belong in an index|manifests is ambig"),
    (MANIFEST | {"fsLayers": []}, None, "fsLayers is ambiguous"),
    (INDEX | {"layers": []}, None, "layers is ambiguous: it does not belong in an index"),
    (INDEX | {"config": CONFIG}, None, "config is ambiguous"),
    (INDEX, media_types.OCI_MANIFEST, "manifests is ambiguous: it does not belong in a manifest"),
    (MANIFEST, media_types.OCI_INDEX, "mediaType is .*manifest.*, but .*index.* was promised"),
    (MANIFEST, media_types.DOCKER_MANIFEST, "mediaType is .*oci.*, but .*docker.* was promised"),
    (MANIFEST | {"mediaType": 5}, None, "mediaType must be a string"),
    (MANIFEST | {"MediaType": "x"}, None, "MediaType is ambiguous: the field is 'mediaType'"),
    (MANIFEST | {"Layers": []}, None, "Layers is ambiguous"),
    (MANIFEST | {"layer\u017f": []}, None, "is ambiguous: the field is 'layers'"),  # ſ is an s, to Go
    ({"schemaVersion": 2}, None, "config is missing"),
    ({"schemaVersion": 2, "config": CONFIG}, None, "layers is missing"),
    (MANIFEST | {"schemaVersion": 3}, None, "schemaVersion must be 2"),
    (MANIFEST | {"schemaVersion": 2.0}, None, "schemaVersion must be 2"),
    (MANIFEST | {"schemaVersion": "2"}, None, "schemaVersion must be 2"),
    ({"config": CONFIG, "layers": []}, None, "schemaVersion must be 2"),
    (MANIFEST | {"config": None}, None, "config must be an object"),
    (MANIFEST | {"layers": {}}, None, "layers must be a list"),
    (MANIFEST | {"layers": [LAYER, 5]}, None, r"layers\[1\] must be an object"),
    (MANIFEST | {"layers": [LAYER] * 128}, None, "layers are 128, more than 127"),
    (MANIFEST | {"annotations": {"a": 1}}, None, "annotations.a must be a string"),
    (MANIFEST | {"annotations": []}, None, "annotations must be an object"),
    (MANIFEST | {"layers": [LAYER | {"size": -1}]}, None, r"layers\[0\].size must be a number"),
    (MANIFEST | {"layers": [LAYER | {"size": True}]}, None, r"layers\[0\].size must be a number"),
    (MANIFEST | {"layers": [LAYER | {"size": 1.0}]}, None, r"layers\[0\].size must be a number"),
    (MANIFEST | {"layers": [LAYER | {"size": 2**63}]}, None, "beyond 64 bits"),
    (MANIFEST | {"layers": [{**LAYER, "size": None}]}, None, r"layers\[0\].size must be a number"),
    (MANIFEST | {"layers": [LAYER | {"digest": "sha256:../x"}]}, None, r"layers\[0\].digest"),
    (MANIFEST | {"layers": [LAYER | {"Digest": DIGEST}]}, None, r"layers\[0\].Digest is ambiguous"),
    (MANIFEST | {"layers": [{"digest": DIGEST, "size": 1}]}, None, r"layers\[0\].mediaType is missing"),
    (MANIFEST | {"layers": [LAYER | {"urls": "x"}]}, None, r"layers\[0\].urls must be a list"),
    (INDEX | {"manifests": [{**CONFIG, "platform": {"os": 1}}]}, None, r"platform.os must be a string"),
]


@pytest.mark.parametrize(("document", "media_type", "reason"), WRONG)
def test_ambiguous_or_malformed_document_is_refused(
    document: dict[str, Any], media_type: str | None, reason: str
) -> None:
    """The field is named."""
    with pytest.raises(ImageError, match=reason) as caught:
        parse(document, media_type)

    assert caught.value.image == "x"


@pytest.mark.parametrize(
    ("document", "media_type"),
    [
        ({"schemaVersion": 1, "fsLayers": [], "history": []}, None),
        ({"schemaVersion": 1, "fsLayers": []}, media_types.DOCKER_MANIFEST),
        ({"schemaVersion": 1}, "application/vnd.docker.distribution.manifest.v1+prettyjws"),
    ],
)
def test_schema_1_is_refused_by_name(document: dict[str, Any], media_type: str | None) -> None:
    """It went out of use in 2016; the hint says what to do."""
    with pytest.raises(UnsupportedMediaTypeError, match="schema 1") as caught:
        parse(document, media_type)

    assert "push it again" in (caught.value.hint or "")


@pytest.mark.parametrize("media_type", ["text/html", "application/vnd.oci.image.config.v1+json"])
def test_document_of_another_kind_is_refused(media_type: str) -> None:
    """A log-in page is no manifest."""
    with pytest.raises(UnsupportedMediaTypeError, match="neither a manifest nor an index"):
        parse(MANIFEST, media_type)
    with pytest.raises(UnsupportedMediaTypeError, match="neither a manifest nor an index"):
        parse(MANIFEST | {"mediaType": media_type})


def test_foreign_layer_is_read_and_marked() -> None:
    """Its addresses are kept, for those who want to see them."""
    layer = parse_descriptor(LAYER | {"mediaType": FOREIGN, "urls": ["https://cdn.example/x"]}, "layers[0]")

    assert layer.is_foreign
    assert layer.urls == ("https://cdn.example/x",)
    assert not parse_descriptor(LAYER, "layers[0]").is_foreign


def test_platform_that_says_nothing_is_none_and_an_odd_one_unknown() -> None:
    """Neither is ever chosen, and the rest of the index stays usable."""
    platforms = [
        parse_descriptor(CONFIG | {"platform": platform}, "m").platform
        for platform in ({}, None, {"os": "", "architecture": ""}, {"os": "linux"}, {"os": "a b", "architecture": "c"})
    ]

    assert platforms == [None, None, None, UNKNOWN_PLATFORM, UNKNOWN_PLATFORM]


def test_written_documents_are_always_the_same_bytes() -> None:
    """And are read as what they were."""
    manifest = parse(MANIFEST)
    index = Index(manifests=(parse_descriptor(INDEX["manifests"][0] | {"annotations": {"b": "2"}}, "m"),))
    assert isinstance(manifest, Manifest)

    data = encode_manifest(manifest)

    assert data == json.dumps(MANIFEST, sort_keys=True, separators=(",", ":")).encode()
    assert manifest == parse_document(data, media_type=media_types.OCI_MANIFEST, what="x")
    assert index == parse_document(encode_index(index), media_type=media_types.OCI_INDEX, what="x")
    assert index.manifests[0].annotation("b") == "2"
    assert index.manifests[0].annotation("c") is None


def test_values_that_cannot_be_are_not_made() -> None:
    """A descriptor has a digest and a size, a manifest at most 127 layers."""
    layer = parse_descriptor(LAYER, "layers[0]")

    with pytest.raises(InvalidDigestError):
        Descriptor(media_type="x", digest=Digest("sha256:x"), size=1)
    with pytest.raises(InvalidSpecError, match="size"):
        Descriptor(media_type="x", digest=DIGEST, size=-1)
    with pytest.raises(InvalidSpecError, match="more than 127"):
        Manifest(config=layer, layers=(layer,) * 128)
