"""Waiting in stories: for a condition or for a process, always with a deadline."""

from __future__ import annotations

import os
import select
import threading
import time
from collections.abc import Callable
from pathlib import Path

PATIENCE = 160.0 if os.environ.get("CGROUP2_VM") == "qemu" else 20.0  # emulation is eight times slower
_PAUSE = 0.005


def eventually(holds: Callable[[], bool], what: str, within: float = PATIENCE) -> None:
    """Return as soon as `holds()` is true; fail when it is not within so many seconds."""
    deadline = time.monotonic() + within
    never = threading.Event()
    while not holds():
        assert time.monotonic() < deadline, f"not within {within} s: {what}"
        never.wait(_PAUSE)


def ends_within(pidfd: int, seconds: float) -> bool:
    """Say whether a process ends in time; closes the pidfd."""
    try:
        return bool(select.select([pidfd], [], [], seconds)[0])
    finally:
        os.close(pidfd)


def processes_with(marker: str) -> list[int]:
    """Return the host's ids of processes that have this word among their arguments."""
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit() and _has(entry, marker)]


def _has(process: Path, marker: str) -> bool:
    try:
        return marker.encode() in (process / "cmdline").read_bytes().split(b"\0")
    except OSError:
        return False  # it has just ended
