"""Messages between Python and a monitor: one fixed struct over SOCK_SEQPACKET.

The other half is `struct ck_message` in `_native/ckit.h`. Descriptors travel beside a
message (SCM_RIGHTS, unix(7)).
"""

from __future__ import annotations

import array
import enum
import os
import socket
import struct
from collections.abc import Sequence

import attrs

_STRUCT = struct.Struct("=IIiIiIQQQ")
MESSAGE_SIZE = _STRUCT.size
DEFAULT_TIMEOUT = 2**64 - 1
_MAX_FDS = 4


class MessageType(enum.IntEnum):
    """What a message is, see enum ck_message_type."""

    STARTED = 1
    FAILED = 2
    EXITED = 3
    OK = 4
    ERROR = 5
    TTY = 6
    GO = 16
    DETACH = 17
    SIGNAL = 18
    STOP = 19
    WAIT = 20
    EXEC = 21
    KILL_TREE = 22
    ATTACH = 23
    CLOSE_STDIN = 24
    RESIZE = 25
    RESTART_POLICY = 26
    LIMITS = 27


class ExitFlag(enum.IntFlag):
    """How a run ended, see CK_EXIT_*."""

    NONE = 0
    OOM = 0x1
    STOPPED = 0x2
    FORCED = 0x4
    CLEAN = 0x8
    TIME_LIMIT = 0x10


class ExecFlag(enum.IntFlag):
    """How to run an exec plan, see CK_EXEC_*."""

    NONE = 0
    DETACH = 0x1
    TERMINAL = 0x2
    OWN_MEMORY = 0x4


class AttachFlag(enum.IntFlag):
    """What an attached client wants, see CK_ATTACH_IO_*."""

    NONE = 0
    STDIN = 0x1
    SLOW_OK = 0x2


class Blame(enum.IntEnum):
    """What failed when it was not a step of the plan, see CK_STEP_*."""

    REQUEST = 0x80000001
    USERNS = 0x80000002
    DIRS = 0x80000003
    RUNTIME = 0x80000004
    CGROUP = 0x80000005
    STDIO = 0x80000006
    CLONE = 0x80000007
    LOST = 0x80000008


@attrs.frozen
class Message:
    """One message; which fields mean something depends on the type."""

    type: int
    flags: int = 0
    value: int = 0
    step: int = 0
    error: int = 0
    detail: int = 0
    a: int = 0
    b: int = 0
    c: int = 0

    def pack(self) -> bytes:
        """Return the wire form."""
        return _STRUCT.pack(
            self.type, self.flags, self.value, self.step, self.error, self.detail, self.a, self.b, self.c
        )


def send(sock: socket.socket, message: Message, fds: Sequence[int] = ()) -> None:
    """Send one message and, with it, copies of descriptors."""
    if fds:
        rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))
        sock.sendmsg([message.pack()], [rights], socket.MSG_NOSIGNAL)
    else:
        sock.send(message.pack(), socket.MSG_NOSIGNAL)


def receive(sock: socket.socket, flags: int = 0) -> tuple[Message, list[int]] | None:
    """Wait for one message; None at the end of the stream. The caller owns the descriptors."""
    flags |= socket.MSG_CMSG_CLOEXEC
    try:
        data, ancillary, _, _ = sock.recvmsg(MESSAGE_SIZE, socket.CMSG_LEN(4 * _MAX_FDS), flags)
    except ConnectionResetError:
        return None
    fds = array.array("i")
    for level, kind, payload in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(payload[: len(payload) - len(payload) % fds.itemsize])
    if len(data) != MESSAGE_SIZE:
        for fd in fds:
            os.close(fd)
        return None
    return Message(*_STRUCT.unpack(data)), list(fds)
