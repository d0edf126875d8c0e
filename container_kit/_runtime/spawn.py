"""Start a monitor with a request. Nothing here knows what a container is."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence

from container_kit._linux import shim
from container_kit._linux.memfd import sealed_memfd
from container_kit._runtime.supervision import Supervision

_ABSENT = -1


def spawn_monitor(
    request: bytes,
    *,
    user_namespace: int | None,
    stdio: Sequence[int] | None = None,
    devices: int | None = None,
    ids: int | None = None,
) -> Supervision:
    """Start a monitor that waits for `go`.

    Args:
        request: settings and plans, as `encode_request` makes them.
        user_namespace: descriptor of the user namespace to join, borrowed.
        stdio: the container's stdin, stdout and stderr, borrowed; None when the monitor makes them.
        devices: descriptor of a loaded device filter, borrowed.
        ids: descriptor of a lock on the container's ids, borrowed; the monitor's share keeps it locked.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
    supervision: Supervision | None = None
    try:
        with theirs:
            memfd = sealed_memfd("ck-request", request)
            try:
                fds = [
                    memfd,
                    theirs.fileno(),
                    _ABSENT if user_namespace is None else user_namespace,
                    *(stdio if stdio is not None else (_ABSENT,) * 3),
                    _ABSENT if devices is None else devices,
                    _ABSENT if ids is None else ids,
                ]
                supervision = _supervised(shim.begin_monitor(fds), ours)
                return supervision  # noqa: RET504  # known below, should closing the others be interrupted
            finally:
                os.close(memfd)
    except BaseException:
        if supervision is not None:
            supervision.let_go()  # an interrupt
        ours.close()
        raise


def _supervised(starting: shim.Starting, channel: socket.socket) -> Supervision:
    try:
        return Supervision(starting, channel)
    except BaseException:
        starting.give_up()
        raise
