"""Where a process can be killed: read off a trace of each operation, so that nobody has to keep a list.

A point is "this actor, on entering its n-th call of this system call". strace(1) delivers the SIGKILL. The actors are
the caller (Python), the monitor, and what the monitor clones: init, or the process of an exec; and the process that
goes on in its place (heir), where a container has ids of its own.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

import attrs

CHECKOUT = Path(__file__).parents[2]
DRIVER = Path(__file__).with_name("kill_driver.py")
LIMIT = 60.0

# operation → the actors that do something in it
ACTORS = {
    "create": ("caller",),
    "start": ("caller", "monitor", "init"),
    "run": ("caller", "monitor", "init"),
    "exec": ("caller", "monitor", "init"),
    "stop": ("caller", "monitor"),
    "remove": ("caller", "monitor"),
    "force": ("caller", "monitor"),
}
CLONED = {"init": 1, "heir": 3}  # which of the processes, in the order of their first calls; 2 holds the user namespace
# The same with ids of its own: what is different is the launch.
MAPPED_ACTORS = {
    "start": ("caller", "monitor", "init", "heir"),
    "run": ("monitor", "init", "heir"),
    "exec": ("init",),
}
# Calls that nobody else sees: killed at one of them, a process leaves what it leaves at its next call.
UNSEEN = frozenset(
    (
        *("brk", "clock_gettime", "fstat", "geteuid", "getpid", "getppid", "getrandom", "ioctl", "lseek"),
        *("mmap", "mprotect", "mremap", "munmap", "newfstatat", "rt_sigaction", "rt_sigprocmask"),
    )
)
_CALL = re.compile(r"^(?:(\d+) +)?([a-z_0-9]+)\(")
_KILLED = re.compile(r"^(?:(\d+) +)?\+\+\+ killed by SIGKILL")


@attrs.frozen
class Scene:
    """An operation; whether its container is owned, detached, or mapped: owned with ids of its own; who is watched."""

    operation: str
    mode: str
    actor: str

    def __str__(self) -> str:
        return f"{self.operation} ({self.mode}), {self.actor}"


@attrs.frozen
class Point:
    """A scene and the moment of the blow."""

    scene: Scene
    call: str
    number: int

    def __str__(self) -> str:
        return f"{self.scene} killed at {self.call} #{self.number}"


@attrs.frozen(kw_only=True)
class Outcome:
    """What came of playing a scene.

    Attributes:
        log: strace's output.
        status: how the caller's process ended.
        last_words: what the caller printed last.
        complaint: what it wrote to stderr.
    """

    log: list[str]
    status: int
    last_words: str
    complaint: str

    def reached(self, point: Point) -> bool:
        """Say whether the blow fell: somebody made so many calls and was killed."""
        calls = Counter(match[1] for line in self.log if (match := _CALL.match(line)) and match[2] == point.call)
        killed = {match[1] for line in self.log if (match := _KILLED.match(line))}
        return any(calls[pid] == point.number for pid in killed)


@attrs.frozen(kw_only=True)
class Stage:
    """The directories that a scene is played in."""

    root: Path
    runtime: Path
    image: Path
    log: Path

    def play(self, scene: Scene, strace: Sequence[str]) -> Outcome:
        """Let the caller prepare, watch the actor with strace, let the caller act, and wait for both."""
        arguments = [scene.operation, scene.mode, scene.actor, str(self.root), str(self.runtime), str(self.image)]
        caller = subprocess.Popen(
            [sys.executable, str(DRIVER), *arguments],
            cwd=CHECKOUT,
            env={"PYTHONPATH": str(CHECKOUT), "PYTHONDONTWRITEBYTECODE": "1", "PATH": "/usr/bin:/bin"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        with caller:
            assert caller.stdout is not None
            announced = caller.stdout.readline()
            try:
                with self._watched(announced, strace):
                    output, complaint = caller.communicate("\n", timeout=LIMIT)
            except BaseException:
                caller.kill()
                raise
        lines = output.splitlines()
        return Outcome(
            log=self.log.read_text().splitlines(),
            status=caller.returncode,
            last_words=lines[-1] if lines else "",
            complaint=complaint,
        )

    @contextmanager
    def _watched(self, announced: str, strace: Sequence[str]) -> Generator[None]:
        _, _, pid = announced.strip().partition(" ")
        assert pid, f"the caller came to nothing: {announced!r}"
        command = ["strace", "-o", str(self.log), "-p", pid, *strace]
        tracer = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        with tracer:
            assert tracer.stderr is not None
            line = tracer.stderr.readline()
            assert "attached" in line, line
            try:
                yield
            finally:
                # It ends by itself when the last process it watches ends; a detached container's monitor goes on.
                tracer.terminate()


def scenes(mapped: bool) -> list[Scene]:
    """Return every scene there is; `run` has no detached form.

    Args:
        mapped: whether this host gives containers ids of their own.
    """
    modes = {"owned": ACTORS, "detached": ACTORS, "mapped": MAPPED_ACTORS if mapped else {}}
    found = [
        Scene(operation, mode, actor)
        for mode, actors in modes.items()
        for operation, who in actors.items()
        for actor in who
    ]
    return [scene for scene in found if (scene.operation, scene.mode) != ("run", "detached")]


def survey(stage: Stage, scene: Scene) -> list[Point]:
    """Play a scene without a blow and return its points in the order in which they come."""
    outcome = stage.play(scene, ["-f"] if scene.actor in CLONED else [])
    calls = [(match[1], match[2]) for line in outcome.log if (match := _CALL.match(line))]
    if scene.actor in CLONED:
        return _points_of_child(scene, calls, CLONED[scene.actor])
    return _points(scene, [name for _, name in calls])


def _points(scene: Scene, names: Sequence[str]) -> list[Point]:
    seen: Counter[str] = Counter()
    points: list[Point] = []
    for name in names:
        seen[name] += 1
        if name not in UNSEEN:
            points.append(Point(scene, name, seen[name]))
    return points


def _points_of_child(scene: Scene, calls: Sequence[tuple[str | None, str]], number: int) -> list[Point]:
    """Return the points of what was cloned as this one that none of those before it comes to."""
    processes = list(dict.fromkeys(pid for pid, _ in calls))
    if len(processes) <= number:
        return []
    before = Counter[str]()
    for process in processes[:number]:
        before |= Counter(name for pid, name in calls if pid == process)
    points = _points(scene, [name for pid, name in calls if pid == processes[number]])
    return [point for point in points if point.number > before[point.call]]


def strike(stage: Stage, point: Point) -> Outcome:
    """Play a scene and kill its actor at the point."""
    follow = ["-f"] if point.scene.actor in CLONED else []
    blow = f"inject={point.call}:signal=SIGKILL:when={point.number}"
    return stage.play(point.scene, [*follow, "-e", f"trace={point.call}", "-e", blow])


def spread(points: Sequence[Point], count: int) -> list[Point]:
    """Return so many of the points, evenly spread, the first and the last among them; all when there are fewer."""
    if len(points) <= count:
        return list(points)
    if count == 1:
        return [points[len(points) // 2]]
    return [points[round(i * (len(points) - 1) / (count - 1))] for i in range(count)]
