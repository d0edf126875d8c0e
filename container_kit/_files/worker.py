"""A process that acts on a tree of files whose names and contents somebody else chose.

The tree is the process's root directory (`view`), so a path means what it means to the container, and
nothing leads out: symlinks resolve inside, links of /proc lead nowhere, devices and FIFOs are never opened.
Paths are absolute or relative to the root, bytes that are not UTF-8 as surrogates (PEP 383). All calls
block. What fails is a `PathError`; when the process is gone, a `HostError`.
"""

from __future__ import annotations

import errno
import os
from types import TracebackType
from typing import Self

from container_kit._files.conversation import Conversation
from container_kit._files.messages import ANY_TIME, FAULTS, MAX_PATH, STATUS, ArchiveFault, FileFlag, FileOp, Reply
from container_kit._files.messages import Request as _Request
from container_kit._files.values import Counts as Counts
from container_kit._files.values import FileStatus as FileStatus
from container_kit._files.values import PackOptions as PackOptions
from container_kit._files.values import UnpackOptions as UnpackOptions
from container_kit._files.view import View
from container_kit.errors import ContainerKitError, InvalidSpecError, UnsafeArchiveError, path_error

_VERBS = {
    FileOp.READY: "reach",
    FileOp.OPEN: "open",
    FileOp.STAT: "look at",
    FileOp.READLINK: "read the symlink",
    FileOp.LIST: "list",
    FileOp.MKDIR: "make directory",
    FileOp.REMOVE: "remove",
    FileOp.RENAME: "rename",
    FileOp.SYMLINK: "make symlink",
    FileOp.LINK: "link",
    FileOp.CHMOD: "change the mode of",
    FileOp.CHOWN: "change the owner of",
    FileOp.UTIME: "change the times of",
    FileOp.UNPACK: "unpack into",
    FileOp.PACK: "pack",
}
_U64 = 2**64


