"""Paths in a container or an image that read and write like `pathlib.Path`.

Every name resolves inside the tree, whatever its symlinks say; what fails raises the same
builtin exceptions as pathlib (`FileNotFoundError` …) as `PathError`. Each operation works on
the tree as it is at that moment, whatever state the container is in; it costs a small process
(about a millisecond). `Container.files()` keeps one for many operations.

A `TreePath` has no `__fspath__` on purpose: handing it to `open()` would mean the host's file.
"""

from __future__ import annotations

import errno
import os
import re
import stat as _stat
import time
from collections.abc import Callable, Iterator
from fnmatch import translate
from pathlib import PurePosixPath
from typing import IO, Any, BinaryIO, Literal, TextIO, overload

from container_kit._files.worker import FileStatus, FileWorker
from container_kit._runtime.site import Site
from container_kit._spec.root_filesystem import RootFilesystem
from container_kit._trees.tree_files import ContainerTree, ImageTree, Tree, open_in_tree, stat_result_of
from container_kit.errors import (
    InvalidSpecError,
    PathExistsError,
    PathNotADirectoryError,
    PathNotFoundError,
    path_error,
)


class TreePath:
    """An absolute path in a container or an image. Made by `Container.path` or `Image.path`.

    The pure part (`name`, `parent`, `suffix`, `/` …) is that of `pathlib.PurePosixPath`.
    """

    __slots__ = ("_pure", "_tree")

    def __init__(self, tree: Tree, path: str | PurePosixPath) -> None:
        text = str(path)
        if "\0" in text:
            raise InvalidSpecError(field="path", value=text, reason="must not contain NUL")
        self._tree = tree
        self._pure = PurePosixPath("/") / text.lstrip("/")

    # ── the name itself ─────────────────────────────────────────────────────

    @property
    def name(self) -> str:
        """The last part."""
        return self._pure.name

    @property
    def stem(self) -> str:
        """The last part without its suffix."""
        return self._pure.stem

    @property
    def suffix(self) -> str:
        """The ending of the last part, such as `.txt`."""
        return self._pure.suffix

    @property
    def parts(self) -> tuple[str, ...]:
        """All parts, the first of them `/`."""
        return self._pure.parts

    @property
    def parent(self) -> TreePath:
        """The directory it is in."""
        return TreePath(self._tree, self._pure.parent)

    @property
    def parents(self) -> tuple[TreePath, ...]:
        """All directories above it, the nearest first."""
        return tuple(TreePath(self._tree, path) for path in self._pure.parents)

    def joinpath(self, *others: str) -> TreePath:
        """Return the path below it; an absolute one replaces it."""
        return TreePath(self._tree, self._pure.joinpath(*others))

    def with_name(self, name: str) -> TreePath:
        """Return the path with another last part."""
        return TreePath(self._tree, self._pure.with_name(name))

    def with_suffix(self, suffix: str) -> TreePath:
        """Return the path with another suffix."""
        return TreePath(self._tree, self._pure.with_suffix(suffix))

    def relative_to(self, other: str | TreePath) -> PurePosixPath:
        """Return what leads from another path to this one."""
        return self._pure.relative_to(str(other))

    def match(self, pattern: str) -> bool:
        """Say whether it matches a pattern, as `PurePosixPath.match`."""
        return self._pure.match(pattern)

    def __truediv__(self, other: str) -> TreePath:
        return self.joinpath(other)

    def __str__(self) -> str:
        return str(self._pure)

    def __repr__(self) -> str:
        return f"TreePath({str(self._pure)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TreePath) and (self._tree, self._pure) == (other._tree, other._pure)

    def __hash__(self) -> int:
        return hash(self._pure)

    def __lt__(self, other: TreePath) -> bool:
        return self._pure < other._pure

    # ── looking ─────────────────────────────────────────────────────────────

    def stat(self, *, follow_symlinks: bool = True) -> os.stat_result:
        """Return its status; owners are the container's ids."""
        return stat_result_of(self._status(follow=follow_symlinks))

    def lstat(self) -> os.stat_result:
        """Return its status, that of a symlink itself."""
        return self.stat(follow_symlinks=False)

    def exists(self, *, follow_symlinks: bool = True) -> bool:
        """Say whether there is something."""
        return self._is(lambda _: True, follow=follow_symlinks)

    def is_file(self) -> bool:
        """Say whether it is a regular file, symlinks followed."""
        return self._is(lambda status: status.is_file)

    def is_dir(self) -> bool:
        """Say whether it is a directory, symlinks followed."""
        return self._is(lambda status: status.is_dir)

    def is_symlink(self) -> bool:
        """Say whether it is a symlink."""
        return self._is(lambda status: status.is_symlink, follow=False)

    def readlink(self) -> PurePosixPath:
        """Return where a symlink points, as it is written."""
        with self._tree.open(write=False) as worker:
            return PurePosixPath(worker.read_link(str(self)))

    def iterdir(self) -> Iterator[TreePath]:
        """Yield what is in a directory, sorted by name."""
        with self._tree.open(write=False) as worker:
            names = sorted(name for name, _ in worker.list(str(self)))
        return (self / name for name in names)

    def glob(self, pattern: str) -> Iterator[TreePath]:
        """Yield what matches a relative pattern, sorted; `**` is any number of directories, symlinks not followed."""
        parts = PurePosixPath(pattern).parts
        if not parts or pattern.startswith("/"):
            raise InvalidSpecError(field="pattern", value=pattern, reason="must be a relative pattern")
        with self._tree.open(write=False) as worker:
            found = sorted(set(_glob(worker, self._pure, parts)))
        return (TreePath(self._tree, path) for path in found)

    def rglob(self, pattern: str) -> Iterator[TreePath]:
        """Yield what matches a pattern here or anywhere below."""
        return self.glob(f"**/{pattern}")

    # ── contents ────────────────────────────────────────────────────────────

    @overload
    def open(
        self,
        mode: Literal["r", "w", "a", "x", "rt", "wt", "at", "xt", "r+", "w+", "a+", "x+"] = ...,
        *,
        encoding: str | None = ...,
        errors: str | None = ...,
        newline: str | None = ...,
    ) -> TextIO: ...

    @overload
    def open(
        self,
        mode: Literal["rb", "wb", "ab", "xb", "r+b", "w+b", "a+b", "x+b", "rb+", "wb+", "ab+", "xb+"],
    ) -> BinaryIO: ...

    @overload
    def open(
        self, mode: str, *, encoding: str | None = ..., errors: str | None = ..., newline: str | None = ...
    ) -> IO[Any]: ...

    def open(
        self, mode: str = "r", *, encoding: str | None = None, errors: str | None = None, newline: str | None = None
    ) -> IO[Any]:
        """Open a regular file, as the builtin does; text is UTF-8 unless said otherwise.

        The file must be closed: until then a container that does not run cannot be started (after writing).
        """
        return open_in_tree(self._tree, str(self), mode, encoding=encoding, errors=errors, newline=newline)

    def read_bytes(self) -> bytes:
        """Return what is in a regular file."""
        with self.open("rb") as file:
            return file.read()

    def read_text(self, encoding: str | None = None, errors: str | None = None) -> str:
        """Return what is in a regular file as text, UTF-8 unless said otherwise."""
        with self.open("r", encoding=encoding, errors=errors) as file:
            return file.read()

    def write_bytes(self, data: bytes) -> int:
        """Write a regular file, made if missing, and return the number of bytes."""
        with self.open("wb") as file:
            return file.write(data)

    def write_text(
        self, data: str, encoding: str | None = None, errors: str | None = None, newline: str | None = None
    ) -> int:
        """Write a regular file as text, made if missing, and return the number of characters."""
        with self.open("w", encoding=encoding, errors=errors, newline=newline) as file:
            return file.write(data)

    # ── changing ────────────────────────────────────────────────────────────

    def mkdir(self, mode: int = 0o777, *, parents: bool = False, exist_ok: bool = False) -> None:
        """Make a directory; the mode is less the usual umask of containers, 022."""
        with self._tree.open(write=True) as worker:
            worker.make_directory(str(self), mode & ~0o022, parents=parents, exist_ok=exist_ok)

    def touch(self, mode: int = 0o666, *, exist_ok: bool = True) -> None:
        """Make an empty file, or set the times of what is there to now."""
        with self._tree.open(write=True) as worker:
            try:
                os.close(worker.open(str(self), os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode & ~0o022))
            except PathExistsError:
                if not exist_ok:
                    raise
                now = time.time_ns()
                worker.set_times(str(self), now, now)

    def unlink(self, *, missing_ok: bool = False) -> None:
        """Remove a file or a symlink."""
        with self._tree.open(write=True) as worker:
            try:
                if worker.status(str(self), follow=False).is_dir:
                    raise path_error(errno.EISDIR, str(self), "unlink")
                worker.remove(str(self))
            except PathNotFoundError:
                if not missing_ok:
                    raise

    def rmdir(self) -> None:
        """Remove an empty directory."""
        with self._tree.open(write=True) as worker:
            if not worker.status(str(self), follow=False).is_dir:
                raise path_error(errno.ENOTDIR, str(self), "rmdir")
            worker.remove(str(self))

    def remove_tree(self, *, missing_ok: bool = False) -> None:
        """Remove it with all that is below it (pathlib has no word for that)."""
        with self._tree.open(write=True) as worker:
            try:
                worker.remove(str(self), recursive=True)
            except PathNotFoundError:
                if not missing_ok:
                    raise

    def rename(self, target: str | TreePath) -> TreePath:
        """Give it another name in the same tree, replacing a file that is there, and return the new path."""
        new = TreePath(self._tree, str(target))
        with self._tree.open(write=True) as worker:
            worker.rename(str(self), str(new))
        return new

    replace = rename

    def symlink_to(self, target: str | TreePath) -> None:
        """Make it a symlink to a target, which is not looked at."""
        with self._tree.open(write=True) as worker:
            worker.symlink(str(self), str(target))

    def hardlink_to(self, target: str | TreePath) -> None:
        """Make it another name of a file that is there."""
        with self._tree.open(write=True) as worker:
            worker.link(str(TreePath(self._tree, str(target))), str(self))

    def chmod(self, mode: int) -> None:
        """Set its permissions."""
        with self._tree.open(write=True) as worker:
            worker.change_mode(str(self), mode)

    def chown(self, uid: int, gid: int, *, follow_symlinks: bool = True) -> None:
        """Set its owner, the container's ids; -1 leaves one as it is."""
        with self._tree.open(write=True) as worker:
            if -1 in (uid, gid):
                status = worker.status(str(self), follow=follow_symlinks)
                uid, gid = status.uid if uid == -1 else uid, status.gid if gid == -1 else gid
            worker.change_owner(str(self), uid, gid, follow=follow_symlinks)

    # ── below ───────────────────────────────────────────────────────────────

    def _status(self, *, follow: bool) -> FileStatus:
        with self._tree.open(write=False) as worker:
            return worker.status(str(self), follow=follow)

    def _is(self, question: Callable[[FileStatus], bool], *, follow: bool = True) -> bool:
        try:
            return question(self._status(follow=follow))
        except (PathNotFoundError, PathNotADirectoryError):
            return False


