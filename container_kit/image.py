"""Image: what a container's root file system is made of, and how its processes run by default.

For now an image is the host itself or a directory; both are values that name what is
already there, so making one costs nothing and leaves nothing behind.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import attrs

from container_kit._images.host import host_root
from container_kit._images.mountpoints import build_mountpoints
from container_kit._spec.image_config import ImageConfig
from container_kit._spec.paths import ContainerPath, HostPath, parse_host_path
from container_kit._spec.root_filesystem import OverlayLayers, RootFilesystem
from container_kit.errors import ImageError, InvalidSpecError

_NEVER_INCLUDED = ("/", "/proc", "/sys", "/dev", "/home", "/root", "/var", "/etc", "/run", "/boot")


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
        directories = tuple(dict.fromkeys(path for given in include for path in _with_interpreter(_included(given))))
        return cls(name="host", config=ImageConfig(command=("/bin/sh",)), include=directories)

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


def _included(given: str | os.PathLike[str]) -> HostPath:
    path = parse_host_path(given, "include")
    if path in _NEVER_INCLUDED:
        raise InvalidSpecError(field="include", value=path, reason="shows private parts of the host as a whole")
    if not os.path.isdir(path):
        raise InvalidSpecError(field="include", value=path, reason="is not a directory")
    return path


def _with_interpreter(path: HostPath) -> tuple[HostPath, ...]:
    """Return a directory and, if it is a virtual environment, where its interpreter is installed (PEP 405)."""
    try:
        with open(f"{path}/pyvenv.cfg", encoding="utf-8") as file:
            lines = [line.partition("=") for line in file]
    except OSError:
        return (path,)
    homes = [value.strip() for key, _, value in lines if key.strip() == "home"]
    prefix = os.path.dirname(os.path.realpath(homes[0])) if homes else sys.base_prefix
    if prefix in ("/", "/usr", "/usr/local") or not os.path.isdir(prefix):
        return (path,)
    return (path, HostPath(prefix))
