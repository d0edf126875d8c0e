"""The wire of `_native/ckit.h`, written a second time: by hand, with struct, and without container_kit.

What the monitor understands of these bytes is compared with what the package's own encoder means.
"""

from __future__ import annotations

import fcntl
import os
import struct
from collections.abc import Sequence

import attrs

MAGIC = 0x31544B43
SECTION_SETTINGS, SECTION_PLAN, SECTION_HEALTH = 1, 2, 3

OWNED, REMOVE, REMOVE_OWNED, TERMINAL, STDIN, LOG, DIRECT, OWN_MEMORY, PROBE, DIRTY_WORK, REMOVE_ONLY = (
    1 << n for n in range(11)
)
STAGES = 1 << 13
NS_MOUNT, NS_PID, NS_IPC, NS_UTS, NS_NET, NS_CGROUP = 2, 4, 8, 16, 32, 64
RESTART_NO, RESTART_ALWAYS, RESTART_ON_FAILURE, RESTART_UNLESS_STOPPED = range(4)

STARTED, FAILED, EXITED, OK, ERROR, TTY = range(1, 7)
GO, DETACH, SIGNAL, STOP, WAIT, EXEC, KILL_TREE, ATTACH, CLOSE_STDIN, RESIZE, RESTART_POLICY, LIMITS = range(16, 28)
DEFAULT_TIMEOUT = 2**64 - 1

STEP_REQUEST, STEP_USERNS, STEP_DIRS, STEP_RUNTIME, STEP_CGROUP, STEP_STDIO, STEP_CLONE, STEP_LOST = range(
    0x80000001, 0x80000009
)
EXIT_OOM, EXIT_STOPPED, EXIT_FORCED, EXIT_CLEAN, EXIT_TIME_LIMIT = 1, 2, 4, 8, 16
EXEC_DETACH, EXEC_TERMINAL, EXEC_OWN_MEMORY = 1, 2, 4
ATTACH_STDIN, ATTACH_SLOW_OK = 1, 2

_MESSAGE = struct.Struct("=IIiIiIQQQ")


@attrs.frozen(kw_only=True)
class Message:
    """struct ck_message."""

    type: int
    flags: int = 0
    value: int = 0
    step: int = 0
    error: int = 0
    detail: int = 0
    a: int = 0
    b: int = 0
    c: int = 0

    def encode(self) -> bytes:
        """Return the 48 bytes."""
        return _MESSAGE.pack(*attrs.astuple(self))

    @classmethod
    def decode(cls, data: bytes) -> Message:
        """Read the 48 bytes."""
        names = [field.name for field in attrs.fields(cls)]
        return cls(**dict(zip(names, _MESSAGE.unpack(data), strict=True)))


def u32(*numbers: int) -> bytes:
    """Return u fields."""
    return struct.pack(f"={len(numbers)}I", *numbers)


def u64(number: int) -> bytes:
    """Return a U field."""
    return struct.pack("=Q", number)


def text(value: str | bytes | os.PathLike[str]) -> bytes:
    """Return a p or b field: a length, the bytes, NULs to the next multiple of four, one at least."""
    data = os.fsencode(value)
    return u32(len(data)) + data + bytes(4 - len(data) % 4)


def strings(values: Sequence[str]) -> bytes:
    """Return an S field."""
    return u32(len(values)) + b"".join(text(value) for value in values)


def step(code: int, *fields: bytes) -> bytes:
    """Return one step of a plan."""
    body = b"".join(fields)
    return u32(code, 8 + len(body)) + body


def request(*, plan: Sequence[bytes], settings: bytes | None = None, health: Sequence[bytes] | None = None) -> bytes:
    """Return a whole request: header, section table, sections on multiples of eight."""
    sections = [(SECTION_PLAN, b"".join(plan), len(plan))]
    if settings is not None:
        sections.insert(0, (SECTION_SETTINGS, settings, 0))
    if health is not None:
        sections.append((SECTION_HEALTH, b"".join(health), len(health)))
    table, bodies, offset = b"", b"", 16 + 4 * 16
    for kind, body, count in sections:
        table += u32(kind, offset, len(body), count)
        padded = body + bytes(-len(body) % 8)
        bodies += padded
        offset += len(padded)
    return u32(MAGIC, 1, offset, len(sections)) + table.ljust(4 * 16, b"\0") + bodies


def seal(data: bytes) -> int:
    """Return a memfd with this content that nobody can change; the caller closes it."""
    fd = os.memfd_create("request", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.write(fd, data)
    os.lseek(fd, 0, os.SEEK_SET)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
    return fd
