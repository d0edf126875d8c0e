"""A ck-files process and the conversation with it: started, asked, ended.

Whatever interrupts a request (Ctrl-C, an error) ends the process: what it was about to answer must not
be taken for the answer to the next request.
"""

from __future__ import annotations

import errno
import os
import select
import signal
import socket
import stat
import threading
from collections.abc import Callable, Sequence

from container_kit._files.messages import MORE, BadReplyError, FileOp, Reply, Request, receive, send
from container_kit._files.plan import FilesPlan
from container_kit._files.view import View
from container_kit._linux import shim
from container_kit._linux.memfd import sealed_memfd
from container_kit._linux.processes import wait_readable
from container_kit._plan.describe import describe_step
from container_kit._plan.encode import encode_request
from container_kit._plan.settings import MonitorFlag, MonitorSettings
from container_kit._spec.paths import HostPath
from container_kit.errors import ContainerKitError, HostError

_ABSENT = -1
_LONGEST_ANSWER = 256 << 20  # bytes: the names in one directory
# Steps that are none of the plan's (CK_STEP_* in ckit.h).
_BLAMED = {
    0x80000001: "reading the request",
    0x80000002: "joining the user namespace",
    0x80000003: "entering the directory",
    0x80000007: "making a mount namespace",
}

Fault = Callable[[Reply], ContainerKitError]


class Conversation:
    """Owns the process and the socket. Any thread may ask; one request is under way at a time."""

    def __init__(self, pidfd: int, channel: socket.socket) -> None:
        self._pidfd = pidfd
        self._channel = channel
        self._answers = select.poll()
        for fd in (channel.fileno(), pidfd):
            self._answers.register(fd, select.POLLIN)
        self._lock = threading.Lock()
        self._closing = threading.RLock()
        self._starter = os.getpid()
        self._closed = False
        self._broken = False

    @classmethod
    def start(cls, view: View, user_namespace: int | None) -> Conversation:
        """Start a process for a view and wait until it is there; see `FileWorker.start`."""
        target = _ABSENT
        try:
            if view.target_pid is not None:
                target = os.pidfd_open(view.target_pid)
                user_namespace = None  # the plan joins the container's
            conversation = _spawn(view, user_namespace, target)
        except OSError as err:
            if isinstance(err, ContainerKitError):
                raise
            raise HostError(attempted="cannot start a process that works on files", errno=err.errno) from err
        finally:
            if target != _ABSENT:
                os.close(target)
        try:
            conversation.await_ready(view.plan)
        except BaseException:
            conversation.close()
            raise
        return conversation

    def ask(self, request: Request, fds: Sequence[int], fault: Fault) -> tuple[Reply, int]:
        """Send a request and return the whole answer to it, and the descriptor that came along (-1: none).

        Args:
            request: what to do.
            fds: sent along, borrowed.
            fault: gives the error to raise for an answer that is one.
        """
        with self._lock:
            self._check()
            try:
                send(self._channel, request, fds)
                reply, fd = self._whole_answer(request.op)
            except BaseException as err:
                self._kill()
                if isinstance(err, ConnectionError):
                    raise self._lost() from err
                if isinstance(err, BadReplyError):
                    raise self.distrust() from err
                if isinstance(err, OSError) and not isinstance(err, ContainerKitError):
                    raise HostError(attempted="cannot ask the process that works on files", errno=err.errno) from err
                raise
        if not reply.error:
            return reply, fd
        raise fault(reply)

    def distrust(self) -> HostError:
        """End the process, whose answer makes no sense, and return the error to raise."""
        self._kill()
        return HostError(attempted="the process that works on files answers nonsense and was ended", errno=errno.EPROTO)

    def close(self) -> None:
        """End the process, whatever it is doing, and reap it. May be repeated; in a forked child it only lets go."""
        if self._starter != os.getpid():
            self._let_go()
            return
        with self._closing:
            if self._closed:
                return
            self._kill()
            wait_readable(self._pidfd, None)
            try:
                os.waitid(os.P_PIDFD, self._pidfd, os.WEXITED)
            except ChildProcessError:  # the caller ignores SIGCHLD, or waits for everything
                pass
            with self._lock:  # a thread that is being answered has heard the end by now
                self._channel.close()
            self._let_go()

    def _let_go(self) -> None:
        if not self._closed:
            self._closed = True  # at last: an interrupted close is repeated
            self._channel.close()
            os.close(self._pidfd)

    def __del__(self) -> None:
        # Ctrl-C may come when it is started and nobody has it yet, or while it is being closed.
        self.close()

    def await_ready(self, plan: FilesPlan) -> None:
        """Wait until the plan has been walked; only once, before anything is asked."""
        try:
            received = self._receive()
        except BadReplyError as err:
            raise self.distrust() from err
        if received is None:
            raise self._lost()
        reply, fd = received
        if fd >= 0:
            os.close(fd)
        if reply.error:
            raise _start_failure(plan, reply)

    def _whole_answer(self, op: FileOp) -> tuple[Reply, int]:
        pieces: list[bytes] = []
        size = 0
        while True:
            received = self._receive()
            if received is None:
                self._kill()
                raise self._lost()
            reply, fd = received
            if fd >= 0 and not _may_send(op, reply, fd):
                os.close(fd)
                raise BadReplyError
            pieces.append(reply.text)
            size += len(reply.text)
            if size > _LONGEST_ANSWER or (reply.flags & MORE and op != FileOp.LIST):
                raise BadReplyError
            if not reply.flags & MORE:
                return _joined(reply, pieces), fd

    def _receive(self) -> tuple[Reply, int] | None:
        """Wait for an answer, or a piece of one; None when the process has ended and all that it said was heard."""
        # The channel alone may not tell the end: a fork of the caller's may hold a copy of the other side.
        self._answers.poll()
        return receive(self._channel) if wait_readable(self._channel.fileno(), 0) else None

    def _check(self) -> None:
        if self._closed:
            raise HostError(attempted="this file worker is closed", errno=errno.EBADF)
        if self._starter != os.getpid():
            raise HostError(attempted="this file worker belongs to the process that started it", errno=errno.EPERM)
        if self._broken:
            raise self._lost()

    def _kill(self) -> None:
        self._broken = True
        try:
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
        except ProcessLookupError:
            pass
        try:
            self._channel.shutdown(socket.SHUT_RDWR)  # wakes who waits for an answer, or for room for a request
        except OSError:
            pass  # another thread has closed it

    @staticmethod
    def _lost() -> HostError:
        return HostError(attempted="the process that works on files has ended", errno=errno.ECONNRESET)


