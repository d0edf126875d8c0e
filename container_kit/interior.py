"""Interior: what goes on inside a container: its processes, its output, what it uses.

The part of `Container` that talks to something that runs; its life and its place among the
others are in `container.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import IO, Literal, TypeAlias, Unpack, overload

from container_kit import _options
from container_kit._linux.processes import ProcessId
from container_kit._runtime import attachments, execs, launch, status, waiting
from container_kit._runtime import start as _start
from container_kit._runtime.failures import typed_refusals
from container_kit._runtime.logs import LogFilter, LogLine, follow_lines, read_lines, tail_lines
from container_kit._runtime.site import Site
from container_kit._runtime.state_file import read_state
from container_kit._runtime.stats import Subject, read_stats, stream_stats
from container_kit._runtime.status import Look
from container_kit._runtime.stop import wake_monitor
from container_kit._runtime.top import ProcessInfo, list_processes, listening_ports
from container_kit._spec.healthcheck import check_seconds
from container_kit._spec.ids import ContainerId
from container_kit._spec.lifecycle import Action, check_transition
from container_kit._spec.options import ProcessOptions, parse_process_options
from container_kit._spec.stats import Stats
from container_kit._state import journal, records
from container_kit._state.container_record import Phase
from container_kit.completed import Completed
from container_kit.engine import Engine
from container_kit.errors import ContainerNotFoundError, InvalidSpecError, InvalidTransitionError, StorageFullError
from container_kit.process import PIPE, Process

MAX_OUTPUT = 10 << 20
Stream: TypeAlias = int | IO[bytes] | None


class Interior:
    """Processes, output and usage of a container.

    Attributes:
        id: 64 hexadecimal digits.
    """

    def __init__(self, container_id: str, engine: Engine) -> None:
        self.id = container_id
        self._engine = engine

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
            self._site,
            spec,
            init,
            process,
            data=_options.as_bytes(input),
            timeout=timeout,
            limit=max_output,
            begun=lambda: self._note("exec", command=command[0]),
        )
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

    @typed_refusals("cannot start a process in the container")
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
            stdout: `PIPE`, `DEVNULL`, a file or a descriptor.
            stderr: as `stdout`, or `STDOUT`.
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
        """Return its processes, as the host sees them; also of a paused container."""
        while True:
            subject = self._subject(self._examined())
            found = list_processes(subject.group, subject.init)
            if found is not None:
                return found

    def stats(self) -> Stats:
        """Return what it uses right now; one reading, well below a millisecond for a small container.

        `cpu_percent` is about the time since the reading before, by any object of the same engine.

        Raises:
            InvalidTransitionError: it does not run.
        """
        while True:
            subject = self._subject(self._examined())
            reading = read_stats(subject, self._site.cpu_clock)
            if reading is not None:
                return reading

    def stats_stream(self, interval: float = 1.0) -> Iterator[Stats]:
        """Yield a reading at once and then one every `interval` seconds, until it ends.

        `cpu_percent` is about the time since the reading before in this stream. While a restart policy waits to start
        it again there are no readings. The iterator's end comes with the container's; it can be closed at any time.

        Args:
            interval: seconds.

        Raises:
            InvalidTransitionError: it does not run.
        """
        interval = check_seconds(interval, "interval")
        subject = self._subject(self._examined())
        return stream_stats(subject.monitor, self._subject_if_running, interval)

    def listening_ports(self) -> frozenset[int]:
        """Return the TCP ports on which something in it listens; none while it does not run."""
        init = self._look().init
        return frozenset() if init is None else listening_ports(init)

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
            since: only lines from then on (aware).
            until: only lines up to then (aware).
            stdout: whether standard output is wanted.
            stderr: whether standard error is wanted.
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

    @property
    def _site(self) -> Site:
        return self._engine.site

    def _look(self) -> Look:
        return status.find(self._site, self.id)

    def _running(self, action: Action) -> tuple[launch.Specification, ProcessId]:
        # The monitor's word is enough: what has changed since, it says when it is asked.
        record = records.get(self._site.database, self.id)
        state = read_state(self._site.home.state_file(record.id))
        if record.phase is Phase.STARTED and state is not None and str(state.monitor) == record.monitor:
            init = state.running_init
            if init is not None:
                return _start.specification_of(self._site, record), init
        seen = self._look()
        check_transition(action, seen.status, seen.record.name)
        assert seen.state is not None
        if seen.is_launching:
            wake_monitor(seen.state)
            raise InvalidTransitionError(action=action.value, status="being started", container=seen.record.name)
        assert seen.init is not None
        return _start.specification_of(self._site, seen.record), seen.init

    def _examined(self) -> Look:
        seen = self._look()
        check_transition(Action.EXAMINE, seen.status, seen.record.name)
        return seen

    def _subject(self, seen: Look) -> Subject:
        assert seen.init is not None
        assert seen.state is not None
        return Subject(
            init=seen.init,
            monitor=seen.state.monitor,
            group=self._site.cgroup_of(seen.record),
            has_own_network=seen.record.config.network != "host",
        )

    def _subject_if_running(self) -> Subject | None:
        try:
            seen = self._look()
        except ContainerNotFoundError:
            return None
        return None if seen.init is None else self._subject(seen)

    def _note(self, action: str, **attributes: str) -> None:
        name = records.name_of(self._site.database, ContainerId(self.id))
        if name is None:
            return
        try:
            journal.append(self._site.database, ContainerId(self.id), name, action, **attributes)
        except StorageFullError:
            pass  # what was done counts more than the word about it
