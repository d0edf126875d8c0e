"""Copy one file, symlink or FIFO between the host and a tree, without a worker on the host's side.

On the way in it becomes a tar stream of one entry, because unpacking replaces what is there in
one safe step: a new file with its owner and mode set before its name can be used. On the way
out it is written beside its place and renamed.
"""

from __future__ import annotations

import errno
import io
import os
import stat
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO

from container_kit._files.worker import FileStatus, FileWorker, UnpackOptions
from container_kit._spec.facts import IdMap, IdRange
from container_kit._trees.copy_rules import Landing
from container_kit._trees.pouring import CHUNK_BYTES, pour, write_all
from container_kit.errors import ContainerKitError, PathError, PathNotADirectoryError, PathNotFoundError, path_error

if TYPE_CHECKING:
    from tarfile import TarInfo

_BLOCK = 512
_DEFAULT_MODE = 0o644
_NS = 1_000_000_000
_OVERFLOW_ID = 65534  # what the kernel shows for an id that is not mapped (user_namespaces(7))


@contextmanager
def typed_paths(operation: str, *, below: str = "") -> Generator[None]:
    """Turn what the kernel says about paths of the host into `PathError`s.

    Args:
        operation: the verb of the error's sentence.
        below: the directory of the host that a worker's paths are relative to.
    """
    try:
        yield
    except PathError as err:
        if not below:
            raise
        raise path_error(err.errno or 0, f"{below.rstrip('/')}{err.path}", operation) from err
    except ContainerKitError:
        raise
    except OSError as err:
        name = err.filename if isinstance(err.filename, str) else below
        raise path_error(err.errno or 0, name, operation) from err


def put_bytes(inside: FileWorker, data: bytes, landing: Landing, unpack: UnpackOptions) -> None:
    """Make a regular file with this content in a tree, replacing a file that is there."""
    entry = _new_entry(landing.name, _DEFAULT_MODE, time.time_ns())
    entry.size = len(data)
    _put(inside, entry, lambda: io.BytesIO(data), landing, unpack)


