"""Trees that paths live in, and files of them, opened: what `TreePath.open` returns, and `stat` is made of."""

from __future__ import annotations

import errno
import io
import os
import stat
from contextlib import AbstractContextManager, ExitStack, nullcontext
from typing import IO, Any, BinaryIO, Protocol, cast

import attrs

from container_kit._files.worker import FileStatus, FileWorker
from container_kit._runtime.site import Site
from container_kit._spec.root_filesystem import RootFilesystem
from container_kit._trees.container_files import open_files, open_root
from container_kit.errors import InvalidSpecError, path_error

_FLAGS = {
    "r": os.O_RDONLY,
    "w": os.O_WRONLY | os.O_CREAT | os.O_TRUNC,
    "a": os.O_WRONLY | os.O_CREAT | os.O_APPEND,
    "x": os.O_WRONLY | os.O_CREAT | os.O_EXCL,
}
_NS = 1_000_000_000


class Tree(Protocol):
    """Where paths live."""

    def open(self, *, write: bool) -> AbstractContextManager[FileWorker]:
        """Give a worker in the tree, for as long as the block lasts."""
        ...


class _HeldFile(io.FileIO):
    """A file that keeps what its tree needs until it is closed: the worker, and the lock against a start."""

    def __init__(self, fd: int, mode: str, held: ExitStack) -> None:
        self._held = held
        super().__init__(fd, mode)

    def close(self) -> None:
        """Close it. Idempotent."""
        try:
            super().close()
        finally:
            self._held.close()


def open_in_tree(
    tree: Tree, path: str, mode: str, *, encoding: str | None, errors: str | None, newline: str | None
) -> IO[Any]:
    """Open a regular file as the builtin `open` does; text is UTF-8 unless said otherwise. The caller closes it.

    Raises:
        InvalidSpecError: the mode makes no sense.
        PathError: it cannot be opened, or is not a regular file.
    """
    letters = sorted(set(mode) - {"b", "t"})
    kinds = [letter for letter in letters if letter in _FLAGS]
    binary = "b" in mode
    if len(kinds) != 1 or set(letters) - {*kinds, "+"} or (binary and ("t" in mode or encoding or errors or newline)):
        raise InvalidSpecError(field="mode", value=mode, reason="must be a mode of open(), such as 'rb'")
    raw = _open_raw(tree, path, kinds[0], updating="+" in mode)
    if "+" in mode:
        buffered: io.BufferedIOBase = io.BufferedRandom(raw)
    else:
        buffered = io.BufferedReader(raw) if raw.readable() else io.BufferedWriter(raw)
    if binary:
        return cast("BinaryIO", buffered)
    return io.TextIOWrapper(cast("BinaryIO", buffered), encoding or "utf-8", errors, newline)


def _open_raw(tree: Tree, path: str, kind: str, *, updating: bool) -> io.FileIO:
    flags = _FLAGS[kind]
    if updating:
        flags = flags & ~os.O_ACCMODE | os.O_RDWR
    with ExitStack() as stack:
        worker = stack.enter_context(tree.open(write=updating or kind != "r"))
        fd = worker.open(path, flags, 0o644)
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise path_error(errno.EISDIR, path, "open")
        held = stack.pop_all()
        try:
            return _HeldFile(fd, f"{'w' if kind == 'x' else kind}b{'+' if updating else ''}", held)
        except BaseException:
            held.close()
            raise


def stat_result_of(status: FileStatus) -> os.stat_result:
    """Return a file's status in the form that pathlib gives it."""
    times = (status.atime_ns, status.mtime_ns, status.ctime_ns)
    numbers = (status.mode, status.inode, status.device, status.links, status.uid, status.gid, status.size)
    named: dict[str, object] = {"st_rdev": status.device_number}
    for name, time_ns in zip(("atime", "mtime", "ctime"), times, strict=True):
        named |= {f"st_{name}": time_ns / _NS, f"st_{name}_ns": time_ns}
    return os.stat_result((*numbers, *(time_ns // _NS for time_ns in times)), named)


@attrs.frozen
class ContainerTree:
    """The tree of a container, whatever state it is in; every use opens it anew."""

    site: Site
    container_id: str

    def open(self, *, write: bool) -> AbstractContextManager[FileWorker]:
        """Give a worker in it, for as long as the block lasts."""
        return open_files(self.site, self.container_id, write=write)


@attrs.frozen
class ImageTree:
    """The tree of an image, to read only; every use opens it anew."""

    site: Site
    root: RootFilesystem

    def open(self, *, write: bool) -> AbstractContextManager[FileWorker]:
        """Give a worker in it, for as long as the block lasts; what writes fails with EROFS."""
        del write
        return open_root(self.site, self.root)


@attrs.frozen
class KeptTree:
    """A tree that is open already: every use shares one worker."""

    worker: FileWorker
    writable: bool

    def open(self, *, write: bool) -> AbstractContextManager[FileWorker]:
        """Give the worker.

        Raises:
            PathError: EROFS when something shall be written to a tree that was opened to read.
        """
        if write and not self.writable:
            raise path_error(errno.EROFS, "/", "write to")
        return nullcontext(self.worker)
