"""Images in the layout: manifests, indexes with platforms, configurations; what is none says so."""

from __future__ import annotations

import attrs
import pytest

from container_kit._spec.descriptor import Descriptor
from container_kit._spec.manifest import Index, Manifest
from container_kit._spec.platform import parse_platform
from container_kit._store.layout import Entry
from container_kit._store.store import ImageStore
from container_kit.errors import (
    ImageError,
    ImageNotFoundError,
    UnsupportedMediaTypeError,
)
from tests.small_images import SmallImage, make_image, make_index, make_tar
from tests.stores import descriptor_of, put_blob, put_image

DEBIAN = "docker.io/library/debian:12"


def image_with(text: str) -> SmallImage:
    """Return an image that differs by a text."""
    return make_image(make_tar({"file": text.encode()}))


def test_a_manifest_and_its_config_are_found(store: ImageStore) -> None:
    """Parsed once, then remembered."""
    entry = put_image(store, image_with("1"), DEBIAN)

    descriptor, manifest = store.layout.manifest_of(entry)

    assert entry.descriptor == descriptor
    assert manifest is store.layout.document(descriptor)
    assert "linux" == store.layout.oci_config(manifest).platform.os
    assert store.layout.oci_config(manifest) is store.layout.oci_config(manifest)


def test_an_index_is_followed_to_the_platform(store: ImageStore) -> None:
    """Also through indexes in indexes; what is missing of other platforms does not matter."""
    arm, here = make_image(make_tar({"a": b"arm"}), architecture="arm64", variant="v8"), image_with("here")
    entry = put_image(store, make_index(make_index(arm), here), DEBIAN)

    assert here.digest == store.layout.manifest_of(entry)[0].digest
    assert arm.digest == store.layout.manifest_of(entry, parse_platform("linux/arm64"))[0].digest
    assert isinstance(store.layout.document(entry.descriptor), Index)
    with pytest.raises(ImageNotFoundError) as caught:
        store.layout.manifest_of(entry, parse_platform("linux/riscv64"))
    assert "linux/arm64" in " ".join(caught.value.near)


def test_an_image_for_one_platform_is_not_another(store: ImageStore) -> None:
    """Asked for nothing it is given as it is; asked for something, that is what counts."""
    entry = put_image(store, make_image(make_tar({}), architecture="s390x"), DEBIAN)

    assert isinstance(store.layout.manifest_of(entry)[1], Manifest)
    assert entry.descriptor == store.layout.manifest_of(entry, parse_platform("linux/s390x"))[0]
    with pytest.raises(ImageNotFoundError):
        store.layout.manifest_of(entry, parse_platform("linux/amd64"))


def test_indexes_are_not_followed_for_ever(store: ImageStore) -> None:
    """Four deep is enough for anything real."""
    image = below = image_with("1")
    for _ in range(4):
        image = make_index(image)
    assert below.digest == store.layout.manifest_of(put_image(store, image, DEBIAN))[0].digest

    with pytest.raises(ImageError, match="nested"):
        store.layout.manifest_of(put_image(store, make_index(image), DEBIAN))


def test_what_is_no_image_says_so(store: ImageStore) -> None:
    """Registries keep other things as well, with the same manifests."""
    config = b'{"chart": 1}'
    described = {"mediaType": "application/vnd.cncf.helm.config.v1+json", "digest": descriptor_of(config).digest}
    image = make_image(make_tar({}), manifest={"config": {**described, "size": len(config)}})
    put_blob(store, config)
    entry = put_image(store, image, DEBIAN)

    with pytest.raises(UnsupportedMediaTypeError, match="helm"):
        store.layout.oci_config(store.layout.manifest_of(entry)[1])


def test_a_wrong_media_type_is_refused(store: ImageStore) -> None:
    """The index says manifest, the document says index."""
    image = make_index(image_with("1"))
    entry = put_image(store, image, DEBIAN)
    wrong = attrs.evolve(entry.descriptor, media_type="application/vnd.oci.image.manifest.v1+json")

    with pytest.raises(ImageError):
        store.layout.document(Descriptor(media_type=wrong.media_type, digest=wrong.digest, size=wrong.size))
    assert isinstance(entry, Entry)


def test_an_index_that_is_repeated_is_looked_at_once(store: ImageStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else three indexes of a few kilobytes are a million lookups."""
    image = make_index(image_with("1"))
    for _ in range(3):
        image = make_index(*[image] * 20)
    entry = put_image(store, image, DEBIAN)
    real, asked = store.layout.document, 0

    def count(descriptor: Descriptor) -> Manifest | Index:
        nonlocal asked
        asked += 1
        return real(descriptor)

    monkeypatch.setattr(store.layout, "document", count)

    store.layout.manifest_of(entry)

    assert asked <= 6
