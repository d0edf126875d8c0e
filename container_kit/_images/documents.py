"""The documents of an image in a registry: found, verified and kept, and among them the wanted manifest.

What is in the layout is not fetched again; what is fetched is kept there, and the caller's
lease protects it while no name refers to it yet. An index may list further indexes: how deep, and
how many documents are looked at in all, is bounded.

Follows the OCI image-spec (image-index.md); which platform fits best is containerd's rule.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import attrs

from container_kit._images.fetch import fetch_blob
from container_kit._spec.descriptor import Descriptor
from container_kit._spec.digest import Digest, short_digest
from container_kit._spec.manifest import Index, Manifest, parse_document
from container_kit._spec.media_types import DocumentKind, kind, layer_compression
from container_kit._spec.oci_config import OciConfig, parse_oci_config
from container_kit._spec.platform import UNKNOWN_PLATFORM, Platform, choose_platform, runs_on
from container_kit._spec.reference import Reference
from container_kit._store.ingest import begin_blob
from container_kit.errors import ImageError, ImageNotFoundError, UnsupportedMediaTypeError

if TYPE_CHECKING:
    from container_kit._registry.client import Client
    from container_kit._registry.results import Resolved
    from container_kit._store.store import ImageStore

Document: TypeAlias = Manifest | Index

LARGEST_DOCUMENT = 4 << 20  # of a manifest, an index and a config, in bytes
_DEEPEST_INDEX = 4
_MOST_DOCUMENTS = 1000


@attrs.frozen(kw_only=True)
class Image:
    """One image of a reference: its manifest by descriptor, and its config. `name` is for errors."""

    name: str
    descriptor: Descriptor
    manifest: Manifest
    config: OciConfig


def is_document(descriptor: Descriptor) -> bool:
    """Say whether a descriptor in an index is of a manifest or an index; the rest is not an image's business."""
    return kind(descriptor.media_type) in (DocumentKind.MANIFEST, DocumentKind.INDEX)


