"""Locks between processes, with a deadline and the holder's name.

flock(2): the kernel releases it when its holder dies, however it dies. The file is never
removed, removing it would let two processes hold "the" lock.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Generator
from contextlib import contextmanager

from container_kit._linux.locked_files import LockedFile
from container_kit.errors import LockTimeoutError

_SHORTEST = 0.0005
_LONGEST = 0.02


@contextmanager
def hold_lock(path: str, *, timeout: float) -> Generator[None, None, None]:
    """Hold the lock at `path`, excluding other processes and other threads of this one.

    Args:
        path: A file; made when missing. Its directory must exist.
        timeout: Seconds to wait at most.

    Raises:
        LockTimeoutError: Somebody else kept it that long; `holder` is their pid.
    """
    locked = LockedFile(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))
    try:
        fd = locked.fd
        os.fchmod(fd, 0o600)  # whatever the umask was
        _acquire(fd, path, timeout)
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        locked.release()


def _acquire(fd: int, path: str, timeout: float) -> None:
    deadline = time.monotonic() + timeout
    pause = _SHORTEST
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            left = deadline - time.monotonic()
            if left <= 0:
                raise LockTimeoutError(path=path, timeout=timeout, holder=_read_holder(fd)) from None
            # flock has no timeout of its own, and a signal to interrupt it would be the caller's.
            time.sleep(min(pause, left))
            pause = min(pause * 2, _LONGEST)
        else:
            return


def _read_holder(fd: int) -> int | None:
    digits = os.pread(fd, 32, 0).strip()
    return int(digits) if digits.isdigit() else None
