"""bubblewrap, crun and podman as contenders: `python -m benchmarks.peers PLACE ROOTFS` measures on request.

To be started in mount and network namespaces of its own: podman's mounts and firewall rules stay there, and so does
the change that crun needs on hosts with both cgroup hierarchies, whose mixture it refuses.
"""

from __future__ import annotations

import itertools
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.contender import serve

PLACE, ROOTFS = Path(sys.argv[1]), Path(sys.argv[2])
IMAGE = "localhost/ckbench:latest"
THREADS = 8
IN_BWRAP = [
    "bwrap", "--unshare-user", "--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts", "--unshare-cgroup",
    "--bind", str(ROOTFS), "/", "--proc", "/proc", "--dev", "/dev", "--die-with-parent",
]  # fmt: skip
# Without cgroups, which favours them: they would use the host's v1 hierarchies, and leave groups there.
IN_CRUN = ["crun", "--cgroup-manager=disabled"]
IN_PODMAN = ["podman", "run", "--rm", "--network", "none", "--cgroups=disabled"]
_numbers = itertools.count()


def call(command: Sequence[str], cwd: Path | None = None) -> None:
    """Run a command that must succeed."""
    null = subprocess.DEVNULL
    # Not a pipe: what a command leaves running would keep it open.
    with tempfile.TemporaryFile("w+") as complaints:
        done = subprocess.run(command, cwd=cwd, stdin=null, stdout=null, stderr=complaints, check=False)
        if done.returncode:
            complaints.seek(0)
            raise RuntimeError(f"{' '.join(command[:3])}: {complaints.read().strip()[-300:]}")


def timed(command: Sequence[str], cwd: Path | None = None) -> float:
    """Return the microseconds a command takes from spawn to end."""
    began = time.perf_counter_ns()
    child = subprocess.Popen(command, cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, close_fds=False)
    status = child.wait()
    taken = (time.perf_counter_ns() - began) / 1e3
    if status:
        raise RuntimeError(f"{command[0]} ended with {status}")
    return taken


def fresh_name() -> str:
    """Return a container name that was not used before."""
    return f"ckbench-{os.getpid()}-{next(_numbers)}"


# ── preparation ──────────────────────────────────────────────────────────────────────────────────


def hide_unified_hierarchy() -> None:
    """Show crun the v1 hierarchies only, where both are mounted. In this mount namespace alone."""
    unified = Path("/sys/fs/cgroup/unified")
    if unified.is_dir():
        (PLACE / "empty").mkdir(exist_ok=True)
        call(["mount", "--bind", str(PLACE / "empty"), str(unified)])


def hide_run() -> None:
    """Give crun and podman a /run of their own: what they keep there ends with this mount namespace."""
    call(["mount", "-t", "tmpfs", "-o", "mode=755", "run", "/run"])


def configure_podman() -> None:
    """Give podman a store of its own and limits that root without CAP_SYS_RESOURCE may set."""
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    (PLACE / "containers.conf").write_text(
        f"""[engine]
cgroup_manager="cgroupfs"
events_logger="file"
runtime="crun"
[containers]
log_driver="k8s-file"
default_ulimits=["nofile={files}:{files}", "nproc=16384:16384"]
"""
    )
    (PLACE / "storage.conf").write_text(
        f'[storage]\ndriver="overlay"\ngraphroot="{PLACE}/podman"\nrunroot="{PLACE}/podman-run"\n'
    )
    os.environ["CONTAINERS_CONF"] = str(PLACE / "containers.conf")
    os.environ["CONTAINERS_STORAGE_CONF"] = str(PLACE / "storage.conf")
    archive = PLACE / "rootfs.tar"
    call(["tar", "-C", str(ROOTFS), "-cf", str(archive), "."])
    call(["podman", "import", str(archive), IMAGE])


def make_bundles() -> None:
    """Make OCI bundles for crun: `true` and `sleep`, with podman's seccomp filter and masks where podman is there."""
    plain = PLACE / "spec"
    plain.mkdir()
    call(["crun", "spec"], cwd=plain)
    config: dict[str, Any] = json.loads((plain / "config.json").read_text())
    config["process"]["terminal"] = False
    config["root"] = {"path": str(ROOTFS), "readonly": False}
    if shutil.which("podman"):
        config["linux"] |= podmans_confinement()
    for name, command in {"true": ["/bin/true"], "sleep": ["/bin/sleep", "1000"]}.items():
        config["process"]["args"] = command
        (PLACE / name).mkdir()
        (PLACE / name / "config.json").write_text(json.dumps(config))


