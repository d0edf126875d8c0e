"""The running kernel: its version, and the oldest one that is supported."""

from __future__ import annotations

import os
import re
import sys

from container_kit.errors import UnsupportedHostError

OLDEST = (5, 15)

_SECCOMP_ACTIONS = "/proc/sys/kernel/seccomp/actions_avail"


def require_linux() -> None:
    """Raise unless this is Linux, new enough.

    Raises:
        UnsupportedHostError: another system, or a kernel older than 5.15.
    """
    if sys.platform != "linux":
        raise UnsupportedHostError(
            feature="containers",
            reason=f"{sys.platform} is not Linux",
            hint="run this in a Linux machine, virtual machine or container",
        )
    version = kernel_version()
    if version < OLDEST:
        raise UnsupportedHostError(
            feature="containers",
            reason=f"Linux {version[0]}.{version[1]} is too old",
            hint=f"Linux {OLDEST[0]}.{OLDEST[1]} or newer is needed",
        )


def kernel_version(release: str | None = None) -> tuple[int, int]:
    """Return (major, minor) of a kernel release, of the running one by default (uname(2))."""
    match = re.match(r"(\d+)\.(\d+)", os.uname().release if release is None else release)
    return (int(match[1]), int(match[2])) if match else (0, 0)


def seccomp_actions() -> tuple[str, ...]:
    """Return what system call filters may answer here (seccomp(2)); nothing where the kernel has no filters."""
    try:
        with open(_SECCOMP_ACTIONS, encoding="ascii") as file:
            return tuple(file.read().split())
    except OSError:
        return ()
