"""Room that is kept back, so that what frees room works on a full disk: removing writes too.

The index is written beside and renamed, the database has its log. A file of zeros is given up for that,
and made again when there is room. Source: posix_fallocate(3).
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from typing import TypeVar

from container_kit._spec.paths import HostPath
from container_kit._state.home import Home
from container_kit.errors import StorageFullError

RESERVED_BYTES = 1 << 20

_Result = TypeVar("_Result")


def with_reserve(home: Home, work: Callable[[], _Result]) -> _Result:
    """Do what frees room: on a full disk once more, with the room that was kept back.

    Raises:
        StorageFullError: that was not enough, or had been given up already.
    """
    try:
        return work()
    except StorageFullError:
        if not _give_up(home):
            raise
    try:
        return work()
    finally:
        keep_reserve(home)


def keep_reserve(home: Home) -> None:
    """Keep some room back if there is any. Idempotent."""
    path = _path(home)
    if os.path.exists(path):
        return
    with contextlib.suppress(OSError):  # somebody else makes it, or there is no room
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(fd, 0, RESERVED_BYTES)
        except BaseException:
            os.unlink(path)
            raise
        finally:
            os.close(fd)


def _give_up(home: Home) -> bool:
    try:
        os.unlink(_path(home))
    except OSError:
        return False
    return True


def _path(home: Home) -> HostPath:
    return HostPath(f"{home.root}/reserve")
