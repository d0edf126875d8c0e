"""Reading and replacing index.json beside other tools, which write it in place and know no lock of ours.

What is cut short is read again for a while, and what they wrote meanwhile is not overwritten: a
change is made once more in that.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from container_kit._spec.descriptor import Descriptor
from container_kit._spec.digest import Digest
from container_kit._spec.strict_json import parse_json
from container_kit._store.durable import storage_errors, sync_directory, write_all
from container_kit._store.index_file import Entry, IndexEdit
from container_kit.errors import ImageError, StateError

_LARGEST = 64 << 20
_SETTLE_SECONDS = 1.0  # after its last change a file that is cut short is damaged
_LONGEST_WRITE = 10.0  # seconds after which it is damaged although it changes
_PAUSE = 0.01
_HINT = "the blobs are untouched: restore the file, or move images/ away and pull again"


class RepeatableEdit(IndexEdit):
    """An edit that can be made once more, in what another tool wrote meanwhile."""

    def __init__(self, document: dict[str, Any] | None) -> None:
        super().__init__(document)
        self._made: list[Callable[[IndexEdit], object]] = []

    def set(self, name: str | None, descriptor: Descriptor, source: Digest | None = None) -> Entry:
        """See `IndexEdit.set`."""
        self._made.append(lambda index: index.set(name, descriptor, source))
        return super().set(name, descriptor, source)

    def remove_name(self, name: str) -> bool:
        """See `IndexEdit.remove_name`."""
        self._made.append(lambda index: index.remove_name(name))
        return super().remove_name(name)

    def remove(self, digest: Digest) -> bool:
        """See `IndexEdit.remove`."""
        self._made.append(lambda index: index.remove(digest))
        return super().remove(digest)

    def repeated_in(self, document: dict[str, Any] | None) -> RepeatableEdit:
        """Return the same edit of another document."""
        edit = RepeatableEdit(document)
        for make in self._made:
            make(edit)
        return edit


def read_index(path: str) -> tuple[bytes | None, dict[str, Any] | None]:
    """Return the bytes of the index file and the document they are; None for both when it is missing.

    Blocks while it is cut short, until it has stayed as it is for a second; not longer than ten.

    Raises:
        StateError: it is damaged or cannot be read.
    """
    last: bytes | None = None
    deadline = 0.0
    latest = time.monotonic() + _LONGEST_WRITE
    while True:
        data = _read(path)
        if data is None:
            return None, None
        try:
            return data, parse_json(data, what="index.json", limit=_LARGEST)
        except ImageError as err:
            if data != last and time.monotonic() < latest:
                last, deadline = data, time.monotonic() + _SETTLE_SECONDS
            elif time.monotonic() >= deadline:
                raise StateError(path=path, reason=f"is damaged: {err.reason}", hint=_HINT) from err
        time.sleep(_PAUSE)


def replace_index(path: str, data: bytes, *, expected: bytes | None, temporary: str) -> bool:
    """Replace the index file, durably, unless it is not as expected any more.

    Args:
        path: the file.
        data: its new contents.
        expected: its contents as they were read; None: it was missing.
        temporary: a new name on the same file system, used until then.

    Returns:
        Whether it was replaced.

    Raises:
        StorageFullError: there is no room.
        StateError: the file there cannot be read.
    """
    with storage_errors(path, f"cannot write {path}"):
        try:
            _write(temporary, data)
            if _read(path) != expected:
                return False
            os.rename(temporary, path)
        finally:
            with suppress(FileNotFoundError):  # it was renamed
                os.unlink(temporary)
        sync_directory(os.path.dirname(path))
    return True


def _write(path: str, data: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        write_all(fd, data)
        os.fchmod(fd, 0o644)
        os.fsync(fd)
    finally:
        os.close(fd)


def _read(path: str) -> bytes | None:
    try:
        # O_NONBLOCK: another tool may have left a FIFO, and opening that would wait for ever.
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise StateError(path=path, reason="is no regular file")
            return file.read(_LARGEST + 1)
    except FileNotFoundError:
        return None
    except OSError as err:
        raise StateError(path=path, reason=f"cannot be read: {err.strerror}") from err