def _glob(worker: FileWorker, directory: PurePosixPath, parts: tuple[str, ...]) -> Iterator[PurePosixPath]:
    first, rest = parts[0], parts[1:]
    if first == "**":
        for below in _directories(worker, directory):
            yield from _glob(worker, below, rest) if rest else (below,)
        return
    pattern = re.compile(translate(first))
    for name, _ in _entries(worker, directory):
        if pattern.match(name) and (not name.startswith(".") or first.startswith(".")):
            if rest:
                yield from _glob(worker, directory / name, rest)
            else:
                yield directory / name


def _directories(worker: FileWorker, top: PurePosixPath) -> Iterator[PurePosixPath]:
    # Without recursion: a container may have made its tree deeper than Python's stack.
    left = [top]
    while left:
        directory = left.pop()
        yield directory
        entries = _entries(worker, directory)
        left += (directory / name for name, kind in entries if _is_directory(worker, directory / name, kind))


def _entries(worker: FileWorker, directory: PurePosixPath) -> list[tuple[str, int]]:
    try:
        return worker.list(str(directory))
    except (PathNotFoundError, PathNotADirectoryError):
        return []


def _is_directory(worker: FileWorker, path: PurePosixPath, kind: int) -> bool:
    return _stat.S_ISDIR(kind or worker.status(str(path), follow=False).mode)


def container_path(site: Site, container_id: str, path: str) -> TreePath:
    """Return a path in a container, whatever state it is in."""
    return TreePath(ContainerTree(site, container_id), path)


def image_path(site: Site, root: RootFilesystem, path: str) -> TreePath:
    """Return a path in an image, to read only."""
    return TreePath(ImageTree(site, root), path)
