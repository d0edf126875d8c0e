"""The leak oracle: what exists in the kernel and on disk before a test must be all that exists after it.

A ledger is a set of entries per kind (mounts, cgroups, processes, namespaces, descriptors, …). Several test runs
may share one machine, so an entry counts only when it is ours; `tests.ledger_processes` decides that for processes,
and everything else that is shared follows from the processes.

Not a tracer: what appears and vanishes between two readings is not seen.
"""

from __future__ import annotations

import gc
import os
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import attrs

from tests.ledger_processes import ProcessTable, own_cgroups, owned_by_us, read_process_table

GRACE = 20.0  # on a busy machine what ends may take its time
PAUSE = 0.02

# Descriptors that a process makes at its first launch and keeps: at most one of each is no leak.
KEPT_FOR_LIFE = ("/memfd:ck-monitor", "/memfd:ck-files", "user:[")
# Kinds of which nothing may be missing afterwards either. Of the others a foreign entry may end at any time.
MAY_NOT_VANISH = frozenset({"mount", "link", "descriptor", "System V object", "firewall rule"})

Entries = Mapping[str, str]


@attrs.frozen
class Ledger:
    """What there is: kind → key → how to describe it."""

    entries: Mapping[str, Entries]

    def difference(self, after: Ledger) -> tuple[str, ...]:
        """Return one sentence for each entry that came or went."""
        return tuple(line for kind in self.entries for line in self._compare(kind, after.entries[kind]))

    def _compare(self, kind: str, after: Entries) -> Iterator[str]:
        before = self.entries[kind]
        new: Entries = {key: text for key, text in after.items() if key not in before}
        if kind == "descriptor":
            new = _without_kept(before, new)
        yield from (f"{kind} left behind: {text}" for text in new.values())
        if kind in MAY_NOT_VANISH:
            yield from (f"{kind} is gone: {text}" for key, text in before.items() if key not in after)


def _without_kept(before: Entries, new: Entries) -> Entries:
    left = dict(new)
    for target in KEPT_FOR_LIFE:
        if not any(target in text for text in before.values()):
            kept = next((key for key, text in left.items() if target in text), None)
            if kept is not None:
                del left[kept]
    return left


def take_ledger(territory: Sequence[Path], watched: Sequence[Path] = (), *, firewall: bool = False) -> Ledger:
    """Read everything once.

    Args:
        territory: Directories that only this run uses; they tell its monitors from those of others.
        watched: Directories in which nothing may be left.
        firewall: Whether to list the rules of nftables too, which takes some 20 ms.
    """
    processes = read_process_table(territory)
    return Ledger(
        {
            "mount": _mounts(),
            "cgroup": _cgroups(processes),
            "process": {f"{p.pid} {p.started}": p.describe() for p in processes.ours()},
            "namespace": processes.namespaces(),
            "link": _links(),
            "descriptor": _descriptors(),
            "thread": _threads(),
            "file": dict(_files([*watched, *_default_places()])),
            "System V object": _system_v(),
            "firewall rule": _firewall() if firewall else {},
        }
    )


def wait_for_balance(before: Ledger, read: Callable[[], Ledger], grace: float = GRACE) -> tuple[str, ...]:
    """Return what still differs after at most `grace` seconds; empty as soon as nothing does."""
    deadline = time.monotonic() + grace
    never = threading.Event()
    while left := before.difference(read()):
        if time.monotonic() >= deadline:
            return left
        gc.collect()  # what only a reference cycle keeps open is not a leak of the library
        never.wait(PAUSE)
    return ()


def _lines(path: str) -> list[str]:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read().splitlines()
    except OSError:
        return []


def _mounts() -> Entries:
    return {line.split(" ", 1)[0]: _describe_mount(line) for line in _lines("/proc/self/mountinfo")}


def _describe_mount(line: str) -> str:
    fields = line.split()
    kind = fields[fields.index("-") + 1]
    return f"{kind} at {fields[4]} ({line})"


def _cgroups(processes: ProcessTable) -> Entries:
    top = own_cgroups()  # empty where there is no cgroup v2 tree: then there is nothing to walk
    found: dict[str, str] = {}
    for directory, subdirectories, _ in os.walk(top):
        subdirectories[:] = [
            name for name in subdirectories if owned_by_us(f"{directory}/{name}") and not _is_of_another_run(name)
        ]
        members = _members(directory)
        if directory != top and processes.all_foreign(members):
            subdirectories.clear()  # a container of another run, with the groups of its execs
        elif directory != top and (inode := _inode(directory)):
            # The inode tells a new group from an old one of the same name.
            found[f"{directory} {inode}"] = f"{directory} with processes {members}"
    return found


def _is_of_another_run(name: str) -> bool:
    """Say whether a cgroup was named by the tests of another process: empty ones have nobody to tell by."""
    run = re.match(r"ck-test-(\d+)", name)
    return run is not None and int(run[1]) != os.getpid()


def _members(group: str) -> list[int]:
    """Return the processes in a cgroup and in those below it."""
    files = (f"{directory}/cgroup.procs" for directory, _, _ in os.walk(group))
    return [int(pid) for file in files for pid in _lines(file) if pid.isdecimal()]


def _inode(path: str) -> int:
    try:
        return os.stat(path).st_ino
    except OSError:
        return 0


def _links() -> Entries:
    return {name: name for line in _lines("/proc/self/net/dev")[2:] for name in [line.split(":")[0].strip()]}


def _descriptors() -> Entries:
    found: dict[str, str] = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{name}")
        except FileNotFoundError:  # the descriptor that listed the directory
            continue
        found[f"{name} {target}"] = f"{name} → {target}"
    return found


def _threads() -> Entries:
    names = {thread.native_id: thread.name for thread in threading.enumerate()}
    return {tid: f"{names.get(int(tid), 'not a Python thread')} (tid {tid})" for tid in os.listdir("/proc/self/task")}


def _default_places() -> Iterator[Path]:
    """Yield the runtime directories an engine uses unless told otherwise."""
    for base in ("/run", os.environ.get("XDG_RUNTIME_DIR", "")):
        place = Path(base, "container_kit")
        if base and os.access(place, os.R_OK):
            yield from (entry for entry in place.iterdir() if owned_by_us(str(entry)))


def _files(directories: Iterable[Path]) -> Iterator[tuple[str, str]]:
    for directory in directories:
        for place, subdirectories, files in os.walk(directory):
            for name in [*subdirectories, *files]:
                path = os.path.join(place, name)
                yield path, path


def _system_v() -> Entries:
    found: dict[str, str] = {}
    for kind in ("shm", "sem", "msg"):
        for line in _lines(f"/proc/sysvipc/{kind}")[1:]:
            key = f"{kind} {line.split()[1]}"
            found[key] = key
    return found


def _firewall() -> Entries:
    if not shutil.which("nft"):
        return {}
    listing = subprocess.run(["nft", "list", "ruleset"], capture_output=True, text=True, check=False)
    chain = ""
    found: dict[str, str] = {}
    for line in listing.stdout.splitlines():
        if line.endswith("{"):
            chain = line.strip(" \t{")
        found[f"{chain}: {line.strip()}"] = f"{line.strip()} in {chain}"
    return found
