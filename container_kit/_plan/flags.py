"""Flags of the plan: our own numbers, append-only; C maps them to the kernel's.

The other half is in `_native/ckit.h` (CK_ATTR_*, CK_ATTACH_*, CK_NS_*, CK_INIT_*, CK_FILTER_*).
"""

from __future__ import annotations

import enum


class MountAttr(enum.IntFlag):
    """Attributes of a mount; the shim maps them to MOUNT_ATTR_* (mount_setattr(2))."""

    NONE = 0
    READ_ONLY = 0x1
    NOSUID = 0x2
    NODEV = 0x4
    NOEXEC = 0x8
    NOATIME = 0x10
    STRICTATIME = 0x20
    PRIVATE = 0x40
    SLAVE = 0x80


class AttachHow(enum.IntFlag):
    """What `Attach` may do about a target that is missing or is a symlink."""

    NONE = 0
    MAKE_DIR = 0x1
    MAKE_FILE = 0x2
    ORDINARY = 0x4


class Namespace(enum.IntFlag):
    """Linux namespaces (namespaces(7)), numbered as on the wire."""

    USER = 0x1
    MOUNT = 0x2
    PID = 0x4
    IPC = 0x8
    UTS = 0x10
    NET = 0x20
    CGROUP = 0x40


class InitFlag(enum.IntFlag):
    """How the process that `ForkInit` leaves behind behaves."""

    NONE = 0
    SUBREAPER = 0x1
    DUMPABLE = 0x2


class FilterFlag(enum.IntFlag):
    """How the kernel treats a filter (SECCOMP_FILTER_FLAG_*, seccomp(2))."""

    NONE = 0
    LOG = 0x1
    SPEC_ALLOW = 0x2
