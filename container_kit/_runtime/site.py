"""Where containers live: one engine's directories, database and host facts, and the monitors it started.

Everything in `_runtime` is a function over a `Site`; the public `Engine` is a thin face of
one. A site holds nothing that another process could not find again: its descriptors and
supervisions are this process's share, the truth is on disk and in the kernel.
"""

from __future__ import annotations

import os
import threading
from functools import cached_property

from container_kit._linux import cgroup, idmap, processes
from container_kit._linux.processes import ProcessId
from container_kit._runtime.supervision import Supervision
from container_kit._runtime.timing import Stopwatch
from container_kit._spec.facts import HostFacts, IdMap
from container_kit._spec.identity import Identity
from container_kit._state.database import Database
from container_kit._state.home import Home


class Site:
    """The resources of one open engine. Thread-safe; after a fork the child opens its own descriptors."""

    def __init__(self, home: Home, database: Database, facts: HostFacts) -> None:
        self.home = home
        self.database = database
        self.facts = facts
        self.stopwatch: Stopwatch | None = None
        self.enters_cgroups = False  # whether containers join their cgroup themselves; see launch.may_try_again
        self.identities: dict[object, tuple[object, Identity]] = {}  # remembered by accounts
        self._lock = threading.Lock()
        self._user_namespace: tuple[int, int] | None = None  # (pid that opened it, descriptor)
        self._devnull = -1
        self._supervisions: dict[str, Supervision] = {}
        self._retired: list[int] = []  # pidfds of monitors that live on; they are our children and need reaping

    @cached_property
    def cgroup_parent(self) -> str | None:
        """The directory below which containers' cgroups are made, or None where there is no such place."""
        return self._cgroup_search[0]

    @property
    def no_cgroup_reason(self) -> str:
        """Why `cgroup_parent` is None."""
        return self._cgroup_search[1]

    @cached_property
    def _cgroup_search(self) -> tuple[str | None, str]:
        return cgroup.find_parent()

    @cached_property
    def own_process(self) -> ProcessId:
        """This process's identity."""
        return processes.own_process_id()

    @property
    def id_map(self) -> IdMap:
        """The ids that containers can have."""
        return self.facts.id_map

    def cgroup_of(self, container_id: str) -> str | None:
        """Return the path of a container's cgroup, whether or not it exists; None where there are none."""
        return None if self.cgroup_parent is None else f"{self.cgroup_parent}/ck-{container_id}"

    def user_namespace(self) -> int | None:
        """Return a descriptor of the user namespace for rootless containers, borrowed; None for root."""
        if not self.facts.rootless:
            return None
        with self._lock:
            if self._user_namespace is None or self._user_namespace[0] != os.getpid():
                self._user_namespace = (os.getpid(), idmap.open_user_namespace(self.facts.id_map))
            return self._user_namespace[1]

    def devnull(self) -> int:
        """Return a descriptor of /dev/null, borrowed."""
        with self._lock:
            if self._devnull < 0:
                self._devnull = os.open(os.devnull, os.O_RDWR)
            return self._devnull

    def supervise(self, container_id: str, supervision: Supervision) -> None:
        """Keep the owner's end of a container, in place of that of an earlier run."""
        with self._lock:
            earlier = self._supervisions.get(container_id)
            self._supervisions[container_id] = supervision
        if earlier is not None:
            earlier.let_go()

    def supervision_of(self, container_id: str) -> Supervision | None:
        """Return the owner's end of a container, if this process is its owner."""
        with self._lock:
            return self._supervisions.get(container_id)

    def owned(self) -> list[tuple[str, Supervision]]:
        """Return ids and supervisions of what this process owns; a child of a fork owns nothing."""
        with self._lock:
            return [(key, one) for key, one in self._supervisions.items() if one.is_ours]

    def dismiss(self, container_id: str) -> Supervision | None:
        """Stop keeping the owner's end of a container and return it."""
        with self._lock:
            return self._supervisions.pop(container_id, None)

    def retire(self, supervision: Supervision) -> None:
        """Leave a monitor alone that outlives us; its zombie is collected by a later call."""
        pidfd = supervision.leave()
        with self._lock:
            self._retired.append(pidfd)
        self.collect_retired()

    def collect_retired(self) -> None:
        """Reap those retired monitors that have ended."""
        with self._lock:
            ended = [pidfd for pidfd in self._retired if processes.is_ended(pidfd)]
            self._retired = [pidfd for pidfd in self._retired if pidfd not in ended]
        for pidfd in ended:
            processes.reap(pidfd)
            os.close(pidfd)

    def mark(self, phase: str) -> None:
        """Note for the benchmark that a phase ended."""
        if self.stopwatch is not None:
            self.stopwatch.mark(phase)

    def mark_run(self, supervision: Supervision) -> None:
        """Note for the benchmark that a run ended, and split it by what its monitor says of it."""
        started, exited = supervision.started, supervision.exited
        if self.stopwatch is not None and started is not None and exited is not None:
            self.stopwatch.mark_parts(
                "wait",
                namespaces=started.a,
                mounts=started.b,
                confine=started.c,
                exec=started.detail * 1000,
                cleanup=exited.detail * 1000,
            )

    def close(self) -> None:
        """End the containers that this process owns and close every descriptor. Idempotent."""
        with self._lock:
            owned, self._supervisions = list(self._supervisions.values()), {}
        for supervision in owned:
            supervision.let_go()
        self.collect_retired()
        with self._lock:
            for pidfd in self._retired:
                os.close(pidfd)
            self._retired.clear()
            if self._user_namespace is not None and self._user_namespace[0] == os.getpid():
                os.close(self._user_namespace[1])
            self._user_namespace = None
            if self._devnull >= 0:
                os.close(self._devnull)
                self._devnull = -1
        self.database.close()
