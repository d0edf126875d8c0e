"""Which disk a path is about: the numbers that io.max takes are those of whole disks (cgroup-v2.rst, "IO").

A partition has no queue of its own, so it stands for the disk that it is a part of (sysfs, block/).
"""

from __future__ import annotations

import errno
import os
import stat


def disk_of(path: str) -> str:
    """Return `major:minor` of the disk that a device node is, or is a partition of.

    Raises:
        OSError: there is no such file, or it is no block device (ENOTBLK).
    """
    info = os.stat(path)
    if not stat.S_ISBLK(info.st_mode):
        raise OSError(errno.ENOTBLK, os.strerror(errno.ENOTBLK), path)
    return _whole(info.st_rdev)


def disk_below(directory: str) -> str | None:
    """Return `major:minor` of the disk that holds a directory; None where no single one does (tmpfs, overlay)."""
    device = os.stat(directory).st_dev
    if os.path.exists(f"/sys/dev/block/{_text(device)}"):
        return _whole(device)
    source = _source_of(_text(device))  # btrfs has a number of its own
    try:
        return disk_of(source) if source.startswith("/dev/") else None
    except OSError:
        return None


def _whole(device: int) -> str:
    entry = os.path.realpath(f"/sys/dev/block/{_text(device)}")
    if not os.path.exists(f"{entry}/partition"):
        return _text(device)
    with open(f"{os.path.dirname(entry)}/dev", encoding="ascii") as file:
        return file.read().strip()


def _source_of(number: str) -> str:
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            left, _, right = line.partition(" - ")
            if left.split(" ")[2] == number:
                return right.split(" ")[1]
    return ""


def _text(device: int) -> str:
    return f"{os.major(device)}:{os.minor(device)}"
