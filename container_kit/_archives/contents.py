"""What an archive of images holds, as values: what `load` chooses from before anything enters the store."""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from container_kit._spec.descriptor import Descriptor
from container_kit._spec.digest import Digest
from container_kit._spec.manifest import Manifest
from container_kit._spec.oci_config import OciConfig
from container_kit._spec.reference import Reference, parse_reference
from container_kit.errors import ImageError, InvalidReferenceError

MOST_IMAGES = 1000


@attrs.frozen(kw_only=True)
class ArchivedBlob:
    """Content of an image: a file of the archive at `path`, or `data` that was made from it."""

    digest: Digest
    size: int
    path: str = ""
    data: bytes | None = attrs.field(default=None, repr=False)
    is_verified: bool = False


@attrs.frozen(kw_only=True)
class ArchivedImage:
    """An image in an archive.

    Attributes:
        names: by which the archive knows it.
        descriptor: of its manifest or index: what a name will refer to.
        source: the index that its manifest was taken from.
        manifest, config: of the platform that is unpacked; None where none of an index fits.
        blobs: everything that belongs to it.
    """

    names: tuple[Reference, ...]
    descriptor: Descriptor
    source: Digest | None = None
    manifest: Manifest | None
    config: OciConfig | None
    blobs: tuple[ArchivedBlob, ...] = attrs.field(repr=False)


def parse_names(texts: Iterable[str]) -> tuple[Reference, ...]:
    """Return the names among some text of an archive; what cannot be a name is left out."""
    found: dict[str, Reference] = {}
    for text in texts:
        try:
            reference = parse_reference(text)
        except InvalidReferenceError:
            continue
        found.setdefault(reference.canonical, reference)
    return tuple(found.values())


def check_names(images: Iterable[ArchivedImage], what: str) -> None:
    """Raise `ImageError` where one name stands for two images: two readers would choose differently."""
    owners: dict[str, Digest] = {}
    for image in images:
        for name in image.names:
            if owners.setdefault(name.canonical, image.descriptor.digest) != image.descriptor.digest:
                raise ImageError(image=what, reason=f"has two images named {name.familiar}")
