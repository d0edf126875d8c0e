"""Container: create, start, stop, exec, logs and all that Docker's containers do; `run` and `start`.

An object holds an id and an engine, nothing else: every property asks for the present
truth. The functions `run` and `start` are the short ways in.
"""

from __future__ import annotations

import os
import signal as _signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import IO, TYPE_CHECKING, Literal, TypeAlias, Unpack, overload

from container_kit import _options
from container_kit._plan.plans import LaunchPlan
from container_kit._runtime import attachments, execs, launch, start as _start, status, stop as _stop, waiting
from container_kit._runtime.logs import LogFilter, LogLine, follow_lines, read_lines, tail_lines
from container_kit._runtime.remove import prune, remove
from container_kit._runtime.site import Site
from container_kit._runtime.stats import ProcessInfo, Stats, list_processes, listening_ports, read_stats
from container_kit._runtime.state_file import Usage
from container_kit._runtime.status import Look
from container_kit._spec.lifecycle import Action, Status, check_transition
from container_kit._spec.options import ContainerOptions, ProcessOptions, parse_process_options
from container_kit._spec.signals import parse_signal
from container_kit._state import journal, records
from container_kit.completed import Completed
from container_kit.engine import Engine, default_engine
from container_kit.errors import ContainerNotFoundError, InvalidSpecError
from container_kit.image import Image
from container_kit.inspection import Inspection, inspect
from container_kit.process import DEVNULL, PIPE, STDOUT, Process
from container_kit.wait import Condition, await_condition

if TYPE_CHECKING:
    from types import TracebackType

MAX_OUTPUT = 10 << 20
Stream: TypeAlias = int | IO[bytes] | None


