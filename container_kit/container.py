"""Container: made, found, started, stopped, removed.

What goes on inside one is in `interior.py`, its files are in `contents.py`.
An object holds an id and an engine, nothing else: every property asks for the present
truth. The functions `run` and `start` (`shortcuts.py`) are the short ways in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from types import TracebackType
from typing import Literal, Self, Unpack

from container_kit import _options
from container_kit._plan.plans import LaunchPlan
from container_kit._runtime import launch, status, waiting
from container_kit._runtime import start as _start
from container_kit._runtime import stop as _stop
from container_kit._runtime.remove import prune, remove
from container_kit._runtime.update import update
from container_kit._spec.healthcheck import RestartPolicy
from container_kit._spec.lifecycle import Action, Status, check_transition
from container_kit._spec.options import ContainerOptions
from container_kit._spec.resources import Resources
from container_kit._spec.signals import parse_signal
from container_kit._state import journal, records
from container_kit.contents import Contents
from container_kit.engine import Engine, default_engine
from container_kit.errors import ContainerNotFoundError, StorageFullError
from container_kit.image import Image
from container_kit.inspection import Inspection, inspect
from container_kit.interior import Interior
from container_kit.wait import Condition, await_condition


class Container(Contents, Interior):
    """A container. Made by `create`, `start`, `get` or `list`, not by calling the class.

    In a `with` block it is stopped and removed at the end.

    Attributes:
        id: 64 hexadecimal digits.
    """

    # ── making and finding ──────────────────────────────────────────────────

    @classmethod
    def create(
        cls,
        image: Image | str,
        command: Sequence[str] | None = None,
        *,
        engine: Engine | None = None,
        **options: Unpack[ContainerOptions],
    ) -> Container:
        """Record a new container without starting it.

        Args:
            image: what its root file system is made of.
            command: arguments; None leaves it to the image.
            engine: where it lives; None: the default engine.
            options: see `ContainerOptions`.

        Raises:
            InvalidSpecError: an option makes no sense; `field` names it.
            NameInUseError: another container has the name.
        """
        engine = engine or default_engine()
        begin = partial(_start.create, engine.site, named=options.get("name") is not None)
        _, record = _options.begin(engine.site, image, command, options, begin)
        return cls(record.id, engine)

    @classmethod
    def get(cls, name: str, *, engine: Engine | None = None) -> Container:
        """Return the container with a name, an id or the unambiguous beginning of an id.

        Raises:
            ContainerNotFoundError: there is none; `near` has similar names.
            AmbiguousIdError: several ids begin like this.
        """
        engine = engine or default_engine()
        return cls(status.find(engine.site, name).record.id, engine)

    @classmethod
    def list(
        cls,
        *,
        all: bool = False,  # noqa: A002  # Docker's word
        label: Mapping[str, str | None] | None = None,
        engine: Engine | None = None,
    ) -> list[Container]:
        """Return containers, oldest first: the running, paused and restarting ones, or all.

        Args:
            all: also those that do not run.
            label: only those with all of these labels; None as a value: whatever it is.
            engine: where to look; None: the default engine.
        """
        engine = engine or default_engine()
        alive = (Status.RUNNING, Status.PAUSED, Status.RESTARTING)
        found = records.list_all(engine.site.database, labels=label)
        looks = (status.look(engine.site, record) for record in found)
        return [cls(seen.record.id, engine) for seen in looks if seen is not None and (all or seen.status in alive)]

    @classmethod
    def prune(cls, *, engine: Engine | None = None) -> tuple[str, ...]:
        """Remove every container that does not run and return their ids."""
        engine = engine or default_engine()
        return tuple(prune(engine.site))

    # ── what it is now ──────────────────────────────────────────────────────

    @property
    def name(self) -> str:
        """Its name."""
        return self._look().record.name

    @property
    def short_id(self) -> str:
        """The first 12 digits of its id."""
        return self.id[:12]

    @property
    def status(self) -> Literal["created", "running", "paused", "restarting", "exited", "dead"]:
        """What it is now: `created running paused restarting exited dead`."""
        return self._look().status.value  # type: ignore[return-value]  # REMOVED is never looked at

    @property
    def pid(self) -> int | None:
        """Its PID 1 as the host counts; None unless it runs."""
        init = self._look().init
        return None if init is None else init.pid

    @property
    def exit_code(self) -> int | None:
        """How its last run ended, 128 + n after signal n; None before the first end and while it runs."""
        return waiting.exit_code_of(self._site, self.id)

    @property
    def health(self) -> Literal["none", "starting", "healthy", "unhealthy"]:
        """What its health check says."""
        state = self._look().state
        return "none" if state is None else state.health  # type: ignore[return-value]  # the monitor's words

    @property
    def labels(self) -> dict[str, str]:
        """Its labels."""
        return dict(self._look().record.config.labels)

    @property
    def plan(self) -> LaunchPlan:
        """What a start of it does, step by step; `print(container.plan)` is meant for people."""
        spec = launch.with_devices(self._site, _start.specification_of(self._site, self._look().record))
        return launch.compile_plan(self._site, spec)

    def inspect(self) -> Inspection:
        """Return everything about it as one frozen, dated value."""
        return inspect(self._site, self._look())

    # ── its life ────────────────────────────────────────────────────────────

    def start(self) -> None:
        """Start it and return when its command runs.

        Raises:
            InvalidTransitionError: it runs already.
            CommandNotFoundError, CommandNotExecutableError, LaunchError: what kept it from running.
        """
        _start.start(self._site, self._look())

    def stop(self, timeout: float | None = None) -> None:
        """Ask it to end (stop signal), kill it after `timeout` seconds, and wait for the end.

        Stopping one that does not run is fine.

        Args:
            timeout: None: the container's `stop_timeout`, 10 s unless set.
        """
        seen = self._look()
        check_transition(Action.STOP, seen.status, seen.record.name)
        try:
            records.set_stopped_by_user(self._site.database, seen.record.id)
        except StorageFullError:
            pass  # a full disk keeps nobody from stopping; the monitor is told all the same
        if seen.state is not None and seen.state.phase != "exited":
            _stop.stop(self._site, self.id, seen.state, timeout=timeout)
            self._note("stop")
        elif seen.is_unseen:
            _stop.stop_unseen(self._site, seen.record, timeout=timeout)
            self._note("stop")

    def kill(self, signal: int | str = "KILL") -> None:
        """Send a signal to its PID 1; SIGKILL ends every process in it.

        Raises:
            InvalidTransitionError: it does not run.
            WaitTimeoutError: its monitor does not answer; a signal other than SIGKILL may not have been sent.
        """
        number = parse_signal(signal)
        seen = self._look()
        check_transition(Action.KILL, seen.status, seen.record.name)
        assert seen.state is not None
        if seen.status is Status.RESTARTING:
            _stop.stop(self._site, self.id, seen.state, timeout=0)
        else:
            _stop.kill(self._site, self.id, seen.state, number)
        self._note("kill", signal=str(number))

    def restart(self, timeout: float | None = None) -> None:
        """Stop it if it runs, then start it."""
        check_transition(Action.RESTART, self._look().status, self.id[:12])
        self.stop(timeout)
        self.start()
        self._note("restart")

    def pause(self) -> None:
        """Freeze every process in it (cgroup.freeze).

        Raises:
            InvalidTransitionError: it does not run.
            UnsupportedHostError: it has no control group; the hint says how to get one.
        """
        self._freeze(Action.PAUSE, frozen=True)

    def unpause(self) -> None:
        """Let a paused container go on."""
        self._freeze(Action.UNPAUSE, frozen=False)

    def wait(self, timeout: float | None = None, *, condition: Condition | None = None) -> int:
        """Wait for its end and return the exit code, 128 + n after signal n.

        Args:
            timeout: seconds; None: for ever.
            condition: wait for this instead (see `container_kit.wait`); then 0 is returned.

        Raises:
            WaitTimeoutError: the time is up; the container goes on.
            WaitFailedError: it ended while a condition was waited for.
        """
        if condition is not None:
            await_condition(self, condition, timeout)
            return 0
        return waiting.wait_for_exit(self._site, self.id, timeout)

    def remove(self, *, force: bool = False, missing_ok: bool = False) -> None:
        """Remove it with everything it wrote.

        Args:
            force: kill it first if it runs.
            missing_ok: it is fine if it is gone already.

        Raises:
            InvalidTransitionError: it runs, or is about to end and does not, and `force` is off.
            ContainerNotFoundError: it is gone and `missing_ok` is off.
        """
        try:
            seen = self._look()
        except ContainerNotFoundError:
            supervision = self._site.dismiss(self.id)
            if supervision is not None:
                supervision.let_go()
            elif not missing_ok:
                raise
            return
        remove(self._site, seen, force=force)

    def update(self, *, resources: Resources | None = None, restart: RestartPolicy | None = None) -> None:
        """Change its limits or its restart policy, also while it runs; what is not given stays.

        Limits hold from the next instant on, and in every run to come. A smaller `memory` makes the kernel take memory
        away and, where that does not suffice, end a process (cgroup-v2.rst, memory.max).

        Args:
            resources: the limits to change; -1 takes one away.
            restart: what happens when it ends.

        Raises:
            UnsupportedHostError: this host, or the place where it runs, cannot keep such a limit; the hint says more.
            CgroupError: the kernel refused a value; everything is as it was.
        """
        update(self._site, self.id, resources=resources, restart=restart)

    def rename(self, name: str) -> None:
        """Give it another name.

        Raises:
            InvalidNameError, NameInUseError: the name cannot be taken.
        """
        record = self._look().record
        with self._site.database.transaction():
            records.rename(self._site.database, record.id, name)
            journal.append(self._site.database, record.id, name, "rename", old_name=record.name)

    # ── the rest ────────────────────────────────────────────────────────────

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.remove(force=True, missing_ok=True)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Container) and (self.id, self._site.home.root) == (other.id, other._site.home.root)

    def __hash__(self) -> int:
        return hash(self.id)

    def __repr__(self) -> str:
        return f"<Container {self.id[:12]}>"

    def _freeze(self, action: Action, *, frozen: bool) -> None:
        seen = self._look()
        check_transition(action, seen.status, seen.record.name)
        _stop.freeze(self._site, self.id, frozen=frozen)
        self._note(action.value)
