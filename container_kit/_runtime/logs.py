"""Reading a container's log: CRI lines in `log`, older ones in `log.1`, `log.2` and so on.

The monitor writes and rotates; any number of readers follow along without it. A record
ends at a newline of the container's output or where a long line was cut (`P`).
Format: docs/design.md.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import attrs

_TIMESTAMP = re.compile(rb"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)\.(\d{9})Z")
_CHUNK = 1 << 16


@attrs.frozen(kw_only=True)
class LogLine:
    """One line of output, without its newline; `partial` when the container has not ended it (yet)."""

    time: datetime
    stream: str
    data: bytes
    partial: bool = False

    @property
    def text(self) -> str:
        """The line as text; bytes that are not UTF-8 are replaced."""
        return self.data.decode("utf-8", "replace")

    def __str__(self) -> str:
        return self.text


@attrs.frozen(kw_only=True)
class LogFilter:
    """Which lines a reader wants."""

    stdout: bool = True
    stderr: bool = True
    since: datetime | None = None
    until: datetime | None = None

    def accepts(self, line: LogLine) -> bool:
        """Say whether the line passes."""
        if not (self.stdout if line.stream == "stdout" else self.stderr):
            return False
        if self.since is not None and line.time < self.since:
            return False
        return self.until is None or line.time <= self.until


class RecordJoiner:
    """Turns raw records into lines: pieces of a long line are joined, per stream."""

    def __init__(self) -> None:
        self._pieces: dict[str, LogLine] = {}

    def feed(self, record: bytes) -> LogLine | None:
        """Take one record without its newline; return the line it completes, if any."""
        line = parse_record(record)
        if line is None:
            return None
        begun = self._pieces.pop(line.stream, None)
        if begun is not None:
            line = attrs.evolve(line, time=begun.time, data=begun.data + line.data)
        if line.partial and len(line.data) < _MAX_JOINED:
            self._pieces[line.stream] = line
            return None
        return line

    def rest(self) -> list[LogLine]:
        """Return lines that were begun and never ended, oldest first."""
        lines = sorted(self._pieces.values(), key=lambda line: line.time)
        self._pieces.clear()
        return lines


_MAX_JOINED = 1 << 20


def parse_record(record: bytes) -> LogLine | None:
    """Parse one CRI record; None when it is torn or foreign."""
    head, _, rest = record.partition(b" ")
    match = _TIMESTAMP.fullmatch(head)
    stream, _, rest = rest.partition(b" ")
    tag, _, data = rest.partition(b" ")
    if match is None or stream not in (b"stdout", b"stderr") or tag not in (b"F", b"P"):
        return None
    year, month, day, hour, minute, second, nanosecond = (int(group) for group in match.groups())
    time = datetime(year, month, day, hour, minute, second, nanosecond // 1000, UTC)
    return LogLine(time=time, stream=stream.decode(), data=data, partial=tag == b"P")


def log_files(container_dir: str) -> list[str]:
    """Return the log's files that exist, oldest first."""
    numbered = sorted(
        (int(name[4:]) for name in _names(container_dir) if name.startswith("log.") and name[4:].isdigit()),
        reverse=True,
    )
    paths = [f"{container_dir}/log.{number}" for number in numbered]
    return [*paths, f"{container_dir}/log"]


def read_lines(container_dir: str, wanted: LogFilter) -> Iterator[LogLine]:
    """Yield the lines that are there now, oldest first."""
    joiner = RecordJoiner()
    for path in log_files(container_dir):
        for record in _records(path):
            line = joiner.feed(record)
            if line is not None and wanted.accepts(line):
                yield line
    yield from (line for line in joiner.rest() if wanted.accepts(line))


def tail_lines(container_dir: str, count: int, wanted: LogFilter) -> list[LogLine]:
    """Return the last `count` lines, reading only as far back as needed."""
    records: list[bytes] = []
    complete = 0
    for record in _all_backwards(container_dir):
        records.append(record)
        line = parse_record(record)
        complete += line is not None and not line.partial and wanted.accepts(line)
        if complete > count:  # one more than asked for: the oldest wanted line has all its pieces
            break
    return _join_tail(records, count, wanted)


