"""Reads the images of an OCI layout in an archive, as docker, podman, skopeo and buildx write it.

Every document is verified against the descriptor that leads to it, from index.json down.
An index of which the archive holds everything stays an index; of one that has been
thinned out (docker leaves other platforms' images away) the manifest that fits is taken.
Annotations give names and nothing else.

Follows the OCI image-spec, image-layout.md. Docker's and containerd's annotation for the
full name is `io.containerd.image.name`; `org.opencontainers.image.ref.name` is the
specification's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping

import attrs

from container_kit._archives.contents import MOST_IMAGES, ArchivedBlob, ArchivedImage, parse_names
from container_kit._archives.docker_archive import LISTING, read_repo_tags
from container_kit._archives.input import Scratch
from container_kit._spec.descriptor import Descriptor
from container_kit._spec.digest import Digest, algorithm_of, hex_of
from container_kit._spec.manifest import Index, Manifest, parse_document
from container_kit._spec.media_types import OCI_INDEX, DocumentKind, kind
from container_kit._spec.oci_config import OciConfig, parse_oci_config
from container_kit._spec.platform import UNKNOWN_PLATFORM, Platform, choose_platform
from container_kit._spec.reference import Reference
from container_kit.errors import DigestMismatchError, ImageError

MARKER = "oci-layout"
TOP = "index.json"
NAME_ANNOTATIONS = ("io.containerd.image.name", "org.opencontainers.image.ref.name")
_DEEPEST = 4
_MOST_DOCUMENTS = 1000


@attrs.frozen(kw_only=True)
class _Leaf:
    """A manifest in the archive and the descriptor that leads to it."""

    descriptor: Descriptor
    manifest: Manifest


@attrs.define
class _Tree:
    """What can be reached from one descriptor of index.json."""

    blobs: dict[Digest, Descriptor] = attrs.field(factory=dict[Digest, Descriptor])
    leaves: list[_Leaf] = attrs.field(factory=list[_Leaf])
    is_complete: bool = True


def read_oci_images(scratch: Scratch, platform: Platform) -> tuple[ArchivedImage, ...]:
    """Return the images that index.json lists, each for a platform where it is for several.

    Raises:
        ImageError: a document is malformed or a file is missing; manifest.json beside it says something else.
        DigestMismatchError: a document is not what its digest says.
    """
    return _Reader(scratch, platform).read()


class _Reader:
    """Follows descriptors through an archive; documents are read once."""

    def __init__(self, scratch: Scratch, platform: Platform) -> None:
        self._scratch = scratch
        self._platform = platform
        self._documents: dict[Digest, Manifest | Index] = {}
        self._configs: dict[Digest, set[Digest]] = {}  # of all platforms, by image

    def read(self) -> tuple[ArchivedImage, ...]:
        top = parse_document(self._scratch.read(TOP), media_type=OCI_INDEX, what=f"{TOP} of {self._scratch.name}")
        if not isinstance(top, Index) or len(top.manifests) > MOST_IMAGES:
            raise ImageError(image=self._scratch.name, reason=f"{TOP} is no index of at most {MOST_IMAGES} images")
        grouped: dict[Digest, list[Descriptor]] = {}
        for descriptor in top.manifests:
            if kind(descriptor.media_type) in (DocumentKind.INDEX, DocumentKind.MANIFEST):
                grouped.setdefault(descriptor.digest, []).append(descriptor)
        images = [self._image_of(group) for group in grouped.values()]
        return self._with_repo_tags(tuple(image for image in images if image is not None))

    def _image_of(self, group: list[Descriptor]) -> ArchivedImage | None:
        descriptor = group[0]
        if any(_facts(other) != _facts(descriptor) for other in group):
            raise ImageError(image=self._scratch.name, reason=f"{TOP} describes {descriptor.digest} in two ways")
        tree = self._tree_of(descriptor)
        images = [leaf for leaf in tree.leaves if kind(leaf.manifest.config.media_type) is DocumentKind.CONFIG]
        if not images:
            return None  # an artifact that is no image
        leaf = self._chosen(descriptor, images)
        names = parse_names(name for other in group for name in _names_in(other))
        if tree.is_complete:
            for other in images:
                if other.descriptor.platform not in (None, UNKNOWN_PLATFORM):  # attestations are for `unknown`
                    self._config_of(other)
            image = self._made(names, descriptor, None, leaf, tree.blobs)
        elif leaf is not None:
            image = self._made(names, leaf.descriptor, descriptor.digest, leaf, _parts_of(leaf))
        else:
            reason = f"{descriptor.digest} is incomplete, and nothing in it is for {self._platform}"
            raise ImageError(image=self._scratch.name, reason=reason)
        self._configs.setdefault(image.descriptor.digest, set()).update(one.manifest.config.digest for one in images)
        return image

    def _made(
        self,
        names: tuple[Reference, ...],
        descriptor: Descriptor,
        source: Digest | None,
        leaf: _Leaf | None,
        blobs: Mapping[Digest, Descriptor],
    ) -> ArchivedImage:
        return ArchivedImage(
            names=names,
            descriptor=attrs.evolve(descriptor, annotations=(), urls=()),
            source=source,
            manifest=leaf.manifest if leaf is not None else None,
            config=self._config_of(leaf) if leaf is not None else None,
            blobs=tuple(
                ArchivedBlob(digest=part.digest, size=part.size, path=_path_of(part.digest)) for part in blobs.values()
            ),
        )

    def _tree_of(self, descriptor: Descriptor) -> _Tree:
        tree = _Tree()
        for found, document in self._walk(descriptor, tree, 0):
            if isinstance(document, Manifest):
                tree.leaves.append(_Leaf(descriptor=found, manifest=document))
                tree.blobs.update((part.digest, part) for part in (document.config, *document.layers))
            tree.blobs[found.digest] = found
        return tree

    def _walk(self, descriptor: Descriptor, tree: _Tree, depth: int) -> Iterator[tuple[Descriptor, Manifest | Index]]:
        if depth > _DEEPEST:
            raise ImageError(image=self._scratch.name, reason=f"has indexes nested deeper than {_DEEPEST}")
        document = self._document(descriptor)
        yield descriptor, document
        if isinstance(document, Manifest):
            return
        for part in document.manifests:
            if part.digest in tree.blobs:
                continue  # or a few indexes that list each other many times would take for ever
            if kind(part.media_type) not in (DocumentKind.INDEX, DocumentKind.MANIFEST):
                tree.is_complete = False  # nobody knows what else belongs to it
            elif self._is_whole(part):
                yield from self._walk(part, tree, depth + 1)
            else:
                tree.is_complete = False

    def _is_whole(self, descriptor: Descriptor) -> bool:
        # What tools thin out of an index, they leave out altogether or without its layers.
        if not self._scratch.has(_path_of(descriptor.digest)):
            return False
        document = self._document(descriptor)
        parts = (document.config, *document.layers) if isinstance(document, Manifest) else ()
        return all(self._scratch.has(_path_of(part.digest)) for part in parts)

    def _document(self, descriptor: Descriptor) -> Manifest | Index:
        if descriptor.digest not in self._documents:
            if len(self._documents) >= _MOST_DOCUMENTS:
                raise ImageError(image=self._scratch.name, reason=f"has more than {_MOST_DOCUMENTS} manifests")
            data = self._verified(descriptor)
            what = f"{descriptor.digest} of {self._scratch.name}"
            self._documents[descriptor.digest] = parse_document(data, media_type=descriptor.media_type, what=what)
        return self._documents[descriptor.digest]

    def _config_of(self, leaf: _Leaf) -> OciConfig:
        described = leaf.manifest.config
        config = parse_oci_config(self._verified(described), what=f"{described.digest} of {self._scratch.name}")
        if len(config.diff_ids) != len(leaf.manifest.layers):
            reason = f"its manifest has {len(leaf.manifest.layers)} layers, its config {len(config.diff_ids)} diff_ids"
            raise ImageError(image=f"{leaf.descriptor.digest} of {self._scratch.name}", reason=reason)
        return config

    def _verified(self, descriptor: Descriptor) -> bytes:
        data = self._scratch.read(_path_of(descriptor.digest))
        algorithm = algorithm_of(descriptor.digest)
        actual = f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}"
        if actual != descriptor.digest or len(data) != descriptor.size:
            what = f"{_path_of(descriptor.digest)} of {self._scratch.name}"
            raise DigestMismatchError(image=what, expected=descriptor.digest, actual=actual)
        return data

    def _chosen(self, descriptor: Descriptor, leaves: list[_Leaf]) -> _Leaf | None:
        if kind(descriptor.media_type) is DocumentKind.MANIFEST:
            return leaves[0]
        return choose_platform(self._platform, leaves, self._platform_of)

    def _platform_of(self, leaf: _Leaf) -> Platform | None:
        return leaf.descriptor.platform or self._config_of(leaf).platform

    def _with_repo_tags(self, images: tuple[ArchivedImage, ...]) -> tuple[ArchivedImage, ...]:
        if not self._scratch.has(LISTING):
            return images
        tags = read_repo_tags(self._scratch)
        named: list[ArchivedImage] = []
        for image in images:
            # Of an image for several platforms, each may be listed.
            own = [name for config in sorted(self._configs[image.descriptor.digest]) for name in tags.get(config, ())]
            texts = [name.canonical for name in (*image.names, *own)]
            named.append(attrs.evolve(image, names=parse_names(texts)))
        unknown = set(tags).difference(*self._configs.values())
        if unknown:
            reason = f"{TOP} and {LISTING} list different images: {min(unknown)} is in the latter only"
            raise ImageError(image=self._scratch.name, reason=reason)
        return tuple(named)


def _facts(descriptor: Descriptor) -> tuple[str, int]:
    return descriptor.media_type, descriptor.size


def _parts_of(leaf: _Leaf) -> dict[Digest, Descriptor]:
    parts = (leaf.descriptor, leaf.manifest.config, *leaf.manifest.layers)
    return {part.digest: part for part in parts}


def _names_in(descriptor: Descriptor) -> Iterator[str]:
    for key in NAME_ANNOTATIONS:
        name = descriptor.annotation(key)
        if name:
            yield name
            return  # the first one is the full name, the other only its tag


def _path_of(digest: Digest) -> str:
    return f"blobs/{algorithm_of(digest)}/{hex_of(digest)}"
