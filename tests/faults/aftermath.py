"""What must be true after a process was killed anywhere: said as a list of complaints, empty when all is well."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import container_kit as ck
from container_kit import errors
from container_kit._linux import cgroup
from tests.e2e.patience import eventually
from tests.faults.kill_driver import NAME, SLEEP
from tests.faults.kill_points import Outcome, Point, Stage

KNOWN = frozenset(
    {"state.sqlite", "state.sqlite-wal", "state.sqlite-shm", "containers", "images", "ingest", "layers", "locks"}
)


def complaints_after(stage: Stage, point: Point, outcome: Outcome) -> list[str]:
    """Open the engine as the next process would, use it, and say what is wrong."""
    complaints = list(_complaints_about_the_caller(point, outcome))
    detached = point.scene.mode == "detached"
    ids = _ids_on(stage)
    if not detached:
        # The kernel and the monitor need a moment; nobody has to open the engine for this.
        eventually(lambda: not _processes_of(stage, ids), f"the end of all processes after {point}")
    with ck.Engine(stage.root, runtime=str(stage.runtime)) as engine:
        found = ck.Container.list(all=True, engine=engine)
        if detached:
            complaints += [line for container in found for line in _complaints_about_detached(container)]
        else:
            complaints += [f"{container.status} container {container.name} is listed" for container in found]
        complaints += _use_again(stage, engine)
        eventually(lambda: not _processes_of(stage, ids), f"the end of what {point} left running")
        complaints += _left_over(engine, ids)
    return complaints


def clear(stage: Stage) -> None:
    """Remove what a scene that was played to its end has left on the stage."""
    with ck.Engine(stage.root, runtime=str(stage.runtime)) as engine:
        for container in ck.Container.list(all=True, engine=engine):
            container.remove(force=True)


def _complaints_about_the_caller(point: Point, outcome: Outcome) -> Iterator[str]:
    if point.scene.actor != "caller" and not outcome.last_words.startswith("done"):
        yield f"the caller ended with {outcome.status}: {outcome.complaint}"


def _complaints_about_detached(container: ck.Container) -> Iterator[str]:
    """It is running and supervised, or exited, or was never started; and it goes at the first call."""
    status = container.status
    if status not in ("running", "exited", "created"):
        yield f"the detached container is {status}"
    if status == "running":
        eventually(lambda: _answers(container), f"an answer of {container}")
    container.remove(force=True)


def _answers(container: ck.Container) -> bool:
    try:
        return container.exec(["payload", "true"]).returncode == 0
    except errors.InvalidTransitionError:
        return False  # the monitor is still starting it


def _use_again(stage: Stage, engine: ck.Engine) -> Iterator[str]:
    """The name is free, and a container of it lives."""
    image = ck.Image.from_directory(stage.image)
    container = ck.Container.create(image, SLEEP, name=NAME, engine=engine)
    container.start()
    if container.status != "running":
        yield f"a new container of the name is {container.status}"
    container.remove(force=True)


def _left_over(engine: ck.Engine, ids: set[str]) -> Iterator[str]:
    home = engine.site.home
    for directory in (home.containers, home.runtime):
        yield from (f"left in {directory}: {name}" for name in os.listdir(directory))
    yield from (f"left in {home.root}: {name}" for name in os.listdir(home.root) if name not in KNOWN)
    yield from (f"left in {home.layers}: {name}" for name in os.listdir(home.layers) if name.startswith("."))
    for container_id in ids:
        path = engine.site.cgroup_of(container_id)
        if path is not None and cgroup.exists(path):
            yield f"cgroup left: {path}"


def _processes_of(stage: Stage, ids: set[str]) -> list[str]:
    """Return the monitors that hold something of the stage, and whatever is in the cgroups of its containers."""
    pids = [name for name in os.listdir("/proc") if name.isdigit()]
    return [pid for pid in pids if _is_of(Path("/proc", pid), f"{stage.root.parent}/", ids)]


def _is_of(process: Path, place: str, ids: set[str]) -> bool:
    try:
        groups = (process / "cgroup").read_text()
        if any(f"/ck-{container_id}" in groups for container_id in ids):
            return True
        if (process / "cmdline").read_bytes() != b"ck-monitor\0":  # its comm is another one with each kernel
            return False
        links = [_link(process / "cwd"), *(_link(entry) for entry in (process / "fd").iterdir())]
    except OSError:
        return False  # it has just ended
    return any(link.startswith(place) for link in links)


def _link(path: Path) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""  # it has just closed it


def _ids_on(stage: Stage) -> set[str]:
    """Return the ids of all containers there is a trace of, read past the library."""
    found = {path.name for path in (stage.root / "containers").glob("*")}
    found |= {path.name for path in stage.runtime.glob("*/*")}
    database = stage.root / "state.sqlite"
    if database.exists():
        connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
        try:
            found |= {str(row[0]) for row in connection.execute("SELECT id FROM containers")}
        finally:
            connection.close()
    return found
