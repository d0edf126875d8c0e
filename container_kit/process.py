"""A process in a container, held by its streams: what `Container.spawn` and `Container.attach` return.

The vocabulary is `subprocess.Popen`'s, with an event iterator that keeps stdout and stderr
apart and never loses the exit code. A tty has one stream for both.
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import IO, Protocol, Self, TypeAlias

import attrs

from container_kit._runtime.session import Ending
from container_kit._runtime.state_file import Usage
from container_kit._spec.container_config import check_tty_size
from container_kit._spec.healthcheck import check_timeout
from container_kit._spec.signals import parse_signal
from container_kit.errors import WaitTimeoutError

PIPE = subprocess.PIPE
DEVNULL = subprocess.DEVNULL
STDOUT = subprocess.STDOUT

_CHUNK = 1 << 16
_LONGEST_POLL_MS = 2**31 - 1  # poll(2)
_LAST_READS = 64  # a pipe holds one chunk, a terminal gives a few KiB a read


@attrs.frozen
class Stdout:
    """A piece of standard output, as it came; for a tty, of its one output."""

    data: bytes


@attrs.frozen
class Stderr:
    """A piece of standard error, as it came."""

    data: bytes


@attrs.frozen
class Exited:
    """The process has ended; nothing comes after this."""

    returncode: int


Event: TypeAlias = Stdout | Stderr | Exited


class Conversation(Protocol):
    """What stands behind a process: an exec session, or an attachment to a container's own process."""

    def fileno(self) -> int:
        """Return a descriptor that becomes readable when the process has ended."""
        ...

    def poll(self, deadline: float | None = 0.0) -> Ending | None:
        """Return how it ended, waiting until `deadline` (monotonic seconds)."""
        ...

    def signal(self, number: int) -> None:
        """Send a signal to the process."""
        ...

    def kill_tree(self) -> None:
        """Kill it and everything it started."""
        ...

    def close(self) -> None:
        """End the conversation."""
        ...


