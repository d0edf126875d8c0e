"""Manifests and indexes: what an image is made of, and which image is for which platform.

Follows the OCI image-spec (manifest.md, image-index.md) and Docker's image manifest
version 2, schema 2. Nothing that has a digest is encoded again: whoever needs a
document's unknown fields keeps its bytes. `encode_*` is for what we make ourselves.
"""

from __future__ import annotations

from typing import Any, NoReturn

import attrs

from container_kit._spec.descriptor import Descriptor, parse_descriptor
from container_kit._spec.documents import Object, check_spelling, read_list, read_text, read_texts_by_key, refuse
from container_kit._spec.media_types import (
    OCI_INDEX,
    OCI_MANIFEST,
    DocumentKind,
    is_schema_1,
    is_unspecific,
    kind,
    normalise,
)
from container_kit._spec.strict_json import encode_json, parse_json
from container_kit._spec.text import Pairs
from container_kit.errors import InvalidSpecError, UnsupportedMediaTypeError

MOST_LAYERS = 127  # as many as Docker takes


@attrs.frozen(kw_only=True)
class Manifest:
    """One image: its config, and its layers from the lowest to the topmost."""

    media_type: str = OCI_MANIFEST
    config: Descriptor
    layers: tuple[Descriptor, ...] = ()
    annotations: Pairs = ()

    def __attrs_post_init__(self) -> None:
        if len(self.layers) > MOST_LAYERS:
            raise InvalidSpecError(field="manifest layers", reason=f"are more than {MOST_LAYERS}")


@attrs.frozen(kw_only=True)
class Index:
    """Several images or indexes, mostly the same image for several platforms."""

    media_type: str = OCI_INDEX
    manifests: tuple[Descriptor, ...] = ()
    annotations: Pairs = ()


def parse_document(data: bytes, *, media_type: str | None, what: str) -> Manifest | Index:
    """Return the manifest or index that some bytes are.

    Args:
        data: the document; its digest is the caller's business.
        media_type: what the reference to it, or the registry, says that it is; None, or something as
            unspecific as `application/json`, leaves it to the document.
        what: what the error calls it.

    Raises:
        UnsupportedMediaTypeError: it is neither, or of Docker's schema 1.
        ImageError: it is malformed, ambiguous, or not of the type that was promised; the reason names the field.
    """
    promised = _promised(media_type, what)
    document = parse_json(data, what=what)
    check_spelling(document, _FIELDS, "", what=what)
    found = _declared(document, promised, what)
    _check_version(document, what)
    is_index = _is_index(document, found, what)
    annotations = read_texts_by_key(document.get("annotations"), "annotations", what=what)
    if is_index:
        manifests = _descriptors(document, "manifests", what)
        return Index(media_type=found or OCI_INDEX, manifests=manifests, annotations=annotations)
    config = parse_descriptor(document["config"], "config", what=what)
    layers = _descriptors(document, "layers", what, most=MOST_LAYERS)
    return Manifest(media_type=found or OCI_MANIFEST, config=config, layers=layers, annotations=annotations)


def encode_manifest(manifest: Manifest) -> bytes:
    """Return a manifest as JSON, always the same bytes for equal values."""
    return encode_json(
        _document(
            manifest,
            config=manifest.config.to_json(),
            layers=[layer.to_json() for layer in manifest.layers],
        )
    )


def encode_index(index: Index) -> bytes:
    """Return an index as JSON, always the same bytes for equal values."""
    return encode_json(_document(index, manifests=[descriptor.to_json() for descriptor in index.manifests]))


_FIELDS = ("schemaVersion", "mediaType", "config", "layers", "manifests", "annotations")
# What belongs to another kind of document: one that has both would be read as this here and as that elsewhere.
_NOT_IN_MANIFEST = ("manifests", "fsLayers", "history")
_NOT_IN_INDEX = ("config", "layers", "fsLayers", "history")
_DOCUMENTS = (DocumentKind.INDEX, DocumentKind.MANIFEST)
_SCHEMA_1_HINT = "push it again with a registry and a tool of after 2016, which write schema 2"


def _promised(media_type: str | None, what: str) -> str | None:
    """Return what a document must be, None where nobody said."""
    if media_type is None or is_unspecific(media_type):
        return None
    return _checked_type(media_type, what)


def _declared(document: Object, promised: str | None, what: str) -> str | None:
    """Return the media type of a document, by its own word or by the promise; they must agree."""
    said = read_text(document.get("mediaType"), "mediaType", what=what)
    if not said:
        return promised
    declared = _checked_type(said, what)
    if promised is not None and declared != promised:
        refuse(what, "mediaType", f"is {declared}, but {promised} was promised")
    return declared


def _checked_type(media_type: str, what: str) -> str:
    if is_schema_1(media_type):
        _refuse_schema_1(what)
    if kind(media_type) not in _DOCUMENTS:
        reason = f"{media_type[:120]!r} is neither a manifest nor an index"
        raise UnsupportedMediaTypeError(image=what, reason=reason, hint="it may not be a container image")
    return normalise(media_type)


def _check_version(document: Object, what: str) -> None:
    version = document.get("schemaVersion")
    if type(version) is int and version == 1:
        _refuse_schema_1(what)
    if type(version) is not int or version != 2:
        refuse(what, "schemaVersion", "must be 2")


def _refuse_schema_1(what: str) -> NoReturn:
    reason = "is in Docker's old format (manifest schema 1), which is not supported"
    raise UnsupportedMediaTypeError(image=what, reason=reason, hint=_SCHEMA_1_HINT)


def _is_index(document: Object, media_type: str | None, what: str) -> bool:
    """Say which of the two a document is; it must have all of the one and nothing of the other."""
    is_index = "manifests" in document if media_type is None else kind(media_type) is DocumentKind.INDEX
    for name in _NOT_IN_INDEX if is_index else _NOT_IN_MANIFEST:
        if name in document:
            refuse(what, name, f"is ambiguous: it does not belong in {'an index' if is_index else 'a manifest'}")
    for name in ("manifests",) if is_index else ("config", "layers"):
        if name not in document:
            refuse(what, name, "is missing")
    return is_index


def _descriptors(document: Object, field: str, what: str, *, most: int | None = None) -> tuple[Descriptor, ...]:
    items = read_list(document[field], field, what=what)
    if most is not None and len(items) > most:
        refuse(what, field, f"are {len(items)}, more than {most}")
    return tuple(parse_descriptor(item, f"{field}[{number}]", what=what) for number, item in enumerate(items))


def _document(value: Manifest | Index, **parts: object) -> dict[str, Any]:
    document: dict[str, Any] = {"schemaVersion": 2, "mediaType": value.media_type, **parts}
    if value.annotations:
        document["annotations"] = dict(value.annotations)
    return document
