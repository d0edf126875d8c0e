"""What a container uses right now, and what runs in it: one look at the cgroup and /proc.

Where the cgroup has no memory or pids controller (a hybrid host), the same is added up
from the processes themselves; a field that neither can give is None.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime

import attrs

from container_kit._linux import cgroup, processes
from container_kit._runtime.site import Site

_PAGE = os.sysconf("SC_PAGE_SIZE")
_TICK = os.sysconf("SC_CLK_TCK")
_STATES = {"R": "running", "S": "sleeping", "D": "waiting", "T": "stopped", "t": "traced", "Z": "zombie", "I": "idle"}


@attrs.frozen(kw_only=True)
class Stats:
    """A reading of what a container uses.

    Attributes:
        read_at: when.
        pids: number of processes.
        cpu_seconds: CPU time used so far, user and system.
        memory_bytes: memory in use; with the memory controller what it charges, else the resident sets.
        memory_peak_bytes: the most it ever used, where the controller says so.
    """

    read_at: datetime
    pids: int
    cpu_seconds: float
    memory_bytes: int
    memory_peak_bytes: int | None = None


@attrs.frozen(kw_only=True)
class ProcessInfo:
    """One process of a container, as the host sees it.

    Attributes:
        pid: on the host. inner_pid: in the container.
        ppid: of the parent, on the host.
        uid: on the host.
        state: in words.
        cpu_seconds: CPU time used. rss_bytes: resident memory.
        command: its command line, or its name in brackets.
    """

    pid: int
    inner_pid: int
    ppid: int
    uid: int
    state: str
    cpu_seconds: float
    rss_bytes: int
    command: str


def read_stats(site: Site, container_id: str, init_pid: int) -> Stats:
    """Return what a running container uses."""
    path = site.cgroup_of(container_id) or ""
    listed = list_processes(site, container_id, init_pid)
    usage = cgroup.read_values(path, "cpu.stat").get("usage_usec")
    memory = cgroup.read_number(path, "memory.current")
    return Stats(
        read_at=datetime.now(UTC),
        pids=len(listed),
        cpu_seconds=sum(one.cpu_seconds for one in listed) if usage is None else usage / 1e6,
        memory_bytes=sum(one.rss_bytes for one in listed) if memory is None else memory,
        memory_peak_bytes=cgroup.read_number(path, "memory.peak"),
    )


def list_processes(site: Site, container_id: str, init_pid: int) -> tuple[ProcessInfo, ...]:
    """Return the processes of a running container, by pid."""
    path = site.cgroup_of(container_id)
    pids = cgroup.pids(path) if path is not None and cgroup.exists(path) else _in_namespace_of(init_pid)
    return tuple(info for pid in pids if (info := _read_process(pid)) is not None)


def listening_ports(init_pid: int) -> frozenset[int]:
    """Return the TCP ports on which something listens in a process's network namespace (proc_net(5))."""
    ports: set[int] = set()
    for table in ("tcp", "tcp6"):
        try:
            with open(f"/proc/{init_pid}/net/{table}", encoding="ascii") as file:
                rows = [line.split() for line in file][1:]
        except OSError:
            continue
        ports.update(int(row[1].rpartition(":")[2], 16) for row in rows if row[3] == "0A")
    return frozenset(ports)


def _in_namespace_of(init_pid: int) -> list[int]:
    # Without a cgroup: init and its descendants, and what was executed into its pid namespace.
    try:
        namespace = os.stat(f"/proc/{init_pid}/ns/pid").st_ino
    except OSError:
        return []
    found: list[int] = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                if os.stat(f"/proc/{name}/ns/pid").st_ino == namespace:
                    found.append(int(name))
            except OSError:
                continue
    return sorted(found)


def _read_process(pid: int) -> ProcessInfo | None:
    stat = processes.read_stat(pid)
    if stat is None:
        return None
    try:
        status = _read_status(pid)
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            command = file.read(4096).rstrip(b"\0").replace(b"\0", b" ").decode("utf-8", "replace")
    except OSError:
        return None
    return ProcessInfo(
        pid=pid,
        inner_pid=int(status.get("NSpid", str(pid)).split()[-1]),
        ppid=int(stat[1]),
        uid=int(status["Uid"].split()[0]),
        state=_STATES.get(stat[0].decode(), stat[0].decode()),
        cpu_seconds=(int(stat[11]) + int(stat[12])) / _TICK,
        rss_bytes=int(stat[21]) * _PAGE,
        command=command or f"[{status['Name']}]",
    )


def _read_status(pid: int) -> dict[str, str]:
    with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as file:
        return {key: value.strip() for key, _, value in (line.partition(":") for line in file)}
