"""Writes the tar archive that `save` makes: regular files and directories, the same bytes each time.

Headers are ustar, GNU where a size needs it (tarfile makes them; tar(5)); owner 0, no times. Where the
target is ours, a file of unknown size is written first and its header afterwards; else it is kept in
a scratch file meanwhile. Nothing is read from archives here.
"""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from typing import BinaryIO

from container_kit._store.durable import storage_errors, write_all
from container_kit.errors import ImageError

CHUNK = 1 << 20
_BLOCK = 512
_LARGEST_USTAR = 8 << 30  # the size field has eleven octal digits


class ArchiveWriter:
    """A tar archive being written.

    Args:
        write: takes the bytes, in order.
        seekable: the file that they go to, where what was written can be changed.
        scratch: a directory for what has to wait otherwise.
    """

    def __init__(self, write: Callable[[bytes], object], *, seekable: BinaryIO | None, scratch: str) -> None:
        self._write = write
        self._seekable = seekable
        self._scratch = scratch

    def add_directory(self, name: str) -> None:
        """Write a directory."""
        self._write(_header(f"{name.rstrip('/')}/", 0, stat.S_IFDIR | 0o755))

    def add_bytes(self, name: str, data: bytes) -> None:
        """Write a small file."""
        self.add_file(name, len(data), (data,))

    def add_file(self, name: str, size: int, chunks: Iterable[bytes]) -> None:
        """Write a file of `size` bytes; the chunks must be as many."""
        self._write(_header(name, size))
        written = self._copy(chunks)
        if written != size:
            raise ImageError(image=name, reason=f"has {written} bytes instead of {size}")

    def add_unsized_file(self, name: str, chunks: Iterable[bytes]) -> int:
        """Write a file whose size nobody knows yet and return it, in bytes."""
        file = self._seekable
        if file is None:
            return self._add_from_scratch(name, chunks)
        begin = file.tell()
        file.write(bytes(_BLOCK))
        size = self._copy(chunks)
        end = file.tell()
        file.seek(begin)
        file.write(_header(name, size))
        file.seek(end)
        return size

    def finish(self) -> None:
        """Write the end of the archive."""
        self._write(bytes(2 * _BLOCK))

    def _add_from_scratch(self, name: str, chunks: Iterable[bytes]) -> int:
        size = 0
        with tempfile.TemporaryFile(dir=self._scratch, buffering=0) as file:
            for chunk in chunks:
                write_all(file.fileno(), chunk)
                size += len(chunk)
            file.seek(0)
            self.add_file(name, size, iter(lambda: file.read(CHUNK) or b"", b""))
        return size

    def _copy(self, chunks: Iterable[bytes]) -> int:
        size = 0
        for chunk in chunks:
            self._write(chunk)
            size += len(chunk)
        if size % _BLOCK:
            self._write(bytes(_BLOCK - size % _BLOCK))
        return size


@contextmanager
def open_target(target: str | BinaryIO) -> Generator[BinaryIO, None, None]:
    """Give a binary file to write to: the caller's, or one that becomes `target` when all went well.

    A file that has been there is replaced as a whole or not at all. It is not forced to the disk.

    Raises:
        StorageFullError: there is no room for it.
        HostError: it cannot be made, written or renamed.
    """
    if not isinstance(target, str):
        yield target
        return
    temporary = f"{target}.{os.urandom(4).hex()}.part"
    with storage_errors(target, f"cannot write {target}"):
        fd = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        with storage_errors(target, f"cannot write {target}"):
            with open(fd, "wb", buffering=CHUNK) as file:
                yield file
            os.rename(temporary, target)
    except BaseException:
        os.unlink(temporary)
        raise


def _header(name: str, size: int, mode: int = stat.S_IFREG | 0o644) -> bytes:
    import tarfile

    info = tarfile.TarInfo(name)
    info.size = size
    info.mode = stat.S_IMODE(mode)
    info.type = tarfile.DIRTYPE if stat.S_ISDIR(mode) else tarfile.REGTYPE
    return info.tobuf(tarfile.USTAR_FORMAT if size < _LARGEST_USTAR else tarfile.GNU_FORMAT)  # one block either way
