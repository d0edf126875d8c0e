"""container_kit as a contender: `python -m benchmarks.ours ROOT RUNTIME ROOTFS [HEAP_MIB]` measures on request."""

from __future__ import annotations

import mmap
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import container_kit as ck
from benchmarks.contender import serve

ROOT, RUNTIME, ROOTFS = sys.argv[1:4]
HEAP_MIB = int(sys.argv[4]) if len(sys.argv) > 4 else 0
THREADS = 8

engine = ck.Engine(root=ROOT, runtime=RUNTIME)
image = ck.Image.from_directory(ROOTFS)


def fill_heap() -> mmap.mmap:
    """Return memory of which every page was written, as a caller with a lot of data has."""
    memory = mmap.mmap(-1, max(HEAP_MIB, 1) << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_NOHUGEPAGE"):
        memory.madvise(mmap.MADV_NOHUGEPAGE)
    for at in range(0, HEAP_MIB << 20, mmap.PAGESIZE):
        memory[at] = 1
    return memory


def microseconds(action: Callable[[], object], n: int) -> list[float]:
    """Return how long each of n calls took."""
    times: list[float] = []
    for _ in range(n):
        began = time.perf_counter_ns()
        action()
        times.append((time.perf_counter_ns() - began) / 1e3)
    return times


PROFILES: dict[str, Callable[[], ck.Security]] = {
    "default": ck.Security,
    "userns": lambda: ck.Security(userns="auto"),
    "untrusted": lambda: ck.Security.untrusted(waive=["memory", "pids"]),  # the controllers may be elsewhere
}


def run_true(profile: str = "default") -> None:
    """Run `true` to its end."""
    completed = ck.run(image, ["true"], security=PROFILES[profile](), engine=engine)
    if completed.returncode:
        raise RuntimeError(f"true ended with {completed.returncode}")


def measure_run(n: int, profile: str = "default") -> list[float]:
    """Run `true` n times."""
    return microseconds(lambda: run_true(profile), n)


def measure_stats(n: int) -> list[float]:
    """Read what a running container uses n times."""
    with ck.start(image, ["sleep", "1000"], engine=engine) as container:
        container.stats()
        return microseconds(container.stats, n)


def measure_start(n: int) -> list[float]:
    """Start `sleep` n times: until its process runs. Ending it is not timed."""
    times: list[float] = []
    for _ in range(n):
        began = time.perf_counter_ns()
        container = ck.start(image, ["sleep", "60"], engine=engine)
        times.append((time.perf_counter_ns() - began) / 1e3)
        container.remove(force=True)
    return times


def measure_exec(n: int) -> list[float]:
    """Run `true` n times in one running container."""
    with ck.start(image, ["sleep", "1000"], engine=engine) as container:
        container.exec(["true"])
        return microseconds(lambda: container.exec(["true"]), n)


def measure_throughput(n: int) -> float:
    """Return runs of `true` per second from 8 threads."""
    began = time.perf_counter()
    with ThreadPoolExecutor(THREADS) as pool:
        for future in [pool.submit(run_true) for _ in range(n)]:
            future.result()
    return n / (time.perf_counter() - began)


def find_monitors() -> set[int]:
    """Return the pids of all monitors."""
    found: set[int] = set()
    for name in os.listdir("/proc"):
        try:
            if name.isdecimal() and os.readlink(f"/proc/{name}/exe").startswith("/memfd:ck-monitor"):
                found.add(int(name))
        except OSError:
            continue
    return found


def private_kib(pid: int) -> int:
    """Return the memory that only this process uses."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith(("Private_Clean:", "Private_Dirty:")))


def measure_memory(n: int) -> float:
    """Return the KiB per container of the monitors of n idle detached containers."""
    before = find_monitors()
    containers = [ck.start(image, ["sleep", "1000"], engine=engine, detach=True) for _ in range(n)]
    try:
        return sum(private_kib(pid) for pid in find_monitors() - before) / n
    finally:
        for container in containers:
            container.remove(force=True)


def measure_list(n: int, rounds: int) -> list[float]:
    """Return how long listing n containers takes."""
    containers = [ck.Container.create(image, ["true"], engine=engine) for _ in range(n)]
    try:
        found = len(ck.Container.list(all=True, engine=engine))
        if found != n:
            raise RuntimeError(f"{found} listed of {n}")
        return microseconds(lambda: ck.Container.list(all=True, engine=engine), rounds)
    finally:
        for container in containers:
            container.remove(force=True)


def measure_phases(n: int) -> dict[str, list[float]]:
    """Return the microseconds of each phase of n runs of `true`."""
    from container_kit._runtime.timing import Stopwatch

    collected: dict[str, list[float]] = {}
    engine.site.stopwatch = stopwatch = Stopwatch()
    try:
        for _ in range(n):
            stopwatch.durations()
            run_true()
            for phase, nanoseconds in stopwatch.durations().items():
                collected.setdefault(phase, []).append(nanoseconds / 1e3)
    finally:
        engine.site.stopwatch = None
    return collected


def main() -> None:
    """Answer requests."""
    heap = fill_heap()
    with engine:
        serve(
            {
                "run": measure_run,
                "start": measure_start,
                "exec": measure_exec,
                "throughput": measure_throughput,
                "memory": measure_memory,
                "list": measure_list,
                "stats": measure_stats,
                "phases": measure_phases,
            }
        )
    heap.close()


if __name__ == "__main__":
    main()
