"""What runs in a container: its processes as the host sees them, and the ports on which they listen.

Source: proc_pid_stat(5), proc_pid_status(5), proc_net(5).
"""

from __future__ import annotations

import os

import attrs

from container_kit._linux import cgroup, processes
from container_kit._linux.processes import ProcessId

_PAGE = os.sysconf("SC_PAGE_SIZE")
_TICK = os.sysconf("SC_CLK_TCK")
_STATES = {"R": "running", "S": "sleeping", "D": "waiting", "T": "stopped", "t": "traced", "Z": "zombie", "I": "idle"}


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


@attrs.frozen(kw_only=True)
class ProcessUse:
    """What one process uses: CPU seconds in user and system mode, resident memory, threads."""

    user_seconds: float
    system_seconds: float
    rss_bytes: int
    threads: int


def find_pids(group: str | None, init_pid: int) -> list[int]:
    """Return the pids of a container, sorted.

    Args:
        group: its cgroup's directory, whether or not it exists; None where there are none.
        init_pid: its PID 1.
    """
    return cgroup.pids(group) if group is not None and cgroup.exists(group) else _in_namespace_of(init_pid)


def list_processes(group: str | None, init: ProcessId) -> tuple[ProcessInfo, ...] | None:
    """Return the processes of a running container, by pid; None when it turns out to have ended.

    Args:
        group: as in `find_pids`.
        init: its PID 1.
    """
    found = tuple(info for pid in find_pids(group, init.pid) if (info := _read_process(pid)) is not None)
    return found if processes.is_alive(init) else None  # what was read may be of another process with this pid


def read_use(pid: int) -> ProcessUse | None:
    """Return what a process uses, or None when it is gone."""
    stat = processes.read_stat(pid)
    return None if stat is None else _use_of(stat)


def listening_ports(init: ProcessId) -> frozenset[int]:
    """Return the TCP ports on which something listens in a container (proc_net(5)); none when it has ended."""
    ports: set[int] = set()
    for table in ("tcp", "tcp6"):
        try:
            with open(f"/proc/{init.pid}/net/{table}", encoding="ascii") as file:
                rows = [line.split() for line in file][1:]
        except OSError:
            continue
        ports.update(int(row[1].rpartition(":")[2], 16) for row in rows if row[3] == "0A")
    return frozenset(ports) if processes.is_alive(init) else frozenset()


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


def _use_of(stat: list[bytes]) -> ProcessUse:
    return ProcessUse(
        user_seconds=int(stat[11]) / _TICK,
        system_seconds=int(stat[12]) / _TICK,
        rss_bytes=int(stat[21]) * _PAGE,
        threads=int(stat[17]),
    )


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
    use = _use_of(stat)
    return ProcessInfo(
        pid=pid,
        inner_pid=int(status.get("NSpid", str(pid)).split()[-1]),
        ppid=int(stat[1]),
        uid=int(status["Uid"].split()[0]),
        state=_STATES.get(stat[0].decode(), stat[0].decode()),
        cpu_seconds=use.user_seconds + use.system_seconds,
        rss_bytes=use.rss_bytes,
        command=command or f"[{status['Name']}]",
    )


def _read_status(pid: int) -> dict[str, str]:
    with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as file:
        return {key: value.strip() for key, _, value in (line.partition(":") for line in file)}
