"""Open files that hold a lock, which a forked child must not hold as well.

A lock of flock(2), or of an open file description (fcntl(2)), lasts until the last copy of the
descriptor is closed: the child closes its copies at once. What it later does on its way out of
a block that its parent entered changes nothing for the parent.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from typing import Protocol
from weakref import WeakSet


class _Closable(Protocol):
    def close(self) -> object: ...


_held: WeakSet[_Closable] = WeakSet()


def close_in_children(file: _Closable) -> None:
    """Have every child that is forked from now on close its copy of a file, as long as that lives."""
    _held.add(file)


def _close_all() -> None:
    for file in list(_held):
        file.close()
    _held.clear()


os.register_at_fork(after_in_child=_close_all)


def _unlock(fd: int) -> None:
    fcntl.flock(fd, fcntl.LOCK_UN)


class LockedFile:
    """A descriptor that is there for its lock; owned."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        close_in_children(self)

    def release(self, unlock: Callable[[int], object] = _unlock) -> None:
        """Unlock it, which does not wait for a child that is just being made, and close it; in a child do nothing."""
        if self.fd >= 0:
            unlock(self.fd)
            self.close()

    def close(self) -> None:
        """Close it. Idempotent."""
        if self.fd >= 0:
            fd, self.fd = self.fd, -1
            os.close(fd)
