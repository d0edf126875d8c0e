"""Processes identified so that a reused pid can never be mistaken for the old one.

A pid alone means nothing once its process may have ended; (pid, start time) does, within
one boot. Source: proc_pid_stat(5), field 22; pidfd_open(2).
"""

from __future__ import annotations

import os
import select
import signal
import time
from typing import Final

import attrs

LONGEST_POLL_MS: Final = 2**31 - 1  # poll(2) counts in an int: 24 days


@attrs.frozen
class ProcessId:
    """A pid and its start time in clock ticks since boot."""

    pid: int
    start_time: int

    @classmethod
    def parse(cls, text: str) -> ProcessId:
        """Read `"pid start_time"`, as the monitor and the database write it."""
        pid, start_time = text.split()
        return cls(int(pid), int(start_time))

    def __str__(self) -> str:
        return f"{self.pid} {self.start_time}"


def read_process_id(pid: int) -> ProcessId | None:
    """Return the identity of a live process, or None when there is none (or only a zombie)."""
    stat = read_stat(pid)
    if stat is None or stat[0] in (b"Z", b"X"):
        return None
    return ProcessId(pid, int(stat[19]))


def own_process_id() -> ProcessId:
    """Return this process's identity."""
    identity = read_process_id(os.getpid())
    assert identity is not None
    return identity


def is_alive(process: ProcessId | None) -> bool:
    """Say whether exactly this process is alive; a zombie is not."""
    return process is not None and read_process_id(process.pid) == process


def open_process(process: ProcessId) -> int | None:
    """Return a pidfd of exactly this process, or None when it is gone. The caller closes it."""
    try:
        pidfd = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return None
    if not is_alive(process):
        os.close(pidfd)
        return None
    return pidfd


def signal_process(process: ProcessId, number: int = signal.SIGKILL) -> bool:
    """Send a signal to exactly this process; False when it is gone."""
    pidfd = open_process(process)
    if pidfd is None:
        return False
    try:
        signal.pidfd_send_signal(pidfd, number)
    except ProcessLookupError:
        return False
    finally:
        os.close(pidfd)
    return True


def wait_gone(process: ProcessId, timeout: float | None = None) -> bool:
    """Wait until exactly this process has ended; False when `timeout` seconds ran out first."""
    pidfd = open_process(process)
    if pidfd is None:
        return True
    try:
        return is_ended(pidfd, timeout)
    finally:
        os.close(pidfd)


def is_ended(pidfd: int, timeout: float | None = 0) -> bool:
    """Say whether a pidfd's process has ended, waiting up to `timeout` seconds (None: for ever)."""
    return wait_readable(pidfd, None if timeout is None else time.monotonic() + timeout)


def wait_readable(fd: int, deadline: float | None) -> bool:
    """Wait until there is something to read; False when the deadline (monotonic seconds, None: never) passed first."""
    poller = select.poll()
    poller.register(fd, select.POLLIN)
    if deadline is None:
        return bool(poller.poll())
    while True:
        left_ms = max(0.0, (deadline - time.monotonic()) * 1000)
        if poller.poll(min(left_ms, LONGEST_POLL_MS)):
            return True
        if left_ms <= LONGEST_POLL_MS:
            return False


def reap(pidfd: int) -> None:
    """Collect a child that has ended; nothing happens when somebody else already did."""
    try:
        os.waitid(os.P_PIDFD, pidfd, os.WEXITED | os.WNOHANG)
    except ChildProcessError:
        pass


def reap_child(process: ProcessId) -> None:
    """Collect exactly this process if it is a child of ours that has ended; else nothing happens."""
    stat = read_stat(process.pid)
    if stat is None or stat[0] != b"Z" or (int(stat[1]), int(stat[19])) != (os.getpid(), process.start_time):
        return
    try:
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG)
    except ChildProcessError:
        pass


def boot_id() -> str:
    """Return this boot's id (random(4)), 32 hex digits."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip().replace("-", "")


def read_stat(pid: int) -> list[bytes] | None:
    """Return the fields of proc_pid_stat(5) after the command name, the state first; None when there is no process."""
    # The name may itself hold spaces and brackets: what counts is the last bracket.
    try:
        fd = os.open(f"/proc/{pid}/stat", os.O_RDONLY)
    except OSError:
        return None
    try:
        data = os.read(fd, 4096)
    except OSError:
        return None
    finally:
        os.close(fd)
    return data[data.rfind(b")") + 2 :].split()
