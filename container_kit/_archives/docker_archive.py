"""Reads the images of a docker-archive: what `docker save` wrote before it wrote OCI layouts, and `podman save` does.

`manifest.json` lists for each image its config, its names and its layers as files. There
is no OCI manifest, so one is made, the same for the same archive; layers stay as they
are. The config's digest is checked where its file's name is one, and each layer against
the config's diff_ids. Follows the Docker image specification v1.2, "Combined Image JSON +
Filesystem Changeset Format".
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import attrs

from container_kit._archives.contents import MOST_IMAGES, ArchivedBlob, ArchivedImage, parse_names
from container_kit._archives.input import MOST_DOCUMENT_BYTES, Measured, Scratch
from container_kit._spec.descriptor import Descriptor
from container_kit._spec.digest import Digest, algorithm_of, digest_of
from container_kit._spec.documents import read_list, read_object, read_text, read_texts
from container_kit._spec.manifest import MOST_LAYERS, Manifest, encode_manifest
from container_kit._spec.media_types import OCI_CONFIG, OCI_LAYER, OCI_LAYER_GZIP, OCI_LAYER_ZSTD, OCI_MANIFEST
from container_kit._spec.oci_config import OciConfig, parse_oci_config
from container_kit._spec.reference import Reference
from container_kit._spec.strict_json import parse_json
from container_kit.errors import DigestMismatchError, ImageError, UnsupportedMediaTypeError

LISTING = "manifest.json"
_MEDIA_TYPES = {"none": OCI_LAYER, "gzip": OCI_LAYER_GZIP, "zstd": OCI_LAYER_ZSTD}
_DIGEST_IN_NAME = re.compile(r"(?:.*[/:])?([0-9a-f]{64})(?:\.json)?")


@attrs.frozen(kw_only=True)
class _Item:
    """An entry of manifest.json, with the config that it names."""

    names: tuple[Reference, ...]
    layers: tuple[str, ...]
    config_path: str
    config_digest: Digest
    config: OciConfig


def read_docker_images(scratch: Scratch) -> tuple[ArchivedImage, ...]:
    """Return the images that manifest.json lists.

    Raises:
        ImageError: a document is malformed, or a file is missing.
        DigestMismatchError: a config or a layer is not what its digest says.
    """
    items = _read_items(scratch)
    measured = scratch.measure((path, "sha256") for item in items for path in item.layers)
    return tuple(_image_of(item, measured, scratch) for item in items)


def read_repo_tags(scratch: Scratch) -> Mapping[Digest, tuple[Reference, ...]]:
    """Return the names in manifest.json by the digest of the config that they stand for."""
    found: dict[Digest, tuple[Reference, ...]] = {}
    for item in _read_items(scratch):
        found[item.config_digest] = found.get(item.config_digest, ()) + item.names
    return found


def _read_items(scratch: Scratch) -> tuple[_Item, ...]:
    what = f"{LISTING} of {scratch.name}"
    data = scratch.read(LISTING, MOST_DOCUMENT_BYTES)
    # The reader of strict JSON takes objects; wrapped like this a list is one, and nothing else gets through.
    document = parse_json(b'{"images":' + data + b"}", what=what, limit=MOST_DOCUMENT_BYTES + 16)
    listed = read_list(document["images"], "the document", what=what)
    if set(document) != {"images"} or len(listed) > MOST_IMAGES:
        raise ImageError(image=what, reason=f"is not a list of at most {MOST_IMAGES} images")
    configs: dict[Digest, OciConfig] = {}
    return tuple(_read_item(scratch, part, f"[{number}]", configs, what) for number, part in enumerate(listed))


def _read_item(scratch: Scratch, part: object, field: str, configs: dict[Digest, OciConfig], what: str) -> _Item:
    item = read_object(part, field, what=what)
    path = read_text(item.get("Config"), f"{field}.Config", what=what)
    layers = read_texts(item.get("Layers"), f"{field}.Layers", what=what)
    if not path or len(layers) > MOST_LAYERS:
        raise ImageError(image=what, reason=f"{field} has no Config, or more than {MOST_LAYERS} Layers")
    data = scratch.read(path)
    digest = digest_of(data)
    promised = _DIGEST_IN_NAME.fullmatch(path)
    if promised is not None and digest != f"sha256:{promised[1]}":
        raise DigestMismatchError(image=f"{path} of {scratch.name}", expected=f"sha256:{promised[1]}", actual=digest)
    config = configs.get(digest) or parse_oci_config(data, what=f"{path} of {scratch.name}")
    configs[digest] = config
    if len(config.diff_ids) != len(layers):
        reason = f"{field} has {len(layers)} Layers, its config has {len(config.diff_ids)} diff_ids"
        raise ImageError(image=what, reason=reason)
    names = parse_names(read_texts(item.get("RepoTags"), f"{field}.RepoTags", what=what))
    return _Item(names=names, layers=layers, config_path=path, config_digest=digest, config=config)


def _image_of(item: _Item, measured: Mapping[str, Measured], scratch: Scratch) -> ArchivedImage:
    pairs = zip(item.layers, item.config.diff_ids, strict=True)
    layers = tuple(_layer_of(path, diff_id, measured[path], scratch) for path, diff_id in pairs)
    raw = item.config.raw
    config = Descriptor(media_type=OCI_CONFIG, digest=item.config_digest, size=len(raw))
    manifest = Manifest(config=config, layers=layers)
    document = encode_manifest(manifest)
    digest = digest_of(document)
    files = [
        ArchivedBlob(digest=layer.digest, size=layer.size, path=path, is_verified=True)
        for path, layer in zip(item.layers, layers, strict=True)
    ]
    made = [
        ArchivedBlob(digest=config.digest, size=config.size, data=raw),
        ArchivedBlob(digest=digest, size=len(document), data=document),
    ]
    return ArchivedImage(
        names=item.names,
        descriptor=Descriptor(media_type=OCI_MANIFEST, digest=digest, size=len(document)),
        manifest=manifest,
        config=item.config,
        blobs=(*files, *made),
    )


def _layer_of(path: str, diff_id: Digest, measured: Measured, scratch: Scratch) -> Descriptor:
    what = f"{path} of {scratch.name}"
    media_type = _MEDIA_TYPES.get(measured.compression)
    if media_type is None:
        raise UnsupportedMediaTypeError(image=what, reason=f"a layer compressed with {measured.compression}")
    # A compressed layer is compared while it is unpacked.
    if measured.compression == "none" and algorithm_of(diff_id) == "sha256" and measured.digest != diff_id:
        raise DigestMismatchError(image=what, expected=diff_id, actual=measured.digest)
    return Descriptor(media_type=media_type, digest=measured.digest, size=measured.size)
