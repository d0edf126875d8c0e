"""Reach a container's files whatever state it is in: which tree, and who else may use it meanwhile.

::

    running, paused     the container's own mounts, by joining its mount namespace
    created, exited     an overlay of its layers and its own upper directory, with its binds, in a worker of ours
    restarting          the same, to read only: its monitor may mount the upper directory at any moment

A container that does not run has no tree until somebody mounts one, and two mounts of one
upper directory must not be. Who writes takes flock(2) on the container's directory alone,
who reads takes it with other readers; both then look at the status again. `start` claims the
container first and then waits for writers (`container_locks`): either the writer sees the claim
and waits for the container to run, or the start sees the lock and waits for the writer. The
kernel releases the lock of a process that dies.

Memory file systems (tmpfs) are there only while the container runs. /etc/hosts and its like
are the image's own in a container that does not run.
"""

from __future__ import annotations

import os
import select
import time
from collections.abc import Generator
from contextlib import contextmanager

from container_kit._files.view import View, container_view
from container_kit._files.worker import FileWorker
from container_kit._linux import processes
from container_kit._runtime.container_locks import LONGEST, PATIENCE, SHORTEST, hold_directory
from container_kit._runtime.failures import typed_refusals
from container_kit._runtime.site import Site
from container_kit._runtime.status import Look, find, is_ephemeral
from container_kit._runtime.stop import wake_monitor
from container_kit._spec.lifecycle import Status
from container_kit._spec.mounts import Mount, MountKind
from container_kit._spec.paths import HostPath
from container_kit._spec.root_filesystem import RootFilesystem
from container_kit._trees import container_views
from container_kit.errors import HostError, InvalidTransitionError, LockTimeoutError

_ENDING_SECONDS = 1.0  # a PID 1 that is being killed cannot be entered, and takes its time to be seen as ended


@contextmanager
def open_files(site: Site, container_id: str, *, write: bool, mounts: bool = True) -> Generator[FileWorker]:
    """Give a worker whose root is the container's root, as long as the block lasts.

    Args:
        site: where the container lives.
        container_id: its id.
        write: whether something will be changed; then no start gets in between.
        mounts: False: its root file system alone, what is mounted below left out.

    Raises:
        InvalidTransitionError: it is being removed, or would be written to while it restarts.
        LockTimeoutError: another copy or a start took more than a minute.
        ContainerNotFoundError: there is none.
    """
    deadline = time.monotonic() + PATIENCE
    while True:
        seen = _settled(site, container_id, deadline)
        if seen.init is not None:
            worker = _enter_running(site, seen, mounts=mounts)
            if worker is None:
                continue
            with worker:
                yield worker
            return
        binds = _binds(seen) if mounts else ()
        alone = write or bool(binds)  # their mount points may have to be made
        with hold_directory(site, container_id, alone=alone, deadline=deadline):
            if not _is_still(site, seen):
                continue
            with _enter_stopped(site, seen, binds=binds, write=write) as worker:
                yield worker
            return


@contextmanager
def open_root(site: Site, root: RootFilesystem) -> Generator[FileWorker]:
    """Give a worker whose root is an image's root file system, to read only."""
    with _start(site, container_views.image_view(site, root)) as worker:
        yield worker


def _settled(site: Site, container_id: str, deadline: float) -> Look:
    """Return a look at a container that is not just being started or about to end."""
    pause = SHORTEST
    while True:
        seen = find(site, container_id)
        if seen.status is Status.DEAD:
            raise InvalidTransitionError(action="reach the files of", status="dead", container=seen.record.name)
        starting = seen.is_unseen or seen.is_launching
        changing = starting or (seen.status is Status.EXITED and seen.state is not None)
        if not changing:
            return seen
        if time.monotonic() >= deadline:
            raise LockTimeoutError(path=site.home.container_dir(container_id), timeout=PATIENCE)
        if starting and seen.state is not None:
            wake_monitor(seen.state)
        if seen.state is None or starting:
            select.select([], [], [], pause)
            pause = min(pause * 2, LONGEST)
        elif processes.wait_gone(seen.state.monitor, LONGEST):
            processes.reap_child(seen.state.monitor)


def _is_still(site: Site, before: Look) -> bool:
    now = find(site, before.record.id)
    return not now.is_unseen and (now.status, now.record.phase) == (before.status, before.record.phase)


def _enter_running(site: Site, seen: Look, *, mounts: bool) -> FileWorker | None:
    """Return a worker in a running container; None when it is worth another look."""
    assert seen.init is not None
    in_user_namespace = site.facts.rootless or seen.record.config.security.has_own_ids
    try:
        worker = _start(site, container_view(seen.init.pid, rootless=in_user_namespace, mounts=mounts))
    except HostError:
        if processes.wait_gone(seen.init, _ENDING_SECONDS):
            return None  # it ended: there is another way to its files
        raise
    if not processes.is_alive(seen.init):  # the number may have been somebody else's by then
        worker.close()
        return None
    return worker


def _binds(seen: Look) -> tuple[Mount, ...]:
    return tuple(mount for mount in seen.record.config.mounts if mount.kind is MountKind.BIND)


@contextmanager
def _enter_stopped(site: Site, seen: Look, *, binds: tuple[Mount, ...], write: bool) -> Generator[FileWorker]:
    record = seen.record
    if write or binds:
        if seen.status is Status.RESTARTING:
            hint = "wait for its next run, or stop() it"
            raise InvalidTransitionError(
                action="reach the files of", status="restarting", container=record.name, hint=hint
            )
        directory = site.home.container_dir(record.id)
        _make_directories(directory, record.root)
        if is_ephemeral(record):
            _clear_work(site, directory, record.root)
    with _start(site, container_views.stopped_view(site, record, binds=binds, write=write)) as worker:
        yield worker


@typed_refusals("cannot reach the container's files")
def _start(site: Site, view: View) -> FileWorker:
    return FileWorker.start(view, user_namespace=site.user_namespace())


def _make_directories(directory: HostPath, root: RootFilesystem) -> None:
    # As the monitor makes them (ck_make_dirs), for a container that never ran.
    for name in container_views.directories_of(root):
        path = f"{directory}/{name}"
        try:
            os.mkdir(path)
        except FileExistsError:
            continue
        os.chmod(path, 0o700 if name.startswith("work") else 0o755)  # whatever the umask was


def _clear_work(site: Site, directory: HostPath, root: RootFilesystem) -> None:
    # A volatile overlay leaves a mark in its work directory and refuses to be mounted on it again.
    with _start(site, container_views.directory_of(directory)) as worker:
        for name in container_views.directories_of(root):
            if name.startswith("work"):
                for entry, _ in worker.list(f"/{name}"):
                    worker.remove(f"/{name}/{entry}", recursive=True)
