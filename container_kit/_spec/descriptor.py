"""Descriptors: how documents of an image refer to content (OCI image-spec, descriptor.md).

What is read from a document is checked; unknown fields are left to whoever keeps the
document's bytes. A descriptor is untrusted: its size is a bound on what is read, its
digest what is verified, and its URLs are never fetched on their own.
"""

from __future__ import annotations

from typing import Any

import attrs

from container_kit._spec.digest import Digest, parse_digest
from container_kit._spec.documents import (
    Object,
    check_spelling,
    read_object,
    read_text,
    read_texts,
    read_texts_by_key,
    refuse,
)
from container_kit._spec.media_types import is_foreign
from container_kit._spec.platform import Platform, read_platform
from container_kit._spec.text import Pairs
from container_kit.errors import ImageError, InvalidDigestError, InvalidSpecError

_FIELDS = ("mediaType", "digest", "size", "platform", "annotations", "urls")


@attrs.frozen(kw_only=True)
class Descriptor:
    """Content by media type, digest and size in bytes."""

    media_type: str
    digest: Digest
    size: int
    platform: Platform | None = None
    annotations: Pairs = ()
    urls: tuple[str, ...] = ()

    def __attrs_post_init__(self) -> None:
        parse_digest(self.digest, "descriptor digest")
        if self.size < 0:
            raise InvalidSpecError(field="descriptor size", value=self.size, reason="must not be negative")

    @property
    def is_foreign(self) -> bool:
        """Whether this is a layer that registries do not keep (non-distributable)."""
        return is_foreign(self.media_type)

    def annotation(self, key: str) -> str | None:
        """Return the annotation of a key, or None."""
        return next((value for name, value in self.annotations if name == key), None)

    def to_json(self) -> dict[str, Any]:
        """Return the descriptor as a JSON object; what is absent is left out."""
        document: dict[str, Any] = {"mediaType": self.media_type, "digest": self.digest, "size": self.size}
        if self.platform is not None:
            document["platform"] = _platform_to_json(self.platform)
        if self.annotations:
            document["annotations"] = dict(self.annotations)
        if self.urls:
            document["urls"] = list(self.urls)
        return document


def parse_descriptor(document: object, field: str, *, what: str = "document") -> Descriptor:
    """Return the descriptor in a part of a document.

    Args:
        document: the part, as `parse_json` returned it.
        field: where it is, e.g. `layers[2]`.
        what: what the error calls the document.

    Raises:
        ImageError: a field is missing or cannot be; the reason begins with its name.
    """
    part = read_object(document, field, what=what)
    check_spelling(part, _FIELDS, field, what=what)
    try:
        digest = parse_digest(part.get("digest"), f"{field}.digest")
    except InvalidDigestError as error:
        raise ImageError(image=what, reason=str(error)) from error
    media_type = read_text(part.get("mediaType"), f"{field}.mediaType", what=what)
    if not media_type:
        refuse(what, f"{field}.mediaType", "is missing")
    return Descriptor(
        media_type=media_type,
        digest=digest,
        size=_size_of(part, field, what),
        platform=_platform_of(part, field, what),
        annotations=read_texts_by_key(part.get("annotations"), f"{field}.annotations", what=what),
        urls=read_texts(part.get("urls"), f"{field}.urls", what=what),
    )


def _size_of(part: Object, field: str, what: str) -> int:
    size = part.get("size")
    if isinstance(size, bool) or not isinstance(size, int) or size < 0:
        refuse(what, f"{field}.size", "must be a number of bytes, at least 0")
    return size


def _platform_of(part: Object, field: str, what: str) -> Platform | None:
    if part.get("platform") is None:
        return None
    place = f"{field}.platform"
    platform = read_object(part["platform"], place, what=what)
    system, architecture, variant, version = (
        read_text(platform.get(key), f"{place}.{key}", what=what)
        for key in ("os", "architecture", "variant", "os.version")
    )
    if not (system or architecture):
        return None
    return read_platform(os=system, architecture=architecture, variant=variant, os_version=version)


def _platform_to_json(platform: Platform) -> dict[str, str]:
    document = {"architecture": platform.architecture, "os": platform.os}
    if platform.os_version:
        document["os.version"] = platform.os_version
    if platform.variant:
        document["variant"] = platform.variant
    return document