def follow_lines(
    container_dir: str, wanted: LogFilter, tail: int | None, pause: Callable[[], bool]
) -> Iterator[LogLine]:
    """Yield lines and go on with new ones.

    Args:
        container_dir: where the log is.
        wanted: which lines; following ends at the first line after `until`.
        tail: begin with that many of the present lines; None: with all.
        pause: waits a little for more; False says that nothing more will be written.
    """
    reader = _Follower(container_dir)
    try:
        if tail is not None:
            yield from tail_lines(container_dir, tail, wanted)
            reader.skip_to_end()
        live = True
        while live:
            live = pause()
            for line in reader.new_lines():
                if wanted.until is not None and line.time > wanted.until:
                    return
                if wanted.accepts(line):
                    yield line
        yield from (line for line in reader.rest() if wanted.accepts(line))
    finally:
        reader.close()


class _Follower:
    """Keeps a place in the live file and follows it through rotation by inode."""

    def __init__(self, container_dir: str) -> None:
        self._directory = container_dir
        self._joiner = RecordJoiner()
        self._buffer = b""
        self._fd = -1
        self._pending = log_files(container_dir)

    def skip_to_end(self) -> None:
        """Forget what is there now, except for the beginning of a line that is not ended."""
        for _ in self.new_lines():
            pass

    def new_lines(self) -> Iterator[LogLine]:
        while True:
            if self._fd < 0 and not self._open_next():
                return
            yield from self._drain()
            if not self._was_rotated():
                return
            yield from self._drain()  # what was written between the last read and the rotation
            self._leave_file()

    def rest(self) -> list[LogLine]:
        return self._joiner.rest()

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _drain(self) -> Iterator[LogLine]:
        while data := os.read(self._fd, _CHUNK):
            *records, self._buffer = (self._buffer + data).split(b"\n")
            for record in records:
                line = self._joiner.feed(record)
                if line is not None:
                    yield line

    def _open_next(self) -> bool:
        while self._pending:
            path = self._pending.pop(0)
            try:
                self._fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
            except FileNotFoundError:
                continue
            return True
        return False

    def _was_rotated(self) -> bool:
        if self._pending:
            return True
        try:
            live = os.stat(f"{self._directory}/log")
        except FileNotFoundError:
            return False
        return live.st_ino != os.fstat(self._fd).st_ino

    def _leave_file(self) -> None:
        if not self._pending:
            self._pending = self._files_after_current()
        self.close()

    def _files_after_current(self) -> list[str]:
        inode = os.fstat(self._fd).st_ino
        paths = log_files(self._directory)
        for index, path in enumerate(paths):
            try:
                if os.stat(path).st_ino == inode:
                    return paths[index + 1 :]
            except FileNotFoundError:
                continue
        return paths  # rotated away entirely while we slept: all that is left is newer


def _names(directory: str) -> list[str]:
    try:
        return os.listdir(directory)
    except FileNotFoundError:
        return []


def _records(path: str) -> Iterator[bytes]:
    try:
        file = open(path, "rb", opener=_open_log)  # noqa: SIM115  # closed by the with below; the try is for open alone
    except FileNotFoundError:
        return
    with file:
        for record in file:
            if record.endswith(b"\n"):
                yield record[:-1]


def _all_backwards(container_dir: str) -> Iterator[bytes]:
    for path in reversed(log_files(container_dir)):
        yield from _records_backwards(path)


def _records_backwards(path: str) -> Iterator[bytes]:
    try:
        fd = _open_log(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    with open(fd, "rb", buffering=0) as file:
        position = file.seek(0, os.SEEK_END)
        rest = b""
        while position:
            step = min(_CHUNK, position)
            position -= step
            chunk = os.pread(fd, step, position) + rest
            rest, *records = chunk.split(b"\n")
            for record in reversed(records):
                if record:
                    yield record
        if rest:
            yield rest


def _open_log(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW)


def _join_tail(records: list[bytes], count: int, wanted: LogFilter) -> list[LogLine]:
    joiner = RecordJoiner()
    lines = [line for record in reversed(records) if (line := joiner.feed(record))]
    lines += joiner.rest()
    accepted = [line for line in lines if wanted.accepts(line)]
    return accepted[-count:] if count else []