class FileWorker:
    """A conversation with one such process, which ends with it. A context manager; many threads may use it."""

    def __init__(self, conversation: Conversation) -> None:
        self._conversation = conversation

    @classmethod
    def start(cls, view: View, *, user_namespace: int | None) -> FileWorker:
        """Start a worker.

        Args:
            view: the tree.
            user_namespace: descriptor of the engine's user namespace, borrowed; None for root. Not used for
                the view of a container, which joins the container's.

        Raises:
            HostError: the view cannot be had; says which step failed. ESRCH: the container has ended.
        """
        return cls(Conversation.start(view, user_namespace))

    # ── looking ──────────────────────────────────────────────────────────────────────────────────

    def open(self, path: str, flags: int, mode: int = 0o644) -> int:
        """Open a regular file or a directory and return a close-on-exec descriptor, which the caller closes.

        Args:
            path: the file.
            flags: as in open(2). O_CREAT makes a missing file, also where a symlink leads to nothing.
            mode: of a file that is made, whatever the umask is.

        Raises:
            PathError: ENXIO when it is a device, a FIFO or a socket.
        """
        _, fd = self._ask(FileOp.OPEN, path, a=flags & ~os.O_CLOEXEC, b=mode)
        if fd < 0:  # it was sent, and this process has no room for it
            raise path_error(errno.EMFILE, path, _VERBS[FileOp.OPEN])
        return fd

    def status(self, path: str, *, follow: bool = True) -> FileStatus:
        """Return the status of a file; of a last symlink itself unless `follow`."""
        reply, _ = self._ask(FileOp.STAT, path, flags=_nofollow(follow))
        if len(reply.text) != STATUS.size:
            raise self._conversation.distrust()
        inode, device, size, number, mtime, atime, ctime, mode, uid, gid, links = STATUS.unpack(reply.text)
        return FileStatus(
            mode=mode,
            uid=uid,
            gid=gid,
            size=size,
            mtime_ns=mtime,
            atime_ns=atime,
            ctime_ns=ctime,
            inode=inode,
            device=device,
            device_number=number,
            links=links,
        )

    def read_link(self, path: str) -> str:
        """Return what a symlink says."""
        reply, _ = self._ask(FileOp.READLINK, path)
        return os.fsdecode(reply.text)

    def list(self, path: str) -> list[tuple[str, int]]:
        """Return name and kind (S_IFMT of inode(7), 0 when unknown) of each entry of a directory, in any order."""
        reply, _ = self._ask(FileOp.LIST, path)
        entries = reply.text.split(b"\0")
        if entries.pop() or not all(map(_is_entry, entries)):
            raise self._conversation.distrust()
        return [(os.fsdecode(entry[1:]), entry[0] << 12) for entry in entries]

    # ── names ────────────────────────────────────────────────────────────────────────────────────

    def make_directory(self, path: str, mode: int = 0o755, *, parents: bool = False, exist_ok: bool = False) -> None:
        """Make a directory.

        Args:
            path: its name.
            mode: of the directory; missing parents get 0755.
            parents: make missing parents too.
            exist_ok: a directory that is there is fine.
        """
        flags = (FileFlag.PARENTS if parents else FileFlag.NONE) | (FileFlag.EXIST_OK if exist_ok else FileFlag.NONE)
        self._ask(FileOp.MKDIR, path, flags=flags, a=mode)

    def remove(self, path: str, *, recursive: bool = False) -> None:
        """Remove a file, a symlink itself, or a directory: an empty one, with `recursive` any.

        Of the root, `recursive` removes what is in it.
        """
        self._ask(FileOp.REMOVE, path, flags=FileFlag.RECURSIVE if recursive else FileFlag.NONE)

    def rename(self, path: str, to: str) -> None:
        """Give a file another name; a file that has it is replaced (rename(2))."""
        self._ask(FileOp.RENAME, path, other=to)

    def symlink(self, path: str, target: str) -> None:
        """Make a symlink called `path` that says `target`."""
        self._ask(FileOp.SYMLINK, path, other=target)

    def link(self, path: str, to: str) -> None:
        """Give a file, or a symlink itself, a second name `to`."""
        self._ask(FileOp.LINK, path, other=to)

    # ── attributes ───────────────────────────────────────────────────────────────────────────────

    def change_mode(self, path: str, mode: int) -> None:
        """Change the permission bits of a file; symlinks are followed."""
        self._ask(FileOp.CHMOD, path, a=mode)

    def change_owner(self, path: str, uid: int, gid: int, *, follow: bool = True) -> None:
        """Change the owner of a file, as ids of the worker's user namespace; -1 leaves one as it is."""
        self._ask(FileOp.CHOWN, path, flags=_nofollow(follow), a=uid % 2**32, b=gid % 2**32)

    def set_times(self, path: str, atime_ns: int, mtime_ns: int, *, follow: bool = True) -> None:
        """Set the times of a file, in ns since the epoch."""
        self._ask(FileOp.UTIME, path, flags=_nofollow(follow), a=atime_ns % _U64, b=mtime_ns % _U64)

    # ── archives ─────────────────────────────────────────────────────────────────────────────────

    def unpack(self, path: str, stream: int, options: UnpackOptions) -> Counts:
        """Unpack a tar stream into a directory; what was unpacked before an error stays.

        Args:
            path: the directory.
            stream: a descriptor to read the archive from, to its end; blocking, borrowed.
            options: how.

        Raises:
            UnsafeArchiveError: the archive is malformed, writes where it must not, or is too large.
        """
        uid, gid = options.owner or (0, 0)
        reply, _ = self._ask(
            FileOp.UNPACK,
            path,
            flags=_unpack_flags(options),
            a=options.max_bytes,
            b=options.max_entries,
            c=uid,
            d=gid,
            stream=stream,
            subject=options.subject,
        )
        return Counts(reply.a, reply.b, reply.c)

    def pack(self, path: str, stream: int, options: PackOptions) -> Counts:
        """Write a file, or a directory with all that is in it, as a tar stream; a last symlink itself.

        The same tree gives the same bytes. What vanishes meanwhile is left out; a file that shrinks
        meanwhile is filled up with zeros.

        Args:
            path: what to pack.
            stream: a descriptor to write the archive to; blocking, borrowed.
            options: how.

        Raises:
            PathError: names what could not be read; EPIPE when nobody reads the stream any more.
        """
        uid, gid = options.owner or (0, 0)
        latest = ANY_TIME if options.latest_mtime_ns is None else options.latest_mtime_ns
        flags = _pack_flags(options)
        reply, _ = self._ask(FileOp.PACK, path, other=options.name, flags=flags, a=latest, c=uid, d=gid, stream=stream)
        return Counts(reply.a, reply.b, reply.c)

    # ── the conversation ─────────────────────────────────────────────────────────────────────────

    def close(self) -> None:
        """End the process, also in the middle of a request of another thread. May be repeated."""
        self._conversation.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _ask(
        self,
        op: FileOp,
        path: str,
        *,
        other: str = "",
        flags: FileFlag = FileFlag.NONE,
        a: int = 0,
        b: int = 0,
        c: int = 0,
        d: int = 0,
        stream: int | None = None,
        subject: str = "",
    ) -> tuple[Reply, int]:
        def fault(reply: Reply) -> ContainerKitError:
            return _fault(reply, op, path, subject)

        if not path:
            raise path_error(errno.ENOENT, path, _VERBS[op])
        names = [_encoded(name, op) for name in (path, other)]
        request = _Request(op=op, flags=flags, a=a, b=b, c=c, d=d, path=names[0], other=names[1])
        return self._conversation.ask(request, () if stream is None else (stream,), fault)


