"""Linux security modules that label processes: AppArmor's profiles and SELinux's contexts, as /proc shows them.

Whether a module is there is asked by reading what only it can answer; a kernel that was
built with it and booted without has the files, too. Source: the kernel's LSM/apparmor.rst,
selinux(8), proc_pid_attr(5).
"""

from __future__ import annotations

import enum
import os


class Labeler(enum.Enum):
    """A module that labels processes; its value is the file below /proc/<pid>/attr that says with what."""

    APPARMOR = "apparmor/current"
    SELINUX = "current"

    @property
    def module(self) -> str:
        """The module's name."""
        return "AppArmor" if self is Labeler.APPARMOR else "SELinux"


def is_present(labeler: Labeler) -> bool:
    """Say whether the running kernel labels processes in this way."""
    if labeler is Labeler.SELINUX:
        return os.path.exists("/sys/fs/selinux/status")
    return read_label(labeler, os.getpid()) is not None


def read_label(labeler: Labeler, pid: int) -> str | None:
    """Return the label of a process, without AppArmor's mode; None when it has none or is gone."""
    try:
        with open(f"/proc/{pid}/attr/{labeler.value}", encoding="utf-8", errors="surrogateescape") as file:
            text = file.read().rstrip("\0\n")
    except OSError:
        return None
    if labeler is Labeler.APPARMOR and text.endswith(")"):
        text = text.rpartition(" (")[0]
    return text or None