def put_path(inside: FileWorker, source: str, landing: Landing, unpack: UnpackOptions, *, id_map: IdMap) -> None:
    """Copy what is at a path of the host, a symlink not followed, into a tree, replacing a file that is there.

    Owners are taken as a worker on the host's side would see them: `id_map` is that of the containers.
    """
    with typed_paths("copy"):
        info = os.lstat(source)
        entry = _new_entry(landing.name, stat.S_IMODE(info.st_mode), info.st_mtime_ns)
        entry.uid, entry.gid = _inside(id_map.uids, info.st_uid), _inside(id_map.gids, info.st_gid)
        if stat.S_ISLNK(info.st_mode):
            entry.type, entry.linkname = b"2", os.readlink(source)
        elif stat.S_ISFIFO(info.st_mode):
            entry.type = b"6"
        elif not stat.S_ISREG(info.st_mode):
            raise path_error(errno.EOPNOTSUPP, source, "copy the device or socket")
        if entry.type != b"0":
            _put(inside, entry, io.BytesIO, landing, unpack)
            return
        # As the caller may read it; O_NONBLOCK should somebody have put a FIFO there meanwhile.
        with open(os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
            opened = os.fstat(file.fileno())
            if not stat.S_ISREG(opened.st_mode):
                raise path_error(errno.EOPNOTSUPP, source, "copy the device or socket")
            entry.size = opened.st_size
            _put(inside, entry, lambda: _rewound(file), landing, unpack)


def take(inside: FileWorker, path: str, status: FileStatus, target: str) -> None:
    """Copy a regular file or a symlink of a tree to a path of the host, which is replaced if it is a file.

    The mode comes along without set-id bits, the file belongs to the caller.
    """
    if not (status.is_symlink or status.is_file):
        raise path_error(errno.EOPNOTSUPP, path, "copy the device, FIFO or socket")
    with typed_paths("copy to"):
        _check_replaceable(target)
    temporary = f"{os.path.dirname(target)}/.{os.urandom(8).hex()}.copy"
    try:
        if status.is_symlink:
            link = inside.read_link(path)
            with typed_paths("copy to"):
                os.symlink(link, temporary)
        else:
            _take_content(inside, path, temporary)
        with typed_paths("copy to"):
            os.rename(temporary, target)
    except BaseException:
        try:
            os.unlink(temporary)
        except FileNotFoundError:
            pass
        raise


def _take_content(inside: FileWorker, path: str, temporary: str) -> None:
    with open(inside.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb", buffering=0) as source:
        info = os.fstat(source.fileno())
        if not stat.S_ISREG(info.st_mode):  # it was another file a moment ago
            raise path_error(errno.EOPNOTSUPP, path, "copy the device, FIFO or socket")
        with typed_paths("copy to"):
            fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
            with open(fd, "wb", buffering=0) as sink:
                left = info.st_size  # no more: it may grow as long as it is read
                while left and (data := source.read(min(left, CHUNK_BYTES))):
                    write_all(fd, data)
                    left -= len(data)
                os.fchmod(sink.fileno(), info.st_mode & 0o777)
                os.utime(sink.fileno(), ns=(info.st_atime_ns, info.st_mtime_ns))


def _check_replaceable(target: str) -> None:
    try:
        info = os.lstat(target)
    except FileNotFoundError:
        return
    _check_mode(info.st_mode, target)


def _check_mode(mode: int, target: str) -> None:
    if stat.S_ISDIR(mode):
        raise path_error(errno.EISDIR, target, "replace")
    if not (stat.S_ISREG(mode) or stat.S_ISLNK(mode)):
        raise path_error(errno.EEXIST, target, "replace the device, FIFO or socket")


def _put(
    inside: FileWorker, entry: TarInfo, content: Callable[[], BinaryIO], landing: Landing, unpack: UnpackOptions
) -> None:
    target = f"{landing.directory.rstrip('/')}/{landing.name}"
    _check_replaceable_inside(inside, target)
    try:
        pour(
            lambda sink: _write_entry(sink, entry, content()),
            lambda stream: inside.unpack(landing.directory, stream, unpack),
        )
    except PathError as err:
        # A bind of a single file cannot be replaced, only written.
        if err.errno != errno.EBUSY or entry.type != b"0":
            raise
        with open(inside.open(target, os.O_WRONLY | os.O_TRUNC), "wb", buffering=0) as file:
            _write_content(file.fileno(), content(), entry.size)


def _inside(ranges: Sequence[IdRange], number: int) -> int:
    for ids in ranges:
        if ids.outside <= number < ids.outside + ids.size:
            return ids.inside + number - ids.outside
    return _OVERFLOW_ID


def _check_replaceable_inside(inside: FileWorker, target: str) -> None:
    try:
        status = inside.status(target, follow=False)
    except (PathNotFoundError, PathNotADirectoryError):
        return
    _check_mode(status.mode, target)


def _new_entry(name: str, mode: int, mtime_ns: int) -> TarInfo:
    from tarfile import TarInfo

    entry = TarInfo(name)
    entry.mode = mode
    entry.mtime = mtime_ns // _NS
    if mtime_ns % _NS:
        entry.pax_headers = {"mtime": f"{mtime_ns // _NS}.{mtime_ns % _NS:09}"}
    return entry


def _write_entry(sink: int, entry: TarInfo, content: BinaryIO) -> None:
    from tarfile import PAX_FORMAT

    write_all(sink, entry.tobuf(PAX_FORMAT, "utf-8", "surrogateescape"))
    _write_content(sink, content, entry.size)
    write_all(sink, bytes(-entry.size % _BLOCK + 2 * _BLOCK))


def _write_content(sink: int, content: BinaryIO, size: int) -> None:
    left = size
    while left:
        data = content.read(min(left, CHUNK_BYTES))
        if not data:
            raise OSError(errno.EIO, "the file became shorter while it was copied")
        write_all(sink, data)
        left -= len(data)


def _rewound(file: BinaryIO) -> BinaryIO:
    file.seek(0)
    return file
