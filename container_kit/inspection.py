"""Everything about a container at one moment, as a frozen value: what `Container.inspect` returns."""

from __future__ import annotations

from datetime import UTC, datetime

import attrs

from container_kit._runtime.messages import ExitFlag
from container_kit._runtime.site import Site
from container_kit._runtime.state_file import Usage, time_of
from container_kit._runtime.status import Look
from container_kit._spec.container_config import ContainerConfig
from container_kit._spec.image_config import ImageConfig
from container_kit._spec.lifecycle import Status


@attrs.frozen(kw_only=True)
class Inspection:
    """A container as it was at `read_at`.

    Attributes:
        id, name, image: what it is and what it was made from.
        status: `created running paused restarting exited dead`.
        pid: its PID 1 as the host counts, while it runs.
        exit_code: of the last run, 128 + n after signal n.
        oom_killed: whether the kernel killed a process of the last run for lack of memory.
        timed_out: whether the last run was ended at its `time_limit`.
        error: why the last run ended, where that is not its own doing.
        restarts: how often its restart policy has started it again.
        health, failing: its health check's word, and how many probes failed in a row.
        usage: of the last run.
        cgroup: its control group, where it has one.
        log: its newest log file.
        config, image_config: what was asked for, and the image's defaults.
    """

    read_at: datetime
    id: str
    name: str
    image: str
    status: str
    pid: int | None
    exit_code: int | None
    oom_killed: bool
    timed_out: bool
    error: str
    restarts: int
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    health: str
    failing: int
    usage: Usage
    cgroup: str | None
    log: str
    config: ContainerConfig
    image_config: ImageConfig


def inspect(site: Site, seen: Look) -> Inspection:
    """Return the value for one look at a container."""
    record, state = seen.record, seen.state
    running = seen.status in (Status.RUNNING, Status.PAUSED)
    ended = None if running else seen.ended
    started_at = state.started_at if state is not None else time_of(ended.started_ns if ended else 0)
    return Inspection(
        read_at=datetime.now(UTC),
        id=record.id,
        name=record.name,
        image=record.image_name,
        status=seen.status.value,
        pid=seen.init.pid if seen.init else None,
        exit_code=ended.exit_code if ended else None,
        oom_killed=bool(ended and ended.flags & ExitFlag.OOM),
        timed_out=bool(ended and ended.flags & ExitFlag.TIME_LIMIT),
        error=ended.reason if ended else "",
        restarts=state.restarts if state is not None else (ended.restarts if ended else 0),
        created_at=record.created_at,
        started_at=started_at,
        finished_at=time_of(ended.finished_ns) if ended else None,
        health=state.health if state is not None else "none",
        failing=state.failing if state is not None else 0,
        usage=Usage.of(*ended.usage) if ended else Usage(),
        cgroup=site.cgroup_of(record) if running else None,
        log=site.home.log_file(record.id),
        config=record.config,
        image_config=record.image,
    )
