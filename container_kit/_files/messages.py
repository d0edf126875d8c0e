"""The wire between Python and ck-files: Python's half of `_native/files.h`. Numbers are append-only."""

from __future__ import annotations

import array
import enum
import os
import socket
import struct
from collections.abc import Sequence
from typing import Final

import attrs

REQUEST: Final = struct.Struct("=IIQQQQII")
REPLY: Final = struct.Struct("=iIIIIIQQQ")
STATUS: Final = struct.Struct("=QQQQqqqIIII")
MAX_PATH: Final = 4096  # bytes, with the NUL
MAX_TEXT: Final = 32768
ANY_TIME: Final = 2**64 - 1
MORE: Final = 0x1

_LARGEST_ERRNO = 4095
_RIGHTS_SIZE = socket.CMSG_SPACE(struct.calcsize("i")) if hasattr(socket, "CMSG_SPACE") else 0


class FileOp(enum.IntEnum):
    """What can be asked; CK_FILE_OPS."""

    READY = 0
    OPEN = 1
    STAT = 2
    READLINK = 3
    LIST = 4
    MKDIR = 5
    REMOVE = 6
    RENAME = 7
    SYMLINK = 8
    LINK = 9
    CHMOD = 10
    CHOWN = 11
    UTIME = 12
    UNPACK = 13
    PACK = 14


class FileFlag(enum.IntFlag):
    """How; enum ck_file_flag."""

    NONE = 0
    NOFOLLOW = 0x1
    PARENTS = 0x2
    EXIST_OK = 0x4
    RECURSIVE = 0x8
    LAYER = 0x10
    USER_XATTR = 0x20
    OWNER = 0x40
    NO_OWNER = 0x80
    NO_DEVICES = 0x100
    REPLACE = 0x200
    HEADERS = 0x400
    ONE_MOUNT = 0x800
    NO_RECURSE = 0x1000
    NO_SET_ID = 0x2000
    KEEP_KIND = 0x4000


class ArchiveFault(enum.IntEnum):
    """What an archive was refused for; enum ck_file_reason."""

    OK = 0
    HEADER = 1
    EXTENSION = 2
    TRUNCATED = 3
    NAME = 4
    LINK = 5
    BYTES = 6
    ENTRIES = 7
    WHITEOUT = 8
    TYPE = 9
    SYSTEM = 10


_REASONS = frozenset(ArchiveFault)
FAULTS: Final = {
    ArchiveFault.HEADER: "the archive has a malformed header",
    ArchiveFault.EXTENSION: "the archive has a malformed or unknown extended header",
    ArchiveFault.TRUNCATED: "the archive ends too early",
    ArchiveFault.NAME: "the archive has a name that is not allowed",
    ArchiveFault.LINK: "the archive has a hard link to nothing, to a directory or out of the tree",
    ArchiveFault.BYTES: "the archive has more data than allowed",
    ArchiveFault.ENTRIES: "the archive has more entries than allowed",
    ArchiveFault.WHITEOUT: "the archive has a malformed whiteout",
    ArchiveFault.TYPE: "the archive has an entry of a type that is not supported",
}


class BadReplyError(Exception):
    """What came is no answer: the process, which reads what others wrote, is not to be believed any more."""


@attrs.frozen(kw_only=True)
class Request:
    """One request; the meaning of a, b, c and d depends on the op."""

    op: FileOp
    flags: FileFlag = FileFlag.NONE
    a: int = 0
    b: int = 0
    c: int = 0
    d: int = 0
    path: bytes
    other: bytes = b""

    def encode(self) -> bytes:
        """Return the message.

        Raises:
            struct.error: a number does not fit.
        """
        sizes = (len(self.path) + 1, len(self.other) + 1)
        head = REQUEST.pack(self.op, self.flags, self.a, self.b, self.c, self.d, *sizes)
        return b"".join((head, self.path, b"\0", self.other, b"\0"))


@attrs.frozen(kw_only=True)
class Reply:
    """One answer, or a piece of one."""

    error: int
    reason: int
    flags: int
    step: int
    a: int
    b: int
    c: int
    text: bytes

    @classmethod
    def decode(cls, data: bytes) -> Reply:
        """Read a message.

        Raises:
            BadReplyError: it is none.
        """
        if len(data) < REPLY.size:
            raise BadReplyError
        error, reason, flags, size, step, _, a, b, c = REPLY.unpack_from(data)
        text = data[REPLY.size :]
        if len(text) != size or not 0 <= error <= _LARGEST_ERRNO or reason not in _REASONS:
            raise BadReplyError
        return cls(error=error, reason=reason, flags=flags, step=step, a=a, b=b, c=c, text=text)


def send(sock: socket.socket, request: Request, fds: Sequence[int]) -> None:
    """Send a request, with copies of the descriptors."""
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
    sock.sendmsg([request.encode()], rights)


def receive(sock: socket.socket) -> tuple[Reply, int] | None:
    """Wait for an answer, or a piece of one, and the descriptor that came along (-1: none); None at the end.

    The caller closes the descriptor.

    Raises:
        BadReplyError: what came is no answer.
    """
    flags = socket.MSG_CMSG_CLOEXEC
    data, ancillary, how, _ = sock.recvmsg(REPLY.size + MAX_TEXT, _RIGHTS_SIZE, flags)
    fds = array.array("i")  # there is room for a second one: control messages are padded
    for level, kind, content in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(content[: len(content) - len(content) % fds.itemsize])
    if not data and not fds:
        return None
    whole = not how & socket.MSG_TRUNC and len(fds) <= 1
    try:
        reply = Reply.decode(data if whole else b"")
    except BadReplyError:
        for fd in fds:
            os.close(fd)
        raise
    return reply, fds[0] if fds else -1
