"""Who competes, and how often: each row of the table as a function that has the contenders take turns."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import attrs

from benchmarks.contender import Contender, MeasurementError
from benchmarks.lab import CHECKOUT, USER, Lab
from benchmarks.table import Result, summarise

FLOOR = "docker-v2"  # of limit.c: all namespaces, volatile overlay, masks, seccomp, cgroup v2
PEER_SHARE = {"bwrap": 4, "crun": 2, "podman": 1}  # measurements a turn: the slow ones get fewer
CONTAINERS = 1000


@attrs.define(kw_only=True)
class Match:
    """The contenders, ready to be asked."""

    lab: Lab
    turns: int
    heap_mib: int
    ours: Contender
    big: Callable[[], Contender]
    rootless: Contender
    peers: Contender | None
    complaints: dict[str, str]

    @classmethod
    def prepare(cls, stack: ExitStack, lab: Lab, *, turns: int, quick: bool, with_peers: bool) -> Match:
        """Start the contenders; they end with the stack."""
        heap_mib = _heap_mib(1024 if quick else 4096)
        peers = stack.enter_context(_start_peers(lab)) if with_peers else None
        return cls(
            lab=lab,
            turns=turns,
            heap_mib=heap_mib,
            ours=stack.enter_context(_start_ours(lab, "ours")),
            big=lambda: _start_ours(lab, "big", heap_mib=heap_mib),
            rootless=stack.enter_context(_start_ours(lab, "rootless", user=USER)),
            peers=peers,
            complaints=peers.ask("prepare") if peers else {},
        )

    def rows(self) -> dict[str, Callable[[], Result]]:
        """Return how each row is measured."""
        return {
            "run": self.run,
            "run_big": self.run_big,
            "start": self.start,
            "exec": self.exec,
            "throughput": self.throughput,
            "memory": self.memory,
            "rootless": self.rootless_ratio,
            "userns": lambda: self.profile_ratio("userns"),
            "untrusted": lambda: self.profile_ratio("untrusted"),
            "stats": self.stats,
            "list": self.list_many,
        }

    def run(self) -> Result:
        """`true` to its end."""
        return self._turns("run", lambda n: self._floor(FLOOR, n)["total"])

    def start(self) -> Result:
        """Until the process runs."""
        return self._turns("start", lambda n: self._floor(FLOOR, n)["running"])

    def exec(self) -> Result:
        """`true` in a running container."""
        return self._turns("exec", lambda n: self._floor("exec", n)["total"])

    def run_big(self) -> Result:
        """`true` to its end, from a caller whose page tables are big, against the same from a small one."""
        samples: dict[str, list[float]] = {"small": [], "big": []}
        with self.big() as contender:
            contender.ask("run", n=5)
            for _ in range(self.turns):
                samples["small"] += self.ours.ask("run", n=20)
                samples["big"] += contender.ask("run", n=20)
        median = {name: statistics.median(values) for name, values in samples.items()}
        return Result(
            ours=median["big"] / median["small"],
            detail={name: summarise(values) for name, values in samples.items()},
        )

    def throughput(self) -> Result:
        """Runs per second with 8 at a time; the best of the turns, as for the floor."""
        floor: list[float] = []
        ours: list[float] = []
        peers: dict[str, list[float]] = {}
        for _ in range(max(self.turns // 3, 1)):
            floor.append(self._limit("-c", FLOOR, "-n", "400", "-j", "8")["per_second"])
            ours.append(self.ours.ask("throughput", n=400))
            for peer in self._present("bwrap", "crun"):
                peers.setdefault(peer, []).append(self._peer(peer, "throughput", n=40))
        best = {peer: max(values) for peer, values in peers.items()}
        return Result(ours=max(ours), floor=max(floor), peers=best, detail={"ours": ours, "floor": floor, **peers})

    def memory(self) -> Result:
        """What a container that does nothing costs in user space."""
        peers = {"conmon": self._peer("podman", "memory", n=20, named=False)} if self._present("podman") else {}
        return Result(ours=self.ours.ask("memory", n=20), peers=peers)

    def rootless_ratio(self) -> Result:
        """`true` to its end, a user's against root's."""
        samples: dict[str, list[float]] = {"root": [], "rootless": [], "floor_root": [], "floor_user": []}
        for _ in range(self.turns):
            samples["root"] += self.ours.ask("run", n=20)
            samples["rootless"] += self.rootless.ask("run", n=20)
            samples["floor_root"] += self._floor(FLOOR, 20)["total"]
            samples["floor_user"] += self._floor(f"{FLOOR}-user", 20)["total"]
        median = {name: statistics.median(values) for name, values in samples.items()}
        return Result(
            ours=median["rootless"] / median["root"],
            floor=median["floor_user"] / median["floor_root"],
            detail={name: summarise(values) for name, values in samples.items()},
        )

    def profile_ratio(self, profile: str) -> Result:
        """`true` to its end under a stricter profile, against the default."""
        samples: dict[str, list[float]] = {"default": [], profile: []}
        for _ in range(self.turns):
            for name, values in samples.items():
                values.extend(self.ours.ask("run", n=20, profile=name))
        median = {name: statistics.median(values) for name, values in samples.items()}
        return Result(
            ours=median[profile] / median["default"],
            detail={f"{name}_us": summarise(values) for name, values in samples.items()},
        )

    def stats(self) -> Result:
        """One reading of a running container."""
        return _result(self.ours.ask("stats", n=50 * self.turns), [])

    def list_many(self) -> Result:
        """All containers of an engine that has many."""
        return _result(self.ours.ask("list", n=CONTAINERS, rounds=5 * self.turns), [])

    def phases(self) -> dict[str, float]:
        """Return where the time of a run goes, as far as the library says; nothing if it does not."""
        try:
            phases: dict[str, list[float]] = self.ours.ask("phases", n=10 * self.turns)
        except MeasurementError as err:
            print(f"   phases: {err}", file=sys.stderr)
            return {}
        return {name: statistics.median(values) for name, values in phases.items()}

    def _turns(self, what: str, floor_of: Callable[[int], list[float]]) -> Result:
        floor: list[float] = []
        ours: list[float] = []
        peers: dict[str, list[float]] = {}
        capable = ("crun", "podman") if what != "run" else tuple(PEER_SHARE)
        self.ours.ask(what, n=3)  # warm up
        for _ in range(self.turns):
            floor += floor_of(20)
            ours += self.ours.ask(what, n=20)
            for peer in self._present(*capable):
                peers.setdefault(peer, []).extend(self._peer(peer, what, n=PEER_SHARE[peer]))
        return _result(ours, floor, peers)

    def _present(self, *peers: str) -> list[str]:
        return [peer for peer in peers if self.peers is not None and not self.complaints.get(peer, "absent")]

    def _peer(self, peer: str, what: str, *, n: int, named: bool = True) -> Any:
        assert self.peers is not None
        return self.peers.ask(what, n=n, **({"peer": peer} if named else {}))

    def _floor(self, config: str, n: int, *extra: str) -> dict[str, list[float]]:
        samples: dict[str, list[float]] = self._limit("-c", config, "-n", str(n), *extra)
        return samples

    def _limit(self, *arguments: str) -> Any:
        place = self.lab.place / "fs" / "limit"
        place.mkdir(exist_ok=True)
        command: list[str | Path] = [self.lab.limit, "-o", "-b", place, "-r", self.lab.rootfs, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode or not done.stdout.strip():
            raise RuntimeError(f"limit {' '.join(arguments)}: {done.stderr.strip() or 'no cgroup v2 tree here'}")
        return json.loads(done.stdout)


def _result(ours: list[float], floor: list[float], peers: dict[str, list[float]] | None = None) -> Result:
    """Return medians in ms of samples in us."""
    samples = {"ours": ours, "floor": floor, **(peers or {})}
    return Result(
        ours=statistics.median(ours) / 1e3,
        floor=statistics.median(floor) / 1e3 if floor else None,
        peers={peer: statistics.median(values) / 1e3 for peer, values in (peers or {}).items()},
        detail={f"{name}_us": summarise(values) for name, values in samples.items() if values},
    )


def _heap_mib(wanted: int) -> int:
    """Return how big a heap this machine can carry beside everything else."""
    for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
        if line.startswith("MemAvailable:"):
            return min(wanted, int(line.split()[1]) // 1024 // 3)
    return wanted


def _start_ours(lab: Lab, name: str, *, user: str | None = None, heap_mib: int = 0) -> Contender:
    state, runtime = lab.state(name, user)
    prefix = [sys.executable, str(CHECKOUT / "tests" / "host" / "as_user.py"), user] if user else []
    arguments = [str(state / "s"), str(runtime / "r"), str(lab.rootfs), str(heap_mib)]
    os.chdir(CHECKOUT)
    return Contender([*prefix, sys.executable, "-m", "benchmarks.ours", *arguments])


def _start_peers(lab: Lab) -> Contender:
    state, _ = lab.state("peers")
    namespaces = ["unshare", "--mount", "--net", "--propagation", "private"]
    return Contender([*namespaces, sys.executable, "-m", "benchmarks.peers", str(state), str(lab.rootfs)])
