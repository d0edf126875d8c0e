"""Where an image's root file system comes from: the host, a directory, or the store.

An origin is a value. `parts` is what a container takes from it: defaults for its processes,
the directories of its root, and the digest by which its row refers to the image.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import attrs

from container_kit._images.host import host_root
from container_kit._images.mountpoints import build_mountpoints
from container_kit._spec.digest import Digest
from container_kit._spec.image_config import ImageConfig
from container_kit._spec.paths import ContainerPath, HostPath
from container_kit._spec.platform import Platform
from container_kit._spec.progress import ProgressCallback
from container_kit._spec.root_filesystem import OverlayLayers, RootFilesystem
from container_kit._state.home import Home

if TYPE_CHECKING:  # an image that is not in a store needs none of it
    from container_kit._store.store import ImageStore


@attrs.frozen(kw_only=True)
class ImageParts:
    """What a container is made from. `id` is the digest of a manifest, empty for what is not in the store."""

    name: str
    config: ImageConfig
    root: RootFilesystem
    id: str = ""


@attrs.frozen(kw_only=True)
class HostOrigin:
    """The host's own /usr, and more of its directories where they are included."""

    include: tuple[HostPath, ...] = ()

    def parts(self, home: Home, name: str) -> ImageParts:
        """Return what a container takes from it; generated parts are kept among the engine's layers."""
        root = host_root(home.layers, self.include)
        return ImageParts(name=name, config=HOST_CONFIG, root=root)


@attrs.frozen(kw_only=True)
class DirectoryOrigin:
    """A directory that holds a root file system; it is never written."""

    directory: HostPath
    config: ImageConfig

    def parts(self, home: Home, name: str) -> ImageParts:
        """Return what a container takes from it."""
        return ImageParts(name=name, config=self.config, root=_root_of((self.directory,), home.layers))


@attrs.frozen(kw_only=True)
class StoredOrigin:
    """What a digest names in the store: a manifest, or an index with one for each platform."""

    digest: Digest
    platform: Platform | None = None

    def parts(self, store: ImageStore, name: str, progress: ProgressCallback | None = None) -> ImageParts:
        """Return what a container takes from it; layers that are not unpacked yet are unpacked now."""
        from container_kit._images.find import entry_of

        entry = entry_of(store, self.digest)
        descriptor, manifest = store.layout.manifest_of(entry, self.platform)
        config = store.layout.oci_config(manifest)
        lowers = store.layers.ensure_all(manifest, config, progress)
        root = _root_of(lowers, store.home.layers)
        return ImageParts(name=name, config=config.config, root=root, id=descriptor.digest)


Origin: TypeAlias = HostOrigin | DirectoryOrigin | StoredOrigin

HOST_CONFIG = ImageConfig(command=("/bin/sh",))


def _root_of(lowers: tuple[HostPath, ...], layers: HostPath) -> RootFilesystem:
    whole = OverlayLayers(target=ContainerPath("/"), lowers=(*lowers, build_mountpoints(layers)))
    return RootFilesystem(overlays=(whole,))