def _may_send(op: FileOp, reply: Reply, fd: int) -> bool:
    """Say whether a descriptor may come with an answer: only what was asked for, and nothing to wait for."""
    if op != FileOp.OPEN or reply.error or reply.flags & MORE:
        return False
    kind = stat.S_IFMT(os.fstat(fd).st_mode)
    return kind in (stat.S_IFREG, stat.S_IFDIR)


def _joined(reply: Reply, pieces: list[bytes]) -> Reply:
    if len(pieces) == 1:
        return reply
    return Reply(
        error=reply.error,
        reason=reply.reason,
        flags=reply.flags,
        step=reply.step,
        a=reply.a,
        b=reply.b,
        c=reply.c,
        text=b"".join(pieces),
    )


def _spawn(view: View, user_namespace: int | None, target: int) -> Conversation:
    settings = MonitorSettings(
        flags=MonitorFlag.DIRTY_WORK if view.work else MonitorFlag.NONE,
        owner_pid=0,
        namespaces=view.plan.namespaces,
        container_dir=view.directory,
        runtime_dir=HostPath(""),
        dirs=view.work,
    )
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
    for end in (ours, theirs):
        end.settimeout(None)  # whatever socket.setdefaulttimeout() says
    with theirs:
        memfd = sealed_memfd("ck-request", encode_request(settings, view.plan))
        try:
            namespace = _ABSENT if user_namespace is None else user_namespace
            fds = (memfd, theirs.fileno(), namespace, target, _ABSENT, _ABSENT)
            _, pidfd = shim.spawn_program("ck-files", fds)
        except BaseException:
            ours.close()
            raise
        finally:
            os.close(memfd)
    return Conversation(pidfd, ours)


def _start_failure(plan: FilesPlan, reply: Reply) -> HostError:
    if reply.step < len(plan.steps):
        place = f"step {reply.step + 1} of {len(plan.steps)}: {describe_step(plan, reply.step)}"
    else:
        place = _BLAMED.get(reply.step, "entering the root")
    return HostError(attempted=f"cannot reach the files: {place}", errno=reply.error)
