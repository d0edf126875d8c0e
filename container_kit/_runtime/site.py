"""Where containers live: one engine's directories, database and host facts, and the monitors it started.

Everything in `_runtime` is a function over a `Site`; the public `Engine` is a thin face of
one. A site holds nothing that another process could not find again: its descriptors and
supervisions are this process's share, the truth is on disk and in the kernel.
"""

from __future__ import annotations

import os
import threading
from functools import cached_property
from typing import TYPE_CHECKING

import attrs

from container_kit._linux import cgroup_tree, idmap, processes
from container_kit._linux.processes import ProcessId
from container_kit._runtime.cpu_clock import CpuClock
from container_kit._runtime.device_filters import DeviceFilters
from container_kit._runtime.supervision import Supervision
from container_kit._runtime.timing import Stopwatch
from container_kit._spec.capability import Capability
from container_kit._spec.facts import HostFacts, IdMap
from container_kit._spec.identity import Identity
from container_kit._spec.ids import ContainerId
from container_kit._state import records
from container_kit._state.container_record import UNRECORDED_CGROUP, ContainerRecord
from container_kit._state.database import Database
from container_kit._state.home import Home

if TYPE_CHECKING:  # loaded when an image of the store is first used
    from container_kit._registry.client import Client
    from container_kit._registry.credentials import Credentials
    from container_kit._spec.registries import Registries
    from container_kit._store.store import ImageStore


@attrs.frozen
class _UserNamespace:
    """A descriptor that is lent as a number: it stays open for the life of the process, whatever engines are closed."""

    fd: int
    identity: tuple[int, int]

    @classmethod
    def of(cls, fd: int) -> _UserNamespace:
        """Return a descriptor with what it is open on."""
        info = os.fstat(fd)
        return cls(fd, (info.st_dev, info.st_ino))

    def is_open(self) -> bool:
        """Say whether nobody closed it behind our back, as daemons do with all they inherit."""
        try:
            return self == self.of(self.fd)
        except OSError:
            return False


# By the pid that made it and its maps: a child of a fork makes its own.
_user_namespaces: dict[tuple[int, IdMap], _UserNamespace] = {}


def _user_namespace(id_map: IdMap) -> int:
    key = os.getpid(), id_map
    kept = _user_namespaces.get(key)
    if kept is not None and kept.is_open():
        return kept.fd
    if kept is not None:
        _user_namespaces.pop(key, None)
    made = _UserNamespace.of(idmap.open_user_namespace(id_map))
    kept = _user_namespaces.setdefault(key, made)
    if kept is not made:  # another engine's thread was faster
        os.close(made.fd)
    return kept.fd


class Site:
    """The resources of one open engine. Thread-safe; after a fork the child opens its own descriptors."""

    def __init__(
        self,
        home: Home,
        database: Database,
        facts: HostFacts,
        *,
        registries: Registries | None = None,
        cgroup_parent: str | None = None,
    ) -> None:
        self.home = home
        self.database = database
        self.facts = facts
        self.registries = registries  # None: what the files of Docker and Podman say
        self.stopwatch: Stopwatch | None = None
        self.given_cgroup_parent = cgroup_parent  # a directory that the engine was told to use
        self.enters_cgroups = False  # whether containers join their cgroup themselves; see launch.may_try_again
        self.cpu_clock = CpuClock()
        self.device_filters = DeviceFilters()
        self.own_ids: Capability | None = None  # what own_ids.find_support found
        self.cdi_directories: tuple[str, ...] = ("/etc/cdi", "/var/run/cdi")
        self.identities: dict[object, tuple[object, Identity]] = {}  # remembered by accounts
        self._lock = threading.Lock()
        self._client: tuple[int, Client] | None = None  # and the pid that made it
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
        if self.given_cgroup_parent is not None:
            return self.given_cgroup_parent, ""
        return cgroup_tree.find_parent()

    @cached_property
    def images(self) -> ImageStore:
        """The engine's images and unpacked layers."""
        from container_kit._store.store import ImageStore

        return ImageStore(
            self.home,
            self.database,
            rootless=self.facts.rootless,
            id_map=self.facts.id_map,
            overlay_form=self.facts.overlay_form,
            user_namespace=self.user_namespace,
        )

    def registry_client(self) -> Client:
        """Return what asks registries, borrowed: it keeps connections open. A child of a fork has its own."""
        from container_kit._registry.client import Client

        with self._lock:
            if self._client is None or self._client[0] != os.getpid():
                self._client = (os.getpid(), Client(self._known_registries, self._credentials))
            return self._client[1]

    def log_in(self, registry: str, username: str, password: str) -> None:
        """Keep credentials that the registry accepts."""
        from container_kit._registry.client import Client
        from container_kit._registry.credentials import Credentials, Login

        given = Credentials(explicit={registry: Login(username=username, password=password)})
        with Client(self._known_registries, given) as client:
            client.check_login(registry)
        self._credentials.add(registry, username, password)
        self._forget_client()

    def log_out(self, registry: str) -> bool:
        """Forget the credentials that were kept; False when there were none."""
        self._forget_client()
        return self._credentials.remove(registry)

    def _forget_client(self) -> None:
        """Close the client: it remembers who it was to whom."""
        with self._lock:
            client, self._client = self._client, None
        if client is not None and client[0] == os.getpid():
            client[1].close()

    @property
    def _credentials(self) -> Credentials:
        from container_kit._registry.credentials import Credentials, credential_files

        return Credentials(own_file=self.home.auth_file, files=credential_files(os.environ, uid=os.geteuid()))

    @cached_property
    def _known_registries(self) -> Registries:
        from container_kit._registry.config_files import load_registries

        return self.registries if self.registries is not None else load_registries()

    @cached_property
    def own_process(self) -> ProcessId:
        """This process's identity."""
        return processes.own_process_id()

    @property
    def id_map(self) -> IdMap:
        """The ids that containers can have."""
        return self.facts.id_map

    def cgroup_of(self, container: ContainerRecord | str) -> str | None:
        """Return the directory of a container's cgroup, whether or not it exists; None where it has none.

        Args:
            container: its record; or its id, then the database is asked. Unrecorded, it is where such groups go.
        """
        if isinstance(container, str):
            container_id, recorded = container, records.cgroup_of(self.database, ContainerId(container))
        else:
            container_id, recorded = container.id, container.cgroup
        if recorded is not None and recorded != UNRECORDED_CGROUP:
            return recorded or None
        return None if self.cgroup_parent is None else f"{self.cgroup_parent}/ck-{container_id}"

    def user_namespace(self) -> int | None:
        """Return a descriptor of the user namespace for rootless containers, which nobody closes; None for root."""
        if not self.facts.rootless:
            return None
        with self._lock:
            return _user_namespace(self.facts.id_map)

    @staticmethod
    def devnull() -> int:
        """Return a new descriptor of /dev/null, the caller's to close."""
        return os.open(os.devnull, os.O_RDWR)

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
        """End the containers that this process owns and close the site's descriptors. Idempotent."""
        with self._lock:
            owned, self._supervisions = list(self._supervisions.values()), {}
        for supervision in owned:
            supervision.let_go()
        self.collect_retired()
        with self._lock:
            for pidfd in self._retired:
                os.close(pidfd)
            self._retired.clear()
        self.device_filters.close()
        self._forget_client()
        self.database.close()
