"""Sharing work between threads and processes: one does it, the others wait, and none waits for the stalled.

A claim is a lock (flock(2)) on a file that names the work; the kernel releases it when its holder
dies. Whoever waits watches the file: a holder at work changes it. One that does not, or hardly, for a while is
stopped, or served by a slow network: then the work is done twice, for oneself under another name, and
whoever is first wins. The file is removed or renamed while it is locked, so who gets the lock checks
that the name still means the same file.
"""

from __future__ import annotations

import fcntl
import io
import os
import time
from collections.abc import Callable

import attrs

from container_kit._linux.locked_files import close_in_children
from container_kit._spec.paths import HostPath
from container_kit._store.scratch import scratch_path

STALL_SECONDS = 10.0
_PAUSE = 0.01
_LEAST_GROWTH = 64 << 10  # bytes in `stall_seconds`; who is slower is not waited for


@attrs.define
class Claim:
    """A right to do a piece of work, and the file that stands for it.

    Attributes:
        file: open for reading and writing; owned by the claim. Dropped in an interrupt, it closes itself.
        path: its name: of everybody, or private.
        is_private: whether the work is done in parallel to a stalled holder.
    """

    file: io.FileIO
    path: HostPath
    is_private: bool

    @property
    def fd(self) -> int:
        """The file's descriptor; -1 after `release`."""
        return -1 if self.file.closed else self.file.fileno()

    def touch(self) -> None:
        """Show that there is progress. Writing to the file shows it as well."""
        os.utime(self.fd)

    def release(self, *, remove: bool) -> None:
        """Let others have the work; with `remove` its file goes, else whoever comes next finds it. Idempotent."""
        if self.file.closed:
            return
        if remove and _is_named(self.fd, self.path):
            os.unlink(self.path)
        fcntl.flock(self.fd, fcntl.LOCK_UN)  # a child may just be in the making
        self.file.close()


def claim_work(
    path: HostPath,
    is_done: Callable[[], bool],
    *,
    stall_seconds: float = STALL_SECONDS,
    pause: Callable[[float], object] = time.sleep,
) -> Claim | None:
    """Claim a piece of work, or wait until somebody else has done it.

    Args:
        path: the file that stands for the work.
        is_done: whether there is nothing to do any more.
        stall_seconds: how long a holder may make no progress before it is no longer waited for.
        pause: waits so many seconds; what it raises ends the waiting.

    Returns:
        The claim, or None when the work is done.
    """
    seen: os.stat_result | None = None
    since = time.monotonic()
    while not is_done():
        file = _open(path, os.O_CREAT)
        if _try_lock(file.fileno()):
            if _is_named(file.fileno(), path):
                found = Claim(file, path, is_private=False)
                if _look_again(found, is_done):
                    return None
                return found
            file.close()  # whoever had it is through and took the file away
            continue
        info = os.fstat(file.fileno())
        file.close()
        if seen is None or _is_progress(seen, info):
            seen, since = info, time.monotonic()
        elif time.monotonic() - since >= stall_seconds:
            return _private_claim(HostPath(os.path.dirname(path)))
        pause(_PAUSE)  # flock has no timeout, and what matters is the file, not the lock
    return None


def _look_again(claim: Claim, is_done: Callable[[], bool]) -> bool:
    """Ask once more, now that nobody else can do it; let go of the claim unless the work is to be done."""
    is_wanted = False
    try:
        is_wanted = not is_done()
    finally:
        if not is_wanted:
            claim.release(remove=True)
    return not is_wanted


def remove_unclaimed(path: HostPath, *, older_than: float) -> bool:
    """Remove a file that nobody is at work on, unless it was changed after `older_than` (seconds since the epoch)."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        if not _try_lock(fd) or not _is_named(fd, path) or os.fstat(fd).st_mtime > older_than:
            return False
        os.unlink(path)
        return True
    finally:
        os.close(fd)


def _is_progress(before: os.stat_result, now: os.stat_result) -> bool:
    if before.st_ino != now.st_ino:
        return True
    grown = now.st_size - before.st_size
    if grown == 0:
        return now.st_mtime_ns != before.st_mtime_ns  # it was touched
    return not 0 < grown < _LEAST_GROWTH  # a byte now and then is a server that keeps everybody waiting


def _private_claim(directory: HostPath) -> Claim:
    path = scratch_path(directory)
    file = _open(path, os.O_CREAT | os.O_EXCL)
    _try_lock(file.fileno())
    return Claim(file, path, is_private=True)


def _open(path: str, flags: int) -> io.FileIO:
    # An object and not a number: Ctrl-C may come before anybody has it, and a lost lock would be held until the end.
    file = io.FileIO(
        path, "r+", opener=lambda name, _: os.open(name, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | flags, 0o600)
    )
    close_in_children(file)
    return file


def _try_lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_named(fd: int, path: str) -> bool:
    try:
        named = os.lstat(path)
    except FileNotFoundError:
        return False
    own = os.fstat(fd)
    return (own.st_dev, own.st_ino) == (named.st_dev, named.st_ino)