class Container:
    """A container. Made by `create`, `start`, `get` or `list`, not by calling the class.

    In a `with` block it is stopped and removed at the end.

    Attributes:
        id: 64 hexadecimal digits.
    """

    def __init__(self, container_id: str, engine: Engine) -> None:
        self.id = container_id
        self._engine = engine

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
        record = _options.new_record(engine.site, image, command, options)
        record = _start.create(engine.site, record, named=options.get("name") is not None)
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
    def prune(cls, *, engine: Engine | None = None) -> list[str]:
        """Remove every container that does not run and return their ids."""
        engine = engine or default_engine()
        return prune(engine.site)

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
        return launch.compile_plan(self._site, _start.specification_of(self._look().record))

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
        records.set_phase(self._site.database, seen.record.id, seen.record.phase, stopped_by_user=True)
        if seen.state is not None and seen.status is not Status.EXITED:
            _stop.stop(self._site, self.id, seen.state, timeout=timeout)
            self._note("stop")

    def kill(self, signal: int | str = "KILL") -> None:
        """Send a signal to its PID 1; SIGKILL ends every process in it.

        Raises:
            InvalidTransitionError: it does not run.
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
            InvalidTransitionError: it runs and `force` is off.
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

    def rename(self, name: str) -> None:
        """Give it another name.

        Raises:
            InvalidNameError, NameInUseError: the name cannot be taken.
        """
        record = self._look().record
        with self._site.database.transaction():
            records.rename(self._site.database, record.id, name)
            journal.append(self._site.database, record.id, name, "rename", old_name=record.name)

    # ── processes in it ─────────────────────────────────────────────────────

    @overload
    def exec(
        self,
        command: Sequence[str],
        *,
        input: bytes | str | None = ...,
        timeout: float | None = ...,
        text: Literal[False] = ...,
        check: bool = ...,
        max_output: int = ...,
        **options: Unpack[ProcessOptions],
    ) -> Completed[bytes]: ...

    @overload
    def exec(
        self,
        command: Sequence[str],
        *,
        input: bytes | str | None = ...,
        timeout: float | None = ...,
        text: Literal[True],
        check: bool = ...,
        max_output: int = ...,
        **options: Unpack[ProcessOptions],
    ) -> Completed[str]: ...

    def exec(
        self,
        command: Sequence[str],
        *,
        input: bytes | str | None = None,  # noqa: A002  # subprocess's word
        timeout: float | None = None,
        text: bool = False,
        check: bool = False,
        max_output: int = MAX_OUTPUT,
        **options: Unpack[ProcessOptions],
    ) -> Completed[bytes] | Completed[str]:
        """Run a command in it to its end and return the result.

        Args:
            command: arguments.
            input: what it reads on stdin; None: nothing.
            timeout: seconds; then it and everything it started are killed, and `timed_out` is set.
            text: decode output as UTF-8, with replacement characters.
            check: raise like `Completed.check_returncode`.
            max_output: bytes kept of each stream; the rest is dropped and `truncated` is set.
            options: see `ProcessOptions`.

        Raises:
            InvalidTransitionError: it does not run.
            CommandNotFoundError, CommandNotExecutableError: the command cannot be executed.
        """
        process = parse_process_options(command, options)
        if process.tty or process.detach:
            raise InvalidSpecError(field="tty" if process.tty else "detach", reason="exec collects output: use spawn")
        spec, init = self._running(Action.EXEC)
        ending, capture, timed_out = execs.run_captured(
            self._site, spec, init, process, data=_options.as_bytes(input), timeout=timeout, limit=max_output
        )
        self._note("exec", command=command[0])
        return Completed.collect(
            command,
            ending.code,
            capture,
            text=text,
            check=check,
            timed_out=timed_out,
            timeout=timeout,
            oom_killed=ending.oom_killed,
            usage=ending.usage,
        )

    def spawn(
        self,
        command: Sequence[str],
        *,
        stdin: Stream = None,
        stdout: Stream = PIPE,
        stderr: Stream = PIPE,
        **options: Unpack[ProcessOptions],
    ) -> Process:
        """Start a command in it and return the process.

        Args:
            command: arguments.
            stdin: `PIPE`, a file or a descriptor; None: empty.
            stdout, stderr: `PIPE`, `DEVNULL`, a file or a descriptor; stderr also `STDOUT`.
            options: see `ProcessOptions`; with `tty=True` the three streams are one terminal.

        Raises:
            InvalidTransitionError: it does not run.
            CommandNotFoundError, CommandNotExecutableError: the command cannot be executed.
        """
        process = parse_process_options(command, options)
        spec, init = self._running(Action.EXEC)
        if process.tty:
            session = execs.open_session(self._site, spec, init, process, ())
            return Process.on_terminal(command, session, session.terminal)
        streams = _options.Streams(self._site.devnull(), stdin, stdout, stderr)
        with streams:
            session = execs.open_session(self._site, spec, init, process, streams.theirs)
            return Process(command, session, **streams.take())

    def attach(self, *, stdin: bool = False) -> Process:
        """Attach to its own process: output from now on and, if asked for, its stdin.

        Closing the returned object detaches; the container goes on. `interact()` connects
        the caller's terminal.

        Raises:
            InvalidTransitionError: it does not run.
        """
        seen = self._look()
        check_transition(Action.ATTACH, seen.status, seen.record.name)
        config = seen.record.config
        attached = attachments.attach(self._site, self.id, stdin=stdin or config.tty, tty=config.tty)
        command = config.command or seen.record.image.command
        if config.tty:
            return Process.on_terminal(command, attached, attached.stdin, output=attached.stdout)
        return Process(
            command,
            attached,
            stdin=attached.stdin,
            stdout=attached.stdout,
            stderr=attached.stderr,
            end_stdin=attached.close_stdin,
        )

    def resize(self, rows: int, columns: int) -> None:
        """Set the size of its terminal; without a tty nothing happens."""
        seen = self._look()
        check_transition(Action.ATTACH, seen.status, seen.record.name)
        attachments.resize(self._site, self.id, rows, columns)

    def top(self) -> tuple[ProcessInfo, ...]:
        """Return its processes, as the host sees them."""
        _, init = self._running(Action.EXEC)
        return list_processes(self._site, self.id, init)

    def stats(self) -> Stats:
        """Return what it uses right now; one reading, well below a millisecond for a small container."""
        _, init = self._running(Action.EXEC)
        return read_stats(self._site, self.id, init)

    def listening_ports(self) -> frozenset[int]:
        """Return the TCP ports on which something in it listens; none while it does not run."""
        init = self._look().init
        return frozenset() if init is None else listening_ports(init.pid)

    # ── its output ──────────────────────────────────────────────────────────

    def logs(
        self,
        *,
        follow: bool = False,
        tail: int | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        stdout: bool = True,
        stderr: bool = True,
    ) -> Iterator[LogLine]:
        """Yield its output, line by line, with time and stream.

        Args:
            follow: go on with new lines until it ends.
            tail: begin with the last so many lines; None: all that are kept.
            since, until: aware times.
            stdout, stderr: which streams.
        """
        wanted = LogFilter(stdout=stdout, stderr=stderr, since=since, until=until)
        directory = self._site.home.container_dir(self.id)
        if not follow:
            self._look()
            return read_lines(directory, wanted) if tail is None else iter(tail_lines(directory, tail, wanted))
        return follow_lines(directory, wanted, tail, waiting.pauser(self._site, self.id))

    def pauser(self) -> Callable[[], bool]:
        """Return a function that waits a little for news and says whether the container still runs."""
        return waiting.pauser(self._site, self.id)

    def log_tail(self, lines: int = 10) -> str:
        """Return the end of its output as text; empty when there is none."""
        found = tail_lines(self._site.home.container_dir(self.id), lines, LogFilter())
        return "\n".join(line.text for line in found)

    # ── the rest ────────────────────────────────────────────────────────────

    def __enter__(self) -> Container:
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

    @property
    def _site(self) -> Site:
        return self._engine.site

    def _look(self) -> Look:
        return status.find(self._site, self.id)

    def _running(self, action: Action) -> tuple[launch.Specification, int]:
        seen = self._look()
        check_transition(action, seen.status, seen.record.name)
        assert seen.init is not None
        return _start.specification_of(seen.record), seen.init.pid

    def _freeze(self, action: Action, *, frozen: bool) -> None:
        seen = self._look()
        check_transition(action, seen.status, seen.record.name)
        _stop.freeze(self._site, self.id, frozen=frozen)
        self._note(action.value)

    def _note(self, action: str, **attributes: str) -> None:
        name = records.name_of(self._site.database, self.id)
        if name is not None:
            journal.append(self._site.database, records.ContainerId(self.id), name, action, **attributes)
