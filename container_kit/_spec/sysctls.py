"""Which kernel parameters a container may have its own value of.

Only those that live in a namespace of the container: all others would change the host
(CVE-2022-0811 was such a way out). Sources: namespaces(7), ipc_namespaces(7).
"""

from __future__ import annotations

import re

from container_kit._spec.text import Pairs, check_line
from container_kit.errors import InvalidSpecError

_NAME = re.compile(r"[a-z0-9_-]+(?:\.[a-zA-Z0-9_-]+)+", re.ASCII)
_IPC = frozenset(
    f"kernel.{name}"
    for name in (
        "msgmax", "msgmnb", "msgmni", "msg_next_id", "sem", "sem_next_id", "shmall", "shmmax", "shmmni",
        "shm_next_id", "shm_rmid_forced",
    )
)  # fmt: skip


def check_sysctls(sysctls: Pairs, *, network_is_private: bool) -> None:
    """Raise unless every pair is a parameter of a namespace that belongs to the container."""
    for name, value in sysctls:
        if not _NAME.fullmatch(check_line(name, "sysctls name")):
            reason = "must be a dotted name such as net.core.somaxconn"
            raise InvalidSpecError(field="sysctls", value=name, reason=reason)
        check_line(value, f"sysctls {name}")
        if name.startswith("net."):
            if not network_is_private:
                reason = "would change the host: the container shares its network"
                raise InvalidSpecError(field="sysctls", value=name, reason=reason)
        elif name not in _IPC and not name.startswith("fs.mqueue."):
            hint = "containers have their own net.*, fs.mqueue.* and System V IPC parameters only"
            raise InvalidSpecError(field="sysctls", value=name, reason="would change the host", hint=hint)