class Process:
    """A process in a container.

    Attributes:
        args: the command.
        stdin: binary, unbuffered; None unless asked for.
        stdout, stderr: binary, unbuffered; None where they went elsewhere. With a tty, `stdout` has both.

    Leaving its `with` block ends a process made by `spawn`, with everything it started; for an
    attachment it only detaches.
    """

    def __init__(
        self,
        args: Sequence[str],
        session: Conversation,
        *,
        stdin: int = -1,
        stdout: int = -1,
        stderr: int = -1,
        terminal: int = -1,
        end_stdin: Callable[[], None] | None = None,
    ) -> None:
        self.args = tuple(args)
        self._session = session
        self._terminal = terminal
        self._end_stdin = end_stdin
        self.stdin: IO[bytes] | None = _open(stdin, "wb")
        self.stdout: IO[bytes] | None = _open(stdout, "rb")
        self.stderr: IO[bytes] | None = _open(stderr, "rb")

    @classmethod
    def on_terminal(cls, args: Sequence[str], session: Conversation, master: int, *, output: int = -1) -> Process:
        """Return a process whose streams are a terminal.

        Args:
            args: the command.
            session: what stands behind it.
            master: the terminal's master, owned from now on.
            output: where its output comes from if not from the master itself, owned from now on.
        """
        reader = output if output >= 0 else os.dup(master)
        return cls(args, session, stdin=os.dup(master), stdout=reader, terminal=master)

    @property
    def returncode(self) -> int | None:
        """The exit code, 128 + n after signal n; None while the process runs."""
        result = self._session.poll()
        return None if result is None else result.code

    @property
    def usage(self) -> Usage:
        """What the process has used; all zero while it runs."""
        result = self._session.poll()
        return Usage() if result is None else result.usage

    def poll(self) -> int | None:
        """Return `returncode`, as `subprocess.Popen.poll` does."""
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end and return the exit code. Does not read the streams: a full pipe holds the process.

        Raises:
            WaitTimeoutError: `timeout` seconds passed; the process goes on.
        """
        result = self._session.poll(None if timeout is None else time.monotonic() + timeout)
        if result is None:
            raise WaitTimeoutError(waiting_for=f"process {list(self.args)} to end", timeout=timeout or 0.0)
        return result.code

    def send_signal(self, number: int | str) -> None:
        """Send a signal to the process alone; one that has ended is left alone."""
        self._session.signal(parse_signal(number))

    def terminate(self) -> None:
        """Send SIGTERM to the process."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Kill the process and everything it has started, also what made itself a session of its own."""
        self._session.kill_tree()

    def close_stdin(self) -> None:
        """Let the process see the end of its stdin."""
        if self.stdin is not None:
            self.stdin.close()
        if self._end_stdin is not None:
            self._end_stdin()

    def resize(self, rows: int, columns: int) -> None:
        """Set the size of the process's terminal; without a tty nothing happens.

        Raises:
            InvalidSpecError: a side is not 1 to 65535.
        """
        check_tty_size((rows, columns))
        if self._terminal >= 0:
            fcntl.ioctl(self._terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def events(self, idle_timeout: float | None = None) -> Iterator[Event]:
        """Yield output as it comes, and `Exited` at last.

        Args:
            idle_timeout: give up when nothing happens for so many seconds.

        Raises:
            WaitTimeoutError: nothing happened for `idle_timeout` seconds.
        """
        idle = check_timeout(idle_timeout)
        return self._events(lambda: idle)

    def _events(self, patience: Callable[[], float | None]) -> Iterator[Event]:
        """Yield as `events`; `patience` says, each time, for how many seconds to wait at most."""
        streams = {stream.fileno(): kind for stream, kind in ((self.stdout, Stdout), (self.stderr, Stderr)) if stream}
        poller = select.poll()
        for fd in (*streams, self._session.fileno()):
            poller.register(fd, select.POLLIN)
        while True:
            seconds = patience()
            ready = poller.poll(None if seconds is None else min(max(0.0, seconds * 1000), _LONGEST_POLL_MS))
            if not ready:
                raise WaitTimeoutError(waiting_for=f"output of {list(self.args)}", timeout=seconds or 0.0)
            for fd in [fd for fd, _ in ready if fd in streams]:
                data = _read(fd)
                if data:
                    yield streams[fd](data)
                else:
                    poller.unregister(fd)
                    del streams[fd]
            if any(fd == self._session.fileno() for fd, _ in ready) and (result := self._session.poll()) is not None:
                yield from self._last_output(streams)
                yield Exited(result.code)
                return

    def communicate(self, data: bytes | None = None, timeout: float | None = None) -> tuple[bytes, bytes]:
        """Feed stdin, collect what comes until the end, and return (stdout, stderr).

        Raises:
            WaitTimeoutError: `timeout` seconds passed before the end; the process goes on.
        """
        limit = check_timeout(timeout)
        deadline = None if limit is None else time.monotonic() + limit
        feeder = _Feeder(self.stdin, data or b"", self.close_stdin)
        output: dict[type[Stdout | Stderr], bytearray] = {Stdout: bytearray(), Stderr: bytearray()}
        with feeder:
            for event in self._events(lambda: None if deadline is None else deadline - time.monotonic()):
                if not isinstance(event, Exited):
                    output[type(event)] += event.data
        return bytes(output[Stdout]), bytes(output[Stderr])

    def interact(self, detach_keys: str = "ctrl-p,ctrl-q") -> int | None:
        """Connect the caller's own terminal to the process until it ends, or the detach keys are typed.

        The terminal is in raw mode meanwhile, so Ctrl-C and job control belong to the
        process, and its size follows the caller's.

        Returns:
            The exit code, or None when the user detached.
        """
        from container_kit.interactive import interact

        return interact(self, detach_keys)

    def close(self) -> None:
        """Close the streams and the session: a spawned process ends, an attachment detaches. Idempotent."""
        for stream in (self.stdin, self.stdout, self.stderr):
            if stream is not None:
                stream.close()
        if self._terminal >= 0:
            os.close(self._terminal)
            self._terminal = -1
        self._session.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Process {list(self.args)}>"

    def _last_output(self, streams: dict[int, type[Stdout | Stderr]]) -> Iterator[Event]:
        # What the ended process wrote is in its pipes; others that hold them open are not waited for.
        for fd, kind in streams.items():
            os.set_blocking(fd, False)
            try:
                for _ in range(_LAST_READS):
                    if not (data := _read(fd)):
                        break
                    yield kind(data)
            except BlockingIOError:
                continue


class _Feeder:
    """Writes input in a thread, so that a full pipe on either side cannot stop the other."""

    def __init__(self, stream: IO[bytes] | None, data: bytes, end: Callable[[], None]) -> None:
        import threading

        self._thread = threading.Thread(target=self._feed, args=(stream, data, end), daemon=True) if stream else None

    def __enter__(self) -> None:
        if self._thread:
            self._thread.start()

    def __exit__(self, *_: object) -> None:
        if self._thread:
            self._thread.join(timeout=1)

    @staticmethod
    def _feed(stream: IO[bytes], data: bytes, end: Callable[[], None]) -> None:
        try:
            view = memoryview(data)
            while view:
                view = view[stream.write(view) or 0 :]
            end()
        except OSError:
            return  # the process ended or closed its stdin: it wants no more


def _open(fd: int, mode: str) -> IO[bytes] | None:
    return None if fd < 0 else open(fd, mode, buffering=0)


def _read(fd: int) -> bytes:
    try:
        return os.read(fd, _CHUNK)
    except OSError as err:
        if err.errno == 5:  # EIO: the last process closed the terminal (pty(7))
            return b""
        raise
