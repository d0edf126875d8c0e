"""Readings of what a container uses: one look at its cgroup's files, and a stream of such looks.

Where the cgroup has no memory or pids controller (a hybrid host), or where there is no
cgroup, the same is added up from the processes themselves; what neither can give is None.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import attrs

from container_kit._linux import processes
from container_kit._linux.processes import ProcessId
from container_kit._linux.usage_files import UsageFiles, parse_devices, parse_interfaces
from container_kit._runtime.cpu_clock import CpuClock
from container_kit._runtime.top import find_pids, read_use
from container_kit._spec.stats import InterfaceTraffic, Stats


@attrs.frozen(kw_only=True)
class Subject:
    """What is read.

    Attributes:
        init: the container's PID 1.
        monitor: it ends when the container does.
        group: the directory of its cgroup, whether or not it exists; None where there are none.
        has_own_network: False when it has the host's network.
    """

    init: ProcessId
    monitor: ProcessId
    group: str | None
    has_own_network: bool


@attrs.frozen
class _Basics:
    """What is always known."""

    pids: int
    memory_bytes: int
    user_seconds: float
    system_seconds: float
    cpu_seconds: float


def read_stats(subject: Subject, clock: CpuClock) -> Stats | None:
    """Return what a running container uses; None when it turns out to have ended.

    Args:
        subject: the container.
        clock: knows the reading before.
    """
    with UsageFiles(subject.group) as files:
        times = files.counters("cpu.stat")
        basics = _basics(subject, files, times)
        memory, events = files.counters("memory.stat"), files.counters("memory.events")
        devices = files.read("io.stat")
        reading = Stats(
            read_at=datetime.now(UTC),
            pids=basics.pids,
            pids_limit=files.number("pids.max"),
            cpu_seconds=basics.cpu_seconds,
            cpu_user_seconds=basics.user_seconds,
            cpu_system_seconds=basics.system_seconds,
            cpu_periods=times.get(b"nr_periods"),
            cpu_throttled_periods=times.get(b"nr_throttled"),
            cpu_throttled_seconds=times[b"throttled_usec"] / 1e6 if b"throttled_usec" in times else None,
            memory_bytes=basics.memory_bytes,
            memory_peak_bytes=files.number("memory.peak"),
            memory_limit_bytes=files.number("memory.max"),
            memory_anon_bytes=memory.get(b"anon"),
            memory_file_bytes=memory.get(b"file"),
            memory_socket_bytes=memory.get(b"sock"),
            memory_swap_bytes=files.number("memory.swap.current"),
            oom_kills=events.get(b"oom_kill"),
            devices=None if devices is None else parse_devices(devices),
            interfaces=_interfaces(subject),
            cpu_pressure=files.pressure("cpu.pressure"),
            memory_pressure=files.pressure("memory.pressure"),
            io_pressure=files.pressure("io.pressure"),
        )
    if not processes.is_alive(subject.init):  # half of it may be of nobody, or of somebody else
        return None
    return attrs.evolve(reading, cpu_percent=clock.percent(subject.init, basics.cpu_seconds))


def stream_stats(monitor: ProcessId, look: Callable[[], Subject | None], interval: float) -> Iterator[Stats]:
    """Yield a reading now and then one every `interval` seconds, until the monitor ends.

    Args:
        monitor: the container's monitor.
        look: says what to read; None while nothing runs, as between two tries of a restart policy.
        interval: seconds. A reader that takes longer gets the next one at once.
    """
    pidfd = processes.open_process(monitor)
    if pidfd is None:
        return
    clock = CpuClock()
    due = time.monotonic()
    try:
        while True:
            subject = look()
            reading = None if subject is None else read_stats(subject, clock)
            if reading is not None:
                yield reading
            due = max(due + interval, time.monotonic())
            if processes.wait_readable(pidfd, due):
                return
    finally:
        os.close(pidfd)


def _basics(subject: Subject, files: UsageFiles, times: dict[bytes, int]) -> _Basics:
    tasks, memory = files.number("pids.current"), files.number("memory.current")
    if tasks is None or memory is None or not times:
        uses = [use for pid in find_pids(subject.group, subject.init.pid) if (use := read_use(pid)) is not None]
        tasks = sum(use.threads for use in uses) if tasks is None else tasks
        memory = sum(use.rss_bytes for use in uses) if memory is None else memory
        if not times:
            user, system = sum(use.user_seconds for use in uses), sum(use.system_seconds for use in uses)
            return _Basics(tasks, memory, user, system, user + system)
    user, system, both = (times.get(key, 0) / 1e6 for key in (b"user_usec", b"system_usec", b"usage_usec"))
    return _Basics(tasks, memory, user, system, both)


def _interfaces(subject: Subject) -> tuple[InterfaceTraffic, ...] | None:
    if not subject.has_own_network:
        return None
    with UsageFiles(f"/proc/{subject.init.pid}/net") as files:
        table = files.read("dev")
    return None if table is None else parse_interfaces(table)