def _is_entry(entry: bytes) -> bool:
    return len(entry) > 1 and b"/" not in entry and entry[1:] not in (b".", b"..")


def _nofollow(follow: bool) -> FileFlag:  # noqa: FBT001  # a flag becomes a flag
    return FileFlag.NONE if follow else FileFlag.NOFOLLOW


def _flags(*chosen: tuple[bool, FileFlag]) -> FileFlag:
    flags = FileFlag.NONE
    for wanted, flag in chosen:
        if wanted:
            flags |= flag
    return flags


def _unpack_flags(options: UnpackOptions) -> FileFlag:
    return _flags(
        (options.layer, FileFlag.LAYER),
        (options.user_xattr, FileFlag.USER_XATTR),
        (options.owner is not None, FileFlag.OWNER),
        (not options.keep_owner, FileFlag.NO_OWNER),
        (not options.devices, FileFlag.NO_DEVICES),
        (options.replace, FileFlag.REPLACE),
        (options.keep_kind, FileFlag.KEEP_KIND),
        (not options.set_id, FileFlag.NO_SET_ID),
    )


def _pack_flags(options: PackOptions) -> FileFlag:
    return _flags(
        (options.layer, FileFlag.LAYER),
        (options.user_xattr, FileFlag.USER_XATTR),
        (options.owner is not None, FileFlag.OWNER),
        (options.headers_only, FileFlag.HEADERS),
        (options.one_mount, FileFlag.ONE_MOUNT),
        (not options.recurse, FileFlag.NO_RECURSE),
    )


def _encoded(path: str, op: FileOp) -> bytes:
    data = os.fsencode(path)
    if b"\0" in data:
        raise InvalidSpecError(field="path", value=path, reason="holds a NUL")
    if len(data) >= MAX_PATH:
        raise path_error(errno.ENAMETOOLONG, path, _VERBS[op])
    return data


def _fault(reply: Reply, op: FileOp, path: str, subject: str) -> ContainerKitError:
    entry = os.fsdecode(reply.text) if op in (FileOp.UNPACK, FileOp.PACK) else ""
    reason = FAULTS.get(ArchiveFault(reply.reason)) if op == FileOp.UNPACK else None
    if reason is not None:
        return UnsafeArchiveError(image=subject, reason=reason, entry=entry)
    return path_error(reply.error, entry or path, "unpack" if entry and op == FileOp.UNPACK else _VERBS[op])
