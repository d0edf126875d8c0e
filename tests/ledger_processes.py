"""Which processes of this machine belong to this test run, for the ledger.

Ours is what descends from the test process, a monitor or file worker that holds something below our directories,
what descends from such a one, and a container's process that lost its monitor. Everything else is foreign: other
test runs may use the same machine at the same time.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import attrs

PROGRAMS = ("ck-monitor", "ck-files")


@attrs.frozen(kw_only=True)
class Process:
    """A process as /proc shows it (proc(5))."""

    pid: int
    parent: int
    started: int
    state: str
    name: str
    command: str
    uid: int
    pid_namespaces: int
    is_monitor: bool

    def describe(self) -> str:
        """Return one line for people."""
        zombie = " (zombie)" if self.state == "Z" else ""
        return f"{self.pid} {self.name!r}{zombie}, child of {self.parent}, uid {self.uid}: {self.command}"


@attrs.frozen
class ProcessTable:
    """All processes at one moment."""

    processes: dict[int, Process]
    directories: tuple[str, ...]

    def ours(self) -> list[Process]:
        """Return the processes of this run, the test process itself excepted."""
        return [process for process in self.processes.values() if self._is_ours(process)]

    def all_foreign(self, pids: Sequence[int]) -> bool:
        """Say whether there are processes and none of them is ours.

        One that came after the reading counts as foreign: should it be ours and stay, the next reading shows it.
        """
        known = [self.processes[pid] for pid in pids if pid in self.processes]
        return bool(pids) and not any(self._is_ours(process) or process.pid == os.getpid() for process in known)

    def namespaces(self) -> dict[str, str]:
        """Return the namespaces of our processes and of the test process: link text → who is in it."""
        pids = [os.getpid(), *(process.pid for process in self.ours())]
        return {link: f"{link} of process {pid}" for pid in reversed(pids) for link in _namespace_links(pid)}

    def _is_ours(self, process: Process) -> bool:
        if process.state == "Z" and process.parent == 1:
            return False  # over; the system's init reaps it when it gets round to it
        above = self._ancestors(process)
        if any(ancestor.pid == os.getpid() for ancestor in above):
            return True
        monitor = next((p for p in (process, *above) if p.is_monitor), None)
        if monitor is not None:
            return self._holds_ours(monitor)
        return process.pid != os.getpid() and process.pid_namespaces > 0 and self._lost_its_monitor(process, above)

    def _ancestors(self, process: Process) -> list[Process]:
        chain: list[Process] = []
        seen = process.pid
        while (parent := self.processes.get(process.parent)) is not None and parent.pid != seen:
            chain.append(parent)
            process = parent
        return chain

    def _holds_ours(self, monitor: Process) -> bool:
        links = _links_of(monitor.pid)
        if not links:  # not readable: monitors are not dumpable
            return monitor.uid == os.geteuid() and _is_within(_cgroup_of(monitor.pid), own_cgroups())
        return any(link.startswith(self.directories) for link in links) if self.directories else False

    def _lost_its_monitor(self, process: Process, above: list[Process]) -> bool:
        """Say whether this is a container's process that the system's init adopted."""
        outermost = [p for p in (process, *above) if p.pid_namespaces > 0][-1]
        if outermost.parent != 1:
            return False
        group = _cgroup_of(process.pid)
        if "/ck-" in group:
            return owned_by_us(group) and _is_within(group, own_cgroups())
        return outermost.uid == os.geteuid()


def read_process_table(directories: Iterable[Path]) -> ProcessTable:
    """Read /proc once; what ends meanwhile is left out."""
    own_depth = _pid_namespaces("self")
    found: dict[int, Process] = {}
    for name in os.listdir("/proc"):
        if name.isdecimal():
            process = _read_process(int(name), own_depth)
            if process is not None:
                found[process.pid] = process
    return ProcessTable(found, tuple(f"{directory}/" for directory in directories))


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def _read_process(pid: int, own_depth: int) -> Process | None:
    stat = _read(f"/proc/{pid}/stat")
    try:
        uid = os.stat(f"/proc/{pid}").st_uid
    except OSError:
        return None
    if not stat:
        return None
    name = stat[stat.index("(") + 1 : stat.rindex(")")]
    fields = stat[stat.rindex(")") + 2 :].split()
    command = _read(f"/proc/{pid}/cmdline").replace("\0", " ").strip()
    said = (name, command.split(" ", 1)[0], _link(f"/proc/{pid}/exe"))
    return Process(
        pid=pid,
        state=fields[0],
        parent=int(fields[1]),
        started=int(fields[19]),
        name=name,
        command=command,
        uid=_real_uid(pid, uid),
        pid_namespaces=_pid_namespaces(str(pid)) - own_depth,
        is_monitor=any(program in text for program in PROGRAMS for text in said),
    )


def cgroup2_mount() -> Path | None:
    """Return where the cgroup v2 tree is mounted."""
    for line in _read("/proc/self/mountinfo").splitlines():
        fields = line.split()
        if fields[fields.index("-") + 1] == "cgroup2":
            return Path(fields[4])
    return None


def _cgroup_of(pid: int) -> str:
    """Return the directory of a process's cgroup v2, or nothing."""
    found = [line[3:] for line in _read(f"/proc/{pid}/cgroup").splitlines() if line.startswith("0::")]
    return f"{cgroup2_mount()}{found[0]}".rstrip("/") if found else ""


def own_cgroups() -> str:
    """Return the topmost cgroup above our own that our user owns: other runs of the same user have another."""
    group = _cgroup_of(os.getpid())
    while group and owned_by_us(os.path.dirname(group)) and _is_within(os.path.dirname(group), str(cgroup2_mount())):
        group = os.path.dirname(group)
    return group


def _is_within(path: str, directory: str) -> bool:
    return f"{path}/".startswith(directory.rstrip("/") + "/")


def owned_by_us(path: str) -> bool:
    """Say whether a path belongs to this process's user: cgroups of other users are those of other runs."""
    try:
        return os.stat(path).st_uid == os.geteuid()
    except OSError:
        return False


def _status_field(pid: str, field: str) -> list[str]:
    for line in _read(f"/proc/{pid}/status").splitlines():
        if line.startswith(f"{field}:"):
            return line.split()[1:]
    return []


def _real_uid(pid: int, owner: int) -> int:
    """Return the uid; the directory's owner is root when the process is not dumpable."""
    uids = _status_field(str(pid), "Uid")
    return int(uids[0]) if uids else owner


def _pid_namespaces(pid: str) -> int:
    return len(_status_field(pid, "NSpid"))


def _link(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""


def _links_of(pid: int) -> list[str]:
    links = [_link(f"/proc/{pid}/cwd"), _link(f"/proc/{pid}/root")]
    try:
        links += [_link(f"/proc/{pid}/fd/{name}") for name in os.listdir(f"/proc/{pid}/fd")]
    except OSError:
        pass
    return [link for link in links if link]


def _namespace_links(pid: int) -> set[str]:
    try:
        names = os.listdir(f"/proc/{pid}/ns")
    except OSError:
        return set()
    return {link for name in names if (link := _link(f"/proc/{pid}/ns/{name}"))}
