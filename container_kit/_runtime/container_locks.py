"""Who may use the tree of a container that does not run: flock(2) on its directory.

Who writes takes it alone, who reads takes it with other readers. The kernel releases it when
its holder dies; see `container_files` for how a start and a writer find out about each other.

Commits of one container come one after the other, whether it runs or not: an open file description
lock (fcntl(2)) on one byte, the container's own, of a file that is never removed.
"""

from __future__ import annotations

import errno
import fcntl
import os
import select
import struct
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from functools import partial

from container_kit._linux.locked_files import LockedFile
from container_kit._runtime.site import Site
from container_kit._state import records
from container_kit._state.container_record import Phase
from container_kit.errors import ContainerNotFoundError, HostError, LockTimeoutError

PATIENCE = 60.0  # seconds that a start waits for a copy, and a copy for a start
SHORTEST = 0.0005
LONGEST = 0.02
_COMMIT_PATIENCE = 600.0  # seconds: a commit packs all that a container has written
_BYTE_LOCK = struct.Struct("@hhqqi0q")  # struct flock


def await_writers(site: Site, container_id: str) -> None:
    """Wait until nobody writes to the files of a container that has been claimed for a start.

    Raises:
        LockTimeoutError: a copy took more than a minute.
    """
    directory = site.home.container_dir(container_id)
    try:
        locked = LockedFile(os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW))
    except FileNotFoundError:
        return  # it never ran, and nobody has written to it
    try:
        _acquire(locked.fd, directory, fcntl.LOCK_SH, time.monotonic() + PATIENCE)
    finally:
        locked.release()


@contextmanager
def hold_directory(site: Site, container_id: str, *, alone: bool, deadline: float) -> Generator[None]:
    """Hold a container's directory: alone, then it is made if missing, or with other readers.

    Raises:
        LockTimeoutError: others kept it until the deadline (monotonic seconds).
    """
    directory = site.home.container_dir(container_id)
    try:
        if alone:
            _make(site, container_id)
        locked = LockedFile(os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW))
    except FileNotFoundError:
        yield  # it never ran, or was removed: there is nothing to share
        return
    except OSError as err:
        raise HostError(attempted=f"cannot hold {directory}", errno=err.errno) from err
    try:
        _acquire(locked.fd, directory, fcntl.LOCK_EX if alone else fcntl.LOCK_SH, deadline)
        yield
    finally:
        locked.release()


@contextmanager
def hold_commit(site: Site, container_id: str) -> Generator[None]:
    """Keep others from committing the same container.

    Raises:
        LockTimeoutError: another commit of it took more than ten minutes.
    """
    path = site.home.lock_file("commits")
    own_byte = int(container_id[:15], 16)
    locked = LockedFile(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
    lock, unlock = (_BYTE_LOCK.pack(kind, os.SEEK_SET, own_byte, 1, 0) for kind in (fcntl.F_WRLCK, fcntl.F_UNLCK))
    try:
        try_lock = partial(fcntl.fcntl, locked.fd, fcntl.F_OFD_SETLK, lock)
        _await(try_lock, path, time.monotonic() + _COMMIT_PATIENCE, _COMMIT_PATIENCE)
        yield
    finally:
        locked.release(lambda fd: fcntl.fcntl(fd, fcntl.F_OFD_SETLK, unlock))


def _make(site: Site, container_id: str) -> None:
    directory = site.home.container_dir(container_id)
    try:
        os.mkdir(directory, 0o700)
        os.chmod(directory, 0o700)  # whatever the umask was
    except FileExistsError:
        return
    if _is_removed(site, container_id):
        with suppress(OSError):  # the removal may take it away, too
            os.rmdir(directory)


def _is_removed(site: Site, container_id: str) -> bool:
    """Say whether a removal has begun. One that begins later finds a directory that is there by now."""
    try:
        return records.get(site.database, container_id).phase is Phase.REMOVING
    except ContainerNotFoundError:
        return True


def _acquire(fd: int, path: str, operation: int, deadline: float) -> None:
    _await(partial(fcntl.flock, fd, operation | fcntl.LOCK_NB), path, deadline, PATIENCE)


def _await(try_lock: Callable[[], object], path: str, deadline: float, patience: float) -> None:
    pause = SHORTEST
    while True:
        try:
            try_lock()
        except OSError as err:
            if err.errno not in (errno.EAGAIN, errno.EINTR):
                raise
            left = deadline - time.monotonic()
            if left <= 0:
                raise LockTimeoutError(path=path, timeout=patience, holder=None) from None
            # They have no timeout of their own, and a signal to interrupt it would be the caller's.
            select.select([], [], [], min(pause, left))
            pause = min(pause * 2, LONGEST)
        else:
            return
