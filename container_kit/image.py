"""Image: what a container's root file system is made of, and how its processes run by default.

For now an image is the host itself or a directory; both are values that name what is
already there, so making one costs nothing and leaves nothing behind.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import attrs

from container_kit._images.host import choose_directories, host_root
from container_kit._images.mountpoints import build_mountpoints
from container_kit._spec.image_config import ImageConfig
from container_kit._spec.paths import ContainerPath, HostPath, parse_host_path
from container_kit._spec.root_filesystem import OverlayLayers, RootFilesystem
from container_kit.errors import ImageError


@attrs.frozen(kw_only=True)
class Image:
    """An image. Made by `Image.host` or `Image.from_directory`, not by calling the class."""

    name: str
    config: ImageConfig
    _directory: HostPath | None = attrs.field(default=None, alias="directory")
    _include: tuple[HostPath, ...] = attrs.field(default=(), alias="include")

    @classmethod
    def host(cls, *, include: Sequence[str | os.PathLike[str]] = ()) -> Image:
        """Return the host itself as an image: its /usr, and nothing of its users.

        The container sees the host's programs and libraries below copy-on-write overlays: it may write
        anywhere, the host never sees it. Of /etc it sees the loader's cache, alternatives, certificates and
        time zone, and generated account files; of /home, /root and /var nothing.

        Args:
            include: further directories of the host to show the same way, at the same path, such as
                `sys.prefix`. A virtual environment brings the Python it was made from along.

        Raises:
            InvalidSpecError: an included path is not an absolute path of a directory, or would show private parts
                of the host as a whole (/home, /root, /var, /etc …; directories below them can be included).
        """
        return cls(name="host", config=ImageConfig(command=("/bin/sh",)), include=choose_directories(include))

    @classmethod
    def from_directory(cls, path: str | os.PathLike[str], *, config: ImageConfig | None = None) -> Image:
        """Return a directory that holds a root file system as an image. The directory itself is never written.

        Args:
            path: the root file system; it must stay there while containers use it.
            config: defaults for processes, e.g. `ImageConfig(env=…, command=…)`.

        Raises:
            ImageError: there is no such directory.
        """
        directory = parse_host_path(os.path.abspath(path), "image directory")
        if not os.path.isdir(directory):
            raise ImageError(image=directory, reason="is not a directory", hint="give the root of a file system tree")
        return cls(name=directory, config=config or ImageConfig(), directory=directory)

    def root(self, layers: HostPath) -> RootFilesystem:
        """Return the overlays of a container of this image. Generated parts are kept below `layers`."""
        if self._directory is None:
            return host_root(layers, self._include)
        lowers = (self._directory, build_mountpoints(layers))
        return RootFilesystem(overlays=(OverlayLayers(target=ContainerPath("/"), lowers=lowers),))

    def __str__(self) -> str:
        return self.name
