"""Engine: one directory is the whole state, like a SQLite file.

An engine holds no containers and no threads; two processes may open the same directory at
the same time. Opening one finishes or undoes what dead processes left in it.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Self

from container_kit._linux import kernel, processes
from container_kit._runtime.cgroup_places import find_given_parent
from container_kit._runtime.failures import typed_refusals
from container_kit._runtime.probes import find_capabilities, find_host_facts
from container_kit._runtime.reconcile import Problem, reconcile
from container_kit._runtime.remove import release
from container_kit._runtime.site import Site
from container_kit._spec.capability import Capability
from container_kit._spec.events import Event
from container_kit._spec.facts import HostFacts, OverlayForm
from container_kit._state import journal
from container_kit._state.database import Database
from container_kit._state.home import Home, find_runtime_parent

if TYPE_CHECKING:
    from container_kit._images.removal import ImageUsage
    from container_kit._spec.registries import Registries

_EVENT_SECONDS = 0.02

_default: Engine | None = None
_default_lock = threading.Lock()


class Engine:
    """Where containers live.

    Args:
        root: its directory, made if missing; None: `CONTAINER_KIT_ROOT`, else `/var/lib/container_kit` for root and
            `$XDG_DATA_HOME/container_kit` for others. It must be on a file system that overlayfs accepts.
        runtime: where sockets and states of running containers are; None: `/run/container_kit` for root, else
            below `$XDG_RUNTIME_DIR`.
        cgroup_parent: the cgroup in which containers get theirs, named as in /proc/self/cgroup; it must exist. None:
            the top for root, else this process's own or one above it.
        registries: mirrors, insecure registries and certificates; None: what Podman's registries.conf and Docker's
            daemon.json say.

    Raises:
        UnsupportedHostError: this host cannot run containers; the hint says what to change.
        RootDirectoryError: the directory cannot be used.
        StateError: its database is damaged or newer than this library.
    """

    def __init__(
        self,
        root: str | os.PathLike[str] | None = None,
        *,
        runtime: str | None = None,
        cgroup_parent: str | None = None,
        registries: Registries | None = None,
    ) -> None:
        kernel.require_linux()
        given = None if cgroup_parent is None else find_given_parent(cgroup_parent)
        boot = processes.boot_id()
        parent = runtime or find_runtime_parent(os.geteuid(), os.environ.get("XDG_RUNTIME_DIR"))
        home = Home.at(os.fspath(root) if root is not None else _default_root(), boot_id=boot, runtime_parent=parent)
        with typed_refusals(f"cannot open the engine at {home.root}"):
            home.make()
            database = Database(home.database)
            try:
                facts = _host_facts(home, database, boot)
                self.site = Site(home, database, facts, registries=registries, cgroup_parent=given)
                reconcile(self.site)
            except BaseException:
                database.close()
                raise

    @property
    def root(self) -> str:
        """Its directory."""
        return self.site.home.root

    def capabilities(self) -> tuple[Capability, ...]:
        """Try what containers need on this host; each feature comes with a reason and a remedy."""
        return find_capabilities(self.site)

    def check(self, *, repair: bool = False) -> list[Problem]:
        """Look for what dead processes left and for damage of the database.

        Args:
            repair: finish or undo what is found; without it the list only says what would be done.

        Raises:
            StateError: the database is damaged.
        """
        self.site.database.check()
        return reconcile(self.site, repair=repair)

    def login(self, registry: str, *, username: str, password: str) -> None:
        """Check credentials with a registry and keep them for this engine, in a file that only its owner can read.

        They win over those of Docker and Podman.

        Args:
            registry: its host, with its port if that is not the usual one; `docker.io` is Docker Hub.
            username: who.
            password: or an access token.

        Raises:
            AuthenticationError: the registry does not accept them; nothing is kept.
            ImageUnreachableError: it does not answer.
        """
        self.site.log_in(registry, username, password)

    def logout(self, registry: str) -> bool:
        """Forget this engine's credentials for a registry; False when there were none."""
        return self.site.log_out(registry)

    def df(self) -> tuple[ImageUsage, ...]:
        """Return what each image takes up on disk, and how much of it it shares with others."""
        from container_kit._images.removal import disk_usage

        return disk_usage(self.site.images)

    def events(self, *, since: int = 0, follow: bool = False, timeout: float | None = None) -> Iterator[Event]:
        """Yield what happened to containers, oldest first.

        Args:
            since: the `sequence` of the last event seen; only later ones come.
            follow: go on with new ones.
            timeout: seconds after which following ends; None: never.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        cursor = since
        while True:
            if follow:
                reconcile(self.site)
            found = journal.read(self.site.database, after=cursor)
            for event in found:
                cursor = event.sequence
                yield event
            if not found and (not follow or (deadline is not None and time.monotonic() >= deadline)):
                return
            if not found:
                time.sleep(_EVENT_SECONDS)

    def close(self) -> None:
        """End the containers that this process owns and free what the engine holds. Idempotent."""
        try:
            release(self.site)
        finally:
            self.site.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Engine({self.root!r})"


def default_engine() -> Engine:
    """Return the engine that is used where none is given, opening it on first use."""
    global _default  # noqa: PLW0603  # the one piece of global state, always replaceable
    with _default_lock:
        if _default is None:
            _default = Engine()
        return _default


def set_default_engine(engine: Engine | None) -> None:
    """Replace the default engine; None: the next use opens it anew. The old one is not closed."""
    global _default  # noqa: PLW0603  # see default_engine
    with _default_lock:
        _default = engine


def _default_root() -> str:
    given = os.environ.get("CONTAINER_KIT_ROOT")
    if given:
        return given
    if os.geteuid() == 0:
        return "/var/lib/container_kit"
    data = os.environ.get("XDG_DATA_HOME") or os.path.expanduser("~/.local/share")
    return f"{data}/container_kit"


def _host_facts(home: Home, database: Database, boot: str) -> HostFacts:
    # The overlay form is probed with a real launch, once a boot; the rest is read afresh.
    key = f"overlay_form {os.geteuid()}"
    rows = database.query("SELECT value FROM meta WHERE key = ?", (key,))
    known_boot, _, form = str(rows[0][0]).partition(" ") if rows else ("", "", "")
    if known_boot == boot:
        return find_host_facts(home.root, OverlayForm(int(form)))
    facts = find_host_facts(home.root)
    with database.transaction() as connection:
        value = f"{boot} {facts.overlay_form.value}"
        connection.execute("INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)", (key, value))
    return facts
