"""Who may use the tree of a container that does not run: flock(2) on its directory.

Who writes takes it alone, who reads takes it with other readers. The kernel releases it when
its holder dies; see `container_files` for how a start and a writer find out about each other.
"""

from __future__ import annotations

import errno
import fcntl
import os
import select
import time
from collections.abc import Generator
from contextlib import contextmanager

from container_kit._runtime.site import Site
from container_kit.errors import HostError, LockTimeoutError

PATIENCE = 60.0  # seconds that a start waits for a copy, and a copy for a start
SHORTEST = 0.0005
LONGEST = 0.02


def await_writers(site: Site, container_id: str) -> None:
    """Wait until nobody writes to the files of a container that has been claimed for a start.

    Raises:
        LockTimeoutError: a copy took more than a minute.
    """
    directory = site.home.container_dir(container_id)
    try:
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except FileNotFoundError:
        return  # it never ran, and nobody has written to it
    try:
        _acquire(fd, directory, fcntl.LOCK_SH, time.monotonic() + PATIENCE)
    finally:
        os.close(fd)


@contextmanager
def hold_directory(site: Site, container_id: str, *, alone: bool, deadline: float) -> Generator[None]:
    """Hold a container's directory: alone, then it is made if missing, or with other readers.

    Raises:
        LockTimeoutError: others kept it until the deadline (monotonic seconds).
    """
    directory = site.home.container_dir(container_id)
    try:
        if alone:
            _make(directory)
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except FileNotFoundError:
        yield  # it never ran: there is nothing to share
        return
    except OSError as err:
        raise HostError(attempted=f"cannot hold {directory}", errno=err.errno) from err
    try:
        _acquire(fd, directory, fcntl.LOCK_EX if alone else fcntl.LOCK_SH, deadline)
        yield
    finally:
        os.close(fd)


def _make(directory: str) -> None:
    try:
        os.mkdir(directory, 0o700)
        os.chmod(directory, 0o700)  # whatever the umask was
    except FileExistsError:
        pass


def _acquire(fd: int, path: str, operation: int, deadline: float) -> None:
    pause = SHORTEST
    while True:
        try:
            fcntl.flock(fd, operation | fcntl.LOCK_NB)
        except OSError as err:
            if err.errno not in (errno.EWOULDBLOCK, errno.EINTR):
                raise
            left = deadline - time.monotonic()
            if left <= 0:
                raise LockTimeoutError(path=path, timeout=PATIENCE, holder=None) from None
            # flock has no timeout of its own, and a signal to interrupt it would be the caller's.
            select.select([], [], [], min(pause, left))
            pause = min(pause * 2, LONGEST)
        else:
            return
