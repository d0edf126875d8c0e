"""Whether a process grows: descriptors counted, memory measured."""

from __future__ import annotations

import gc
import os

import attrs


@attrs.frozen
class Size:
    """How large a process is now."""

    descriptors: int
    resident_kib: int


def size_of(pid: int | None = None) -> Size:
    """Return the size of a process, of this one by default; only root can count a monitor's descriptors."""
    gc.collect()
    pid = pid or os.getpid()
    return Size(len(os.listdir(f"/proc/{pid}/fd")), resident_kib(pid))


def resident_kib(pid: int) -> int:
    """Return a process's resident memory (proc_pid_status(5))."""
    with open(f"/proc/{pid}/status", encoding="ascii") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS:"))
