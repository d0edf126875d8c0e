"""A tree with what can be done to it: paths, copies, archives. What `Container.files` gives."""

from __future__ import annotations

import os
from typing import BinaryIO

from container_kit._runtime.site import Site
from container_kit._spec.root_filesystem import RootFilesystem
from container_kit._trees import copying
from container_kit._trees import export as _export
from container_kit._trees.copying import CopyOptions, Owner
from container_kit._trees.tree_files import ContainerTree, ImageTree, Tree
from container_kit._trees.tree_paths import TreePath
from container_kit.errors import InvalidSpecError


class Files:
    """The files of a container or an image. Made by `Container.files`, not by calling the class."""

    def __init__(self, site: Site, tree: Tree) -> None:
        self._site = site
        self._tree = tree

    def path(self, path: str) -> TreePath:
        """Return a path in it; relative ones start at the root."""
        return TreePath(self._tree, path)

    def copy_in(
        self,
        source: str | os.PathLike[str] | bytes | BinaryIO,
        destination: str,
        *,
        owner: Owner = None,
        archive: bool = False,
        follow_links: bool = False,
    ) -> None:
        """Copy into it; see `Container.copy_in`."""
        options = CopyOptions(owner=owner, archive=archive, follow_links=follow_links)
        with self._tree.open(write=True) as worker:
            if isinstance(source, bytes | bytearray | memoryview):
                copying.write_file(self._site, worker, bytes(source), destination, options)
            elif isinstance(source, str | os.PathLike):
                copying.copy_in(self._site, worker, os.fspath(source), destination, options)
            elif hasattr(source, "read"):
                copying.write_archive(self._site, worker, source, destination, options)
            else:
                reason = "must be a path, bytes, or a binary file object that gives a tar archive"
                raise InvalidSpecError(field="source", value=source, reason=reason)

    def copy_out(
        self,
        source: str,
        destination: str | os.PathLike[str],
        *,
        archive: bool = False,
        follow_links: bool = False,
    ) -> None:
        """Copy out of it; see `Container.copy_out`."""
        options = CopyOptions(archive=archive, follow_links=follow_links)
        with self._tree.open(write=False) as worker:
            copying.copy_out(self._site, worker, source, os.fspath(destination), options)

    def read_archive(self, path: str, *, follow_links: bool = False) -> BinaryIO:
        """Return a path as a tar stream; see `Container.read_archive`."""
        return _export.read_archive(self._tree, path, follow_links=follow_links)


def container_files(site: Site, container_id: str) -> Files:
    """Return the files of a container, whatever state it is in; each operation opens its tree anew."""
    return Files(site, ContainerTree(site, container_id))


def image_files(site: Site, root: RootFilesystem) -> Files:
    """Return the files of an image; what would write fails with EROFS."""
    return Files(site, ImageTree(site, root))