def podmans_confinement() -> dict[str, Any]:
    """Return the parts of podman's runtime configuration that confine: filter, masks, read-only paths."""
    name = fresh_name()
    call(["podman", "create", "--cgroups=disabled", "--name", name, "--network", "none", IMAGE, "/bin/true"])
    try:
        call(["podman", "init", name])
        found = next((PLACE / "podman" / "overlay-containers").glob("*/userdata/config.json"))
        linux = json.loads(found.read_text())["linux"]
        return {key: linux[key] for key in ("seccomp", "maskedPaths", "readonlyPaths")}
    finally:
        call(["podman", "rm", "--force", "--time", "0", name])


PREPARATIONS: dict[str, list[Callable[[], None]]] = {
    "bwrap": [],
    "podman": [configure_podman],
    "crun": [make_bundles],
}


def prepare() -> dict[str, str]:
    """Return why a peer takes no part; an empty string means that it does."""
    hide_unified_hierarchy()
    hide_run()
    complaints: dict[str, str] = {}
    for peer, steps in PREPARATIONS.items():
        complaints[peer] = "" if shutil.which(peer) else "absent"
        try:
            for step in steps if not complaints[peer] else []:
                step()
            if not complaints[peer]:
                RUNS[peer]()
        except (RuntimeError, OSError, StopIteration) as err:
            complaints[peer] = str(err) or type(err).__name__
    return complaints


# ── measurements ─────────────────────────────────────────────────────────────────────────────────


def start_in_crun() -> float:
    """Return how long `crun run --detach` takes."""
    name = fresh_name()
    taken = timed([*IN_CRUN, "run", "--detach", name], PLACE / "sleep")
    call([*IN_CRUN, "delete", "--force", name])
    return taken


def start_in_podman() -> float:
    """Return how long `podman run --detach` takes."""
    name = fresh_name()
    taken = timed([*IN_PODMAN, "--detach", "--name", name, IMAGE, "/bin/sleep", "1000"])
    call(["podman", "rm", "--force", "--time", "0", name])
    return taken


RUNS: dict[str, Callable[[], float]] = {
    "bwrap": lambda: timed([*IN_BWRAP, "/bin/true"]),
    "crun": lambda: timed([*IN_CRUN, "run", fresh_name()], PLACE / "true"),
    "podman": lambda: timed([*IN_PODMAN, IMAGE, "/bin/true"]),
}
STARTS: dict[str, Callable[[], float]] = {"crun": start_in_crun, "podman": start_in_podman}


def measure_run(peer: str, n: int) -> list[float]:
    """Run `true` n times."""
    return [RUNS[peer]() for _ in range(n)]


def measure_start(peer: str, n: int) -> list[float]:
    """Start `sleep` n times; the peer's command returns when it runs."""
    return [STARTS[peer]() for _ in range(n)]


def measure_exec(peer: str, n: int) -> list[float]:
    """Run `true` n times in one running container."""
    name = fresh_name()
    if peer == "crun":
        call([*IN_CRUN, "run", "--detach", name], PLACE / "sleep")
        command, end = IN_CRUN, [*IN_CRUN, "delete", "--force", name]
    else:
        call([*IN_PODMAN, "--detach", "--name", name, IMAGE, "/bin/sleep", "1000"])
        command, end = ["podman"], ["podman", "rm", "--force", "--time", "0", name]
    try:
        return [timed([*command, "exec", name, "/bin/true"]) for _ in range(n)]
    finally:
        call(end)


def measure_throughput(peer: str, n: int) -> float:
    """Return runs of `true` per second with 8 at a time."""
    began = time.perf_counter()
    with ThreadPoolExecutor(THREADS) as pool:
        for future in [pool.submit(RUNS[peer]) for _ in range(n)]:
            future.result()
    return n / (time.perf_counter() - began)


def private_kib(pid: str) -> int:
    """Return the memory that only this process uses."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith(("Private_Clean:", "Private_Dirty:")))


def find_conmons() -> set[str]:
    """Return the pids of podman's monitors."""
    comms = Path("/proc").glob("[0-9]*/comm")
    found: set[str] = set()
    for comm in comms:
        try:
            if comm.read_text(encoding="utf-8").strip() == "conmon":
                found.add(comm.parent.name)
        except OSError:
            continue
    return found


def measure_memory(n: int) -> float:
    """Return the KiB per container of podman's monitors for n idle containers."""
    names = [fresh_name() for _ in range(n)]
    before = find_conmons()
    try:
        for name in names:
            call([*IN_PODMAN, "--detach", "--name", name, IMAGE, "/bin/sleep", "1000"])
        return sum(private_kib(pid) for pid in find_conmons() - before) / n
    finally:
        call(["podman", "rm", "--force", "--time", "0", "--all"])


if __name__ == "__main__":
    serve(
        {
            "prepare": prepare,
            "run": measure_run,
            "start": measure_start,
            "exec": measure_exec,
            "throughput": measure_throughput,
            "memory": measure_memory,
        }
    )
