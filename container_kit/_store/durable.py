"""Writing files that must be whole after a power cut: fsync the file, rename it, fsync the directory.

Not for what may be lost: unpacked layers can be unpacked again. Failures of the storage come
out as our own errors. Source: fsync(2), rename(2).
"""

from __future__ import annotations

import errno
import os
from collections.abc import Generator
from contextlib import contextmanager, suppress

from container_kit._spec.paths import HostPath
from container_kit.errors import ContainerKitError, HostError, StorageFullError

CONTENT_MODE = 0o444  # content is immutable; the directory above is private

_FULL = (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def storage_errors(path: str, attempted: str) -> Generator[None, None, None]:
    """Raise what the file system refuses as our own errors.

    Raises:
        StorageFullError: there is no room left at `path`.
        HostError: anything else, with `attempted` as a phrase like "cannot write the blob …".
    """
    try:
        yield
    except OSError as err:
        if err.errno in _FULL and not isinstance(err, StorageFullError):
            raise StorageFullError(
                path=path, reason="no space left", errno=err.errno, hint="free some space: what is there is intact"
            ) from err
        if isinstance(err, ContainerKitError):
            raise
        raise HostError(attempted=attempted, errno=err.errno) from err


def write_all(fd: int, data: bytes | memoryview) -> None:
    """Write everything, however often it takes."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def write_whole(path: str, data: bytes, *, temporary: str, mode: int, replace: bool = True) -> None:
    """Replace or make a file so that it is the old or the new one, also after a power cut.

    Args:
        path: the file.
        data: its contents.
        temporary: a new name on the same file system, used until then.
        mode: of the file, whatever the umask is.
        replace: False: one that is there already stays.
    """
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        try:
            write_all(fd, data)
            os.fchmod(fd, mode)
            os.fsync(fd)
        finally:
            os.close(fd)
        if replace:
            os.rename(temporary, path)
        else:
            _link(temporary, path)
    except BaseException:
        with suppress(FileNotFoundError):  # an interrupt may come right after the rename
            os.unlink(temporary)
        raise
    sync_directory(os.path.dirname(path))


def _link(temporary: str, path: str) -> None:
    try:
        os.link(temporary, path)
    except FileExistsError:
        pass
    os.unlink(temporary)


def sync_directory(path: str) -> None:
    """Make the names in a directory durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def make_directory(path: HostPath, mode: int = 0o700) -> None:
    """Make a directory and the missing ones above it, durably. Idempotent."""
    if os.path.isdir(path):
        return
    parent = HostPath(os.path.dirname(path))
    make_directory(parent, mode)
    try:
        os.mkdir(path, mode)
    except FileExistsError:
        return
    sync_directory(parent)