class Documents:
    """Fetches the documents that a reference leads to. Used by one thread.

    Raises, from every method: `ImageError` when a document is malformed, too large or not
    what its descriptor promises, `RegistryError` when the registry does not give it.
    """

    def __init__(self, store: ImageStore, client: Client, reference: Reference) -> None:
        self._store = store
        self._layout = store.layout
        self._client = client
        self._reference = reference
        self._left = _MOST_DOCUMENTS

    def top(self, resolved: Resolved) -> tuple[Descriptor, Document]:
        """Return what the reference itself means: a manifest, or an index of several."""
        is_here = self._layout.has(resolved.digest)
        data = self._layout.read(resolved.digest) if is_here else self._fetched(resolved)
        document = parse_document(data, media_type=resolved.media_type, what=self._name(resolved.digest))
        descriptor = Descriptor(media_type=document.media_type, digest=resolved.digest, size=len(data))
        self._keep(descriptor, data)
        return descriptor, document

    def child(self, descriptor: Descriptor) -> Document:
        """Return a manifest or an index that an index lists."""
        data = self._read(descriptor)
        return parse_document(data, media_type=descriptor.media_type, what=self._name(descriptor.digest))

    def image(self, descriptor: Descriptor, manifest: Manifest) -> Image:
        """Return an image with its config, after checking that it is one that can be unpacked."""
        what = self._name(descriptor.digest)
        _check_media_types(manifest, what)
        config = self._config(manifest, what)
        platform = descriptor.platform or config.platform
        descriptor = attrs.evolve(descriptor, platform=platform)
        return Image(name=what, descriptor=descriptor, manifest=manifest, config=config)

    def choose(self, index: Index, wanted: Platform) -> Image:
        """Return the image in an index that fits a platform best.

        Raises:
            ImageNotFoundError: none does; `near` says which platforms there are.
        """
        manifests = self.manifests(index)
        chosen = choose_platform(wanted, manifests, lambda descriptor: descriptor.platform)
        if chosen is not None:
            return self.image(chosen, _as_manifest(self.child(chosen), self._name(chosen.digest)))
        # Without a platform in the index, the config says it.
        unlabelled = [self._image_below(descriptor) for descriptor in manifests if descriptor.platform is None]
        fitting = choose_platform(wanted, unlabelled, lambda image: image.config.platform)
        if fitting is None:
            known = [one.platform for one in manifests if one.platform is not None]
            raise self._absent(wanted, [*known, *(image.config.platform for image in unlabelled)])
        return fitting

    def require_platform(self, image: Image, wanted: Platform) -> None:
        """Raise `ImageNotFoundError` unless an image, the only one there is, runs on a platform."""
        if not runs_on(wanted, image.config.platform):
            raise self._absent(wanted, [image.config.platform])

    def everything(self, index: Index) -> list[Manifest]:
        """Return all manifests of an index, whether or not they are of images: attestations are not.

        The config of each that says which platform it is for is checked.
        """
        found: list[Manifest] = []
        for descriptor in self.manifests(index):
            what = self._name(descriptor.digest)
            manifest = _as_manifest(self.child(descriptor), what)
            _check_places(manifest, what)
            is_image = kind(manifest.config.media_type) is DocumentKind.CONFIG
            if is_image and descriptor.platform not in (None, UNKNOWN_PLATFORM):  # attestations are for `unknown`
                self._config(manifest, what)
            found.append(manifest)
        return found

    def manifests(self, index: Index) -> list[Descriptor]:
        """Return the manifests that an index lists, and those of the indexes in it, in order."""
        return self._manifests(index, _DEEPEST_INDEX, set())

    def _manifests(self, index: Index, depth: int, seen: set[Digest]) -> list[Descriptor]:
        # An index that others repeat a thousand times is looked at once.
        if depth == 0:
            reason = f"indexes are nested more than {_DEEPEST_INDEX} deep"
            raise ImageError(image=self._reference.familiar, reason=reason)
        found: list[Descriptor] = []
        for descriptor in index.manifests:
            match kind(descriptor.media_type):
                case DocumentKind.MANIFEST:
                    found.append(descriptor)
                case DocumentKind.INDEX if descriptor.digest not in seen:
                    seen.add(descriptor.digest)
                    below = _as_index(self.child(descriptor), self._name(descriptor.digest))
                    found += self._manifests(below, depth - 1, seen)
                case _:
                    pass  # something else that a registry keeps beside images
        return found

    def _image_below(self, descriptor: Descriptor) -> Image:
        return self.image(descriptor, _as_manifest(self.child(descriptor), self._name(descriptor.digest)))

    def _absent(self, wanted: Platform, there: list[Platform]) -> ImageNotFoundError:
        near = tuple(sorted({str(one) for one in there if one != UNKNOWN_PLATFORM}))
        hint = f"it is there for {', '.join(near)}: choose with platform=" if near else None
        return ImageNotFoundError(name=f"{self._reference.familiar} for {wanted}", hint=hint, near=near)

    def _read(self, descriptor: Descriptor) -> bytes:
        if self._layout.has(descriptor.digest):
            return self._layout.read(descriptor)
        self._count()
        self._check_size(descriptor)
        data = self._fetched(self._client.manifest(self._reference, descriptor.digest))
        self._keep(descriptor, data)
        return data

    def _config(self, manifest: Manifest, what: str) -> OciConfig:
        descriptor = manifest.config
        if not self._layout.has(descriptor.digest):
            self._count()
            self._check_size(descriptor)
            fetch_blob(self._store, self._client, self._reference, descriptor)
        config = parse_oci_config(self._layout.read(descriptor), what=what)
        if len(config.diff_ids) != len(manifest.layers):
            reason = f"rootfs.diff_ids are {len(config.diff_ids)}, but there are {len(manifest.layers)} layers"
            raise ImageError(image=what, reason=reason)
        return config

    def _check_size(self, descriptor: Descriptor) -> None:
        if descriptor.size > LARGEST_DOCUMENT:
            reason = f"has {descriptor.size} bytes, at most {LARGEST_DOCUMENT} are read"
            raise ImageError(image=self._name(descriptor.digest), reason=reason)

    def _fetched(self, resolved: Resolved) -> bytes:
        data = resolved.data
        if data is None:
            self._count()
            data = self._client.manifest(self._reference, resolved.digest).data
        assert data is not None  # of a GET
        return data

    def _keep(self, descriptor: Descriptor, data: bytes) -> None:
        """Verify a document and store it."""
        writer = begin_blob(self._store, descriptor, resumable=False)
        if writer is not None:
            try:
                writer.write(data)
                writer.commit()
            finally:
                writer.abandon(keep=False)

    def _count(self) -> None:
        self._left -= 1
        if self._left < 0:
            reason = f"consists of more than {_MOST_DOCUMENTS} documents"
            raise ImageError(image=self._reference.familiar, reason=reason)

    def _name(self, digest: Digest) -> str:
        return f"{self._reference.familiar} ({short_digest(digest)})"


def _check_media_types(manifest: Manifest, what: str) -> None:
    """Refuse what is no container image, and layers that a registry does not have."""
    if kind(manifest.config.media_type) is not DocumentKind.CONFIG:
        reason = f"is not a container image: its config is {manifest.config.media_type[:120]!r}"
        raise UnsupportedMediaTypeError(image=what, reason=reason)
    for number, layer in enumerate(manifest.layers):
        layer_compression(layer.media_type, what=f"{what} layers[{number}]")
    _check_places(manifest, what)


def _check_places(manifest: Manifest, what: str) -> None:
    """Refuse layers that a registry does not have."""
    for number, layer in enumerate(manifest.layers):
        if layer.is_foreign:
            reason = f"layers[{number}] is foreign: registries do not keep it, only the URLs in the manifest do"
            hint = "such layers are never fetched; push the image with its layers made distributable"
            raise UnsupportedMediaTypeError(image=what, reason=reason, hint=hint)


def _as_manifest(document: Document, what: str) -> Manifest:
    if not isinstance(document, Manifest):
        raise ImageError(image=what, reason="is an index, but is listed as a manifest")
    return document


def _as_index(document: Document, what: str) -> Index:
    if not isinstance(document, Index):
        raise ImageError(image=what, reason="is a manifest, but is listed as an index")
    return document
