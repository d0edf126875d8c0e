"""Contents: what is in a container's tree: copied in and out, read, written, compared, packed, kept as an image.

The part of `Container` that works on files, whatever state the container is in; its life is in
`container.py`, its processes in `interior.py`. What does the work is loaded when it is first used.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO, Literal

from container_kit._runtime.status import find
from container_kit.engine import Engine

if TYPE_CHECKING:
    from container_kit._spec.progress import ProgressCallback
    from container_kit._trees.changes import Change
    from container_kit._trees.copying import Owner
    from container_kit._trees.open_tree import Files
    from container_kit._trees.tree_paths import TreePath
    from container_kit.image import Image


class Contents:
    """Files of a container.

    Attributes:
        id: 64 hexadecimal digits.
    """

    id: str
    _engine: Engine

    def path(self, path: str) -> TreePath:
        """Return a path in it that reads and writes like `pathlib.Path`; relative ones start at its root.

        It works whatever state the container is in; symlinks resolve inside its root.
        """
        return self._all_files().path(path)

    @contextmanager
    def files(self, *, read_only: bool = False) -> Generator[Files]:
        """Give its files for several operations, which is faster than one by one.

        Args:
            read_only: nothing will be changed. Without it, one that does not run cannot be started meanwhile.

        Raises:
            InvalidTransitionError: it is being removed, or would be written to while it restarts.
        """
        from container_kit._trees.container_files import open_files
        from container_kit._trees.open_tree import Files
        from container_kit._trees.tree_files import KeptTree

        site = self._engine.site
        with open_files(site, self.id, write=not read_only) as worker:
            yield Files(site, KeptTree(worker, not read_only))

    def copy_in(
        self,
        source: str | os.PathLike[str] | bytes | BinaryIO,
        destination: str,
        *,
        owner: Owner = None,
        archive: bool = False,
        follow_links: bool = False,
    ) -> None:
        """Copy into it, by the rules of `docker cp`, whatever state it is in.

        A directory ends up as `destination` when there is nothing, in it when that is a directory; a source that ends
        with `/.` means what is in the directory. Parents of the destination are not made.

        Args:
            source: a path on the host; or the content of a file as bytes; or a binary file object that gives a tar
                archive, compressed or not, which is unpacked into the destination, a directory.
            destination: a path in the container; relative ones start at its root.
            owner: who owns what comes in: a name or number as for `user=`, or (uid, gid); None: root.
            archive: keep the owners' ids. Rootless, the caller is 0.
            follow_links: copy what a symlink as the source leads to, not the symlink.

        Raises:
            PathNotFoundError, PathNotADirectoryError, …: the rules do not allow it, or the kernel refuses.
            UnsafeArchiveError: the archive is malformed, or leads out of the container.
        """
        self._all_files().copy_in(source, destination, owner=owner, archive=archive, follow_links=follow_links)

    def copy_out(
        self, source: str, destination: str | os.PathLike[str], *, archive: bool = False, follow_links: bool = False
    ) -> None:
        """Copy out of it to the host, by the rules of `docker cp`, whatever state it is in.

        What comes out belongs to the caller; devices and set-id bits stay behind.

        Args:
            source: a path in the container.
            destination: a path on the host.
            archive: keep the owners' ids.
            follow_links: copy what a symlink as the source leads to, not the symlink.

        Raises:
            PathNotFoundError, PathNotADirectoryError, …: the rules do not allow it, or the kernel refuses.
        """
        self._all_files().copy_out(source, destination, archive=archive, follow_links=follow_links)

    def read_archive(self, path: str, *, follow_links: bool = False) -> BinaryIO:
        """Return what is at a path as a tar stream, whose first entry has the path's last name. The caller closes it.

        Args:
            path: a path in the container.
            follow_links: a symlink at its end is followed.

        Raises:
            PathNotFoundError: there is nothing.
        """
        return self._all_files().read_archive(path, follow_links=follow_links)

    def diff(self) -> tuple[Change, ...]:
        """Return what it has changed in its image's tree, sorted by path: added, changed and deleted names.

        The cost depends on what was changed. Volumes and other mounts are no part of it.
        """
        from container_kit._trees.changes import diff

        return diff(self._engine.site, self.id)

    def export(self, target: str | os.PathLike[str] | BinaryIO) -> None:
        """Write its whole tree as a tar archive, without anything that is mounted in it.

        Args:
            target: a path on the host, replaced when all is written; or a binary file object.
        """
        from container_kit._trees.export import export

        export(self._engine.site, self.id, os.fspath(target) if isinstance(target, str | os.PathLike) else target)

    def commit(
        self,
        name: str | None = None,
        *,
        author: str = "",
        message: str = "",
        pause: bool | None = None,
        changes: Sequence[str] = (),
        compression: Literal["zstd", "gzip", "none"] = "zstd",
        progress: ProgressCallback | None = None,
    ) -> Image:
        """Make an image of it: what it has changed becomes a layer on top of those of its image, which are shared.

        The image's config is the container's: environment, command, entrypoint, user, labels and so on. What is
        mounted in it is no part of the image. One made from a directory gets that directory as the first layer.

        Args:
            name: what the image is called; None: it has only an id.
            author: of the image.
            message: a comment for its history.
            pause: freeze it meanwhile if it runs; None: where it has a control group.
            changes: Dockerfile instructions for the config, such as `CMD ["app"]`.
            compression: of the new layer.
            progress: is called with events.

        Raises:
            UnsupportedHostError: it shall be paused and has no control group.
            InvalidTransitionError: it shall be paused, and was started or ended each time that it was packed.
            LockTimeoutError: others were at its files, or committed it, for too long.
            ImageError: it is a container of `Image.host()`.
            InvalidReferenceError, InvalidSpecError: the name or a change makes no sense; nothing was done.
        """
        from container_kit._trees.commit import commit
        from container_kit.image import Image

        entry = commit(
            self._engine.site,
            find(self._engine.site, self.id).record.id,
            name,
            author=author,
            message=message,
            pause=pause,
            changes=changes,
            compression=compression,
            progress=progress,
        )
        return Image._of(self._engine, entry)  # noqa: SLF001  # made like any other image of the store

    def _all_files(self) -> Files:
        from container_kit._trees.open_tree import container_files

        return container_files(self._engine.site, find(self._engine.site, self.id).record.id)
