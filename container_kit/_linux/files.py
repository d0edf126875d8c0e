"""Reading files of trees that a container controls, and replacing our own files as a whole.

A container can put a symlink, a FIFO or a device anywhere in its root. Nothing there is
opened by a path string: names resolve inside the tree only (openat2(2), RESOLVE_IN_ROOT),
and only regular files of bounded size are read.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Sequence
from typing import TypeAlias

from container_kit._linux import shim

MAX_ACCOUNT_FILE = 10 << 20

Stamp: TypeAlias = tuple[int, int, int, int, int]


def read_beneath(root: str, path: str, limit: int = MAX_ACCOUNT_FILE) -> bytes | None:
    """Return the contents of a regular file inside `root`, or None when there is none.

    Symlinks resolve as they would inside a container whose root is `root`.

    Raises:
        OSError: EFBIG when the file is larger than `limit` bytes; what the kernel says otherwise.
    """
    try:
        root_fd = os.open(root, os.O_PATH | os.O_DIRECTORY)
    except FileNotFoundError:
        return None
    try:
        fd = shim.openat2(root_fd, path.lstrip("/"), os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY, in_root=True)
    except (FileNotFoundError, NotADirectoryError):
        return None
    finally:
        os.close(root_fd)
    try:
        info = os.fstat(fd)
        if not stat.S_ISREG(info.st_mode):
            return None
        if info.st_size > limit:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), path)
        with open(fd, "rb", buffering=0, closefd=False) as file:
            return file.read(limit)
    finally:
        os.close(fd)


def kind_beneath(root: str, path: str) -> int | None:
    """Return the file type (S_IFMT of inode(7)) of what `path` names inside `root`, a last symlink not followed.

    None when there is nothing, or nothing that can be reached inside `root`.
    """
    try:
        root_fd = os.open(root, os.O_PATH | os.O_DIRECTORY)
    except FileNotFoundError:
        return None
    try:
        fd = shim.openat2(root_fd, path.lstrip("/"), os.O_PATH | os.O_NOFOLLOW, in_root=True)
    except OSError as err:
        if err.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EACCES):
            return None
        raise
    finally:
        os.close(root_fd)
    try:
        return stat.S_IFMT(os.fstat(fd).st_mode)
    finally:
        os.close(fd)


def stamp_of(info: os.stat_result) -> Stamp:
    """Return by what a change of a file can be noticed: its change time is the one that nobody can set."""
    return info.st_dev, info.st_ino, info.st_ctime_ns, info.st_mtime_ns, info.st_size


def stamps_beneath(root: str, paths: Sequence[str]) -> tuple[Stamp | None, ...]:
    """Return the stamp of what each path names inside `root`, None where there is nothing."""
    root_fd = os.open(root, os.O_PATH | os.O_DIRECTORY)
    try:
        return tuple(_stamp_beneath(root_fd, path) for path in paths)
    finally:
        os.close(root_fd)


def _stamp_beneath(root_fd: int, path: str) -> Stamp | None:
    try:
        fd = shim.openat2(root_fd, path, os.O_PATH, in_root=True)
    except OSError:
        return None
    info = os.fstat(fd)
    os.close(fd)
    return stamp_of(info)


def replace_file(path: str, data: bytes, mode: int = 0o600) -> None:
    """Write a file so that readers see the old or the new contents, also after a power cut."""
    temporary = f"{path}.new.{os.getpid()}"
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, mode)
    with open(fd, "wb") as file:
        os.fchmod(fd, mode)  # whatever the umask was
        file.write(data)
        file.flush()
        os.fsync(fd)
    os.rename(temporary, path)
    directory = os.open(os.path.dirname(path) or ".", os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def remove_scratch(path: str) -> None:
    """Remove a temporary file or tree of ours, also what an overlay leaves in its work directory with mode 0."""
    if not os.path.isdir(path):
        os.unlink(path)
        return
    for directory, names, _ in os.walk(path):
        for name in names:
            if not os.path.islink(f"{directory}/{name}"):
                os.chmod(f"{directory}/{name}", 0o700)
    shutil.rmtree(path)


def filesystem_of(path: str) -> str:
    """Return the type of the file system that holds `path`, e.g. `ext4` (from mountinfo)."""
    device = os.stat(path).st_dev
    wanted = f"{os.major(device)}:{os.minor(device)}"
    best = "unknown"
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            left, _, right = line.partition(" - ")
            if left.split(" ")[2] == wanted:
                best = right.split(" ")[0]
    return best
