"""What a monitor says about its container: the state file, and what a run came to.

The file is written by the monitor only, as a whole, by rename, but for one byte; the format
is in docs/design.md. Reading it is a matter of microseconds and needs no lock.
"""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime

import attrs

from container_kit._linux.processes import ProcessId
from container_kit._runtime.messages import Message
from container_kit._state.container_record import ExitRecord


@attrs.frozen(kw_only=True)
class Usage:
    """What a finished run used: CPU seconds in user and system mode, largest resident set in bytes (getrusage(2))."""

    user_seconds: float = 0.0
    system_seconds: float = 0.0
    max_rss_bytes: int = 0

    @classmethod
    def of(cls, user_us: int, system_us: int, max_rss_kib: int) -> Usage:
        """Convert from the units of the monitor."""
        return cls(user_seconds=user_us / 1e6, system_seconds=system_us / 1e6, max_rss_bytes=max_rss_kib << 10)


@attrs.frozen(kw_only=True)
class MonitorState:
    """One reading of the state file.

    Attributes:
        launched: its command has been executed. Until then `init` is the monitor's own code in the host's tree:
            nobody may enter its namespaces.
    """

    phase: str
    monitor: ProcessId
    launched: bool = True
    init: ProcessId | None = None
    ended: ExitRecord | None = None
    started_at: datetime | None = None
    restarts: int = 0
    health: str = "none"
    failing: int = 0

    @property
    def running_init(self) -> ProcessId | None:
        """The container's PID 1 once it has executed the command; it may have ended since."""
        return self.init if self.phase == "running" and self.launched else None


def exit_code_of(wait_status: int) -> int:
    """Return the exit code as shells and Docker write it: 128 + n for death by signal n (wait(2))."""
    code = os.waitstatus_to_exitcode(wait_status)
    return code if code >= 0 else 128 - code


def ended_by(message: Message) -> ExitRecord:
    """Return the record of an EXITED message."""
    return ExitRecord(
        wait_status=message.value,
        flags=message.flags,
        finished_ns=time.time_ns(),
        usage=(message.a, message.b, message.c),
    )


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
    ended: ExitRecord | None = None
    if values.get("status"):
        ended = ExitRecord(
            wait_status=int(values["status"]),
            flags=int(values.get("flags", "0")),
            started_ns=int(values.get("started", "0")),
            finished_ns=int(values.get("finished", "0")),
            restarts=int(values.get("restarts", "0")),
            usage=_usage(values.get("usage")),
            reason=_reason(values.get("error")),
        )
    return MonitorState(
        phase=values.get("phase", "exited"),
        monitor=ProcessId.parse(values["monitor"]),
        launched=values.get("launched") != "0",
        init=ProcessId.parse(values["init"]) if values.get("init") else None,
        ended=ended,
        started_at=time_of(int(values.get("started", "0"))),
        restarts=int(values.get("restarts", "0")),
        health=values.get("health", "none"),
        failing=int(values.get("failing", "0")),
    )


def time_of(ns: int) -> datetime | None:
    """Return a time as an aware datetime; None for 0, which means never."""
    return datetime.fromtimestamp(ns / 1e9, UTC) if ns else None


def _usage(text: str | None) -> tuple[int, int, int]:
    user, system, rss = (int(word) for word in (text or "0 0 0").split())
    return user, system, rss


def _reason(text: str | None) -> str:
    return f"could not be restarted: {os.strerror(int(text.split()[1]))}" if text else ""
