"""Whether a process grows: descriptors counted, memory measured after a warm-up."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import attrs


@attrs.frozen
class Size:
    """How large a process is now: open descriptors, resident KiB (proc_pid_status(5))."""

    descriptors: int
    resident_kib: int


def size_of(pid: int | None = None) -> Size:
    """Return the size of a process, of this one by default."""
    gc.collect()
    process = Path("/proc", str(pid) if pid else "self")
    lines = (process / "status").read_text().splitlines()
    resident = next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))
    return Size(len(os.listdir(process / "fd")), resident)
