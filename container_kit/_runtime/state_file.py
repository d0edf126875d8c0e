"""What a monitor says about its container: the state file, and what a run came to.

The file is written by the monitor only, as a whole, by rename; the format is in
docs/design.md. Reading it is a matter of microseconds and needs no lock.
"""

from __future__ import annotations

import os
import signal
from datetime import UTC, datetime

import attrs

from container_kit._linux.processes import ProcessId
from container_kit._runtime.messages import ExitFlag


@attrs.frozen(kw_only=True)
class Usage:
    """What a finished run used: CPU seconds in user and system mode, largest resident set in bytes (getrusage(2))."""

    user_seconds: float = 0.0
    system_seconds: float = 0.0
    max_rss_bytes: int = 0


@attrs.frozen(kw_only=True)
class Exit:
    """How the last run ended."""

    code: int
    flags: ExitFlag = ExitFlag.NONE
    finished_at: datetime | None = None
    started_at: datetime | None = None
    restarts: int = 0
    usage: Usage = Usage()
    error: str = ""

    @property
    def oom_killed(self) -> bool:
        """True when the kernel killed a process of the run for lack of memory."""
        return ExitFlag.OOM in self.flags


@attrs.frozen(kw_only=True)
class MonitorState:
    """One reading of the state file."""

    phase: str
    monitor: ProcessId
    init: ProcessId | None = None
    exit: Exit | None = None
    started_at: datetime | None = None
    restarts: int = 0
    health: str = "none"
    failing: int = 0


def exit_code_of(wait_status: int) -> int:
    """Return the exit code as shells and Docker write it: 128 + n for death by signal n (wait(2))."""
    code = os.waitstatus_to_exitcode(wait_status)
    return code if code >= 0 else 128 - code


def read_state(path: str) -> MonitorState | None:
    """Read a state file; None when there is none."""
    try:
        fd = os.open(path, os.O_RDONLY)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        text = os.read(fd, 8192).decode("ascii", "replace")
    finally:
        os.close(fd)
    return parse_state(text)


def parse_state(text: str) -> MonitorState | None:
    """Parse the text of a state file; None when it says nothing."""
    values = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    if "monitor" not in values:
        return None
    started_at = _time(values.get("started"))
    restarts = int(values.get("restarts", "0"))
    exit_: Exit | None = None
    if values.get("status"):
        exit_ = Exit(
            code=exit_code_of(int(values["status"])),
            flags=ExitFlag(int(values.get("flags", "0"))),
            finished_at=_time(values.get("finished")),
            started_at=started_at,
            restarts=restarts,
            usage=_usage(values.get("usage")),
            error=_error(values.get("error")),
        )
    return MonitorState(
        phase=values.get("phase", "exited"),
        monitor=ProcessId.parse(values["monitor"]),
        init=ProcessId.parse(values["init"]) if values.get("init") else None,
        exit=exit_,
        started_at=started_at,
        restarts=restarts,
        health=values.get("health", "none"),
        failing=int(values.get("failing", "0")),
    )


def encode_exit(exit_: Exit) -> str:
    """Return the JSON that the database keeps."""
    import json

    return json.dumps(
        {
            "code": exit_.code,
            "flags": int(exit_.flags),
            "finished_at": exit_.finished_at.timestamp() if exit_.finished_at else None,
            "started_at": exit_.started_at.timestamp() if exit_.started_at else None,
            "restarts": exit_.restarts,
            "usage": [exit_.usage.user_seconds, exit_.usage.system_seconds, exit_.usage.max_rss_bytes],
            "error": exit_.error,
        }
    )


def decode_exit(text: str) -> Exit:
    """Return what `encode_exit` was given."""
    import json

    fields = json.loads(text)
    user, system, rss = fields["usage"]
    return Exit(
        code=fields["code"],
        flags=ExitFlag(fields["flags"]),
        finished_at=_from_timestamp(fields["finished_at"]),
        started_at=_from_timestamp(fields["started_at"]),
        restarts=fields["restarts"],
        usage=Usage(user_seconds=user, system_seconds=system, max_rss_bytes=rss),
        error=fields["error"],
    )


def _from_timestamp(value: float | None) -> datetime | None:
    return None if value is None else datetime.fromtimestamp(value, UTC)


def _time(text: str | None) -> datetime | None:
    return datetime.fromtimestamp(int(text) / 1e9, UTC) if text else None


def _usage(text: str | None) -> Usage:
    if not text:
        return Usage()
    user, system, rss = (int(word) for word in text.split())
    return Usage(user_seconds=user / 1e6, system_seconds=system / 1e6, max_rss_bytes=rss * 1024)


def _error(text: str | None) -> str:
    if not text:
        return ""
    _, number, _ = text.split()
    return f"could not be restarted: {os.strerror(int(number))}"


def describe_signal(code: int) -> str:
    """Say in words what an exit code above 128 most likely means, or return an empty string."""
    try:
        return f"killed by {signal.Signals(code - 128).name}" if code > 128 else ""
    except ValueError:
        return ""
