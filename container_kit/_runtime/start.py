"""Create, start and run to the end: the three ways a container comes about."""

from __future__ import annotations

import errno
import os
import signal
import time

import attrs

from container_kit._images.origins import ImageParts
from container_kit._linux import processes
from container_kit._plan.plans import LaunchPlan
from container_kit._runtime import cgroup_places, image_layers, launch
from container_kit._runtime.capture import Capture, Pipes
from container_kit._runtime.cleanup import remove_runtime_files
from container_kit._runtime.container_locks import await_writers
from container_kit._runtime.failures import launch_failure, typed_refusals
from container_kit._runtime.launch import Specification
from container_kit._runtime.messages import Blame, ExitFlag, Message, MessageType
from container_kit._runtime.site import Site
from container_kit._runtime.state_file import MonitorState, ended_by
from container_kit._runtime.status import Look, find, forget
from container_kit._runtime.stop import wake_monitor
from container_kit._runtime.supervision import Supervision
from container_kit._spec.container_config import ContainerConfig
from container_kit._spec.healthcheck import check_timeout
from container_kit._spec.ids import new_id_from
from container_kit._spec.lifecycle import Action, check_transition
from container_kit._spec.names import name_from
from container_kit._state import journal, records
from container_kit._state.container_record import ContainerRecord, ExitRecord, Phase
from container_kit.errors import (
    ContainerKitError,
    ContainerNotFoundError,
    ImageNotFoundError,
    InvalidTransitionError,
    LaunchError,
    NameInUseError,
    StorageFullError,
)

_NAME_ATTEMPTS = 20
_END_SECONDS = 30.0  # exec sessions and those who are attached have a few seconds each to hear of the end


def new_record(site: Site, *, name: str | None, config: ContainerConfig, image: ImageParts) -> ContainerRecord:
    """Return the record of a new container; nothing is written yet."""
    return ContainerRecord.new(
        new_id_from(os.urandom(32)),
        name if name is not None else _generated_name(),
        config=config,
        image=image.config,
        root=image.root,
        image_name=image.name,
        image_id=image.id,
        owner="" if config.detach else str(site.own_process),
        created_time=time.time(),
    )


def specification_of(site: Site, record: ContainerRecord) -> Specification:
    """Return what a launch of this container depends on."""
    cgroup = site.cgroup_of(record) or ""
    return Specification(id=record.id, config=record.config, image=record.image, root=record.root, cgroup=cgroup)


def _plan_new(site: Site, record: ContainerRecord) -> tuple[Specification, LaunchPlan]:
    """Return what a launch of a container without a row depends on, and its plan."""
    try:
        spec = launch.with_devices(site, specification_of(site, record))
        return spec, launch.compile_plan(site, spec)
    except ContainerKitError as err:
        _check_image(site, record, err)
        raise


@typed_refusals("cannot create a container")
def create(site: Site, record: ContainerRecord, *, named: bool) -> ContainerRecord:
    """Record a new container; its plan is compiled first, so what cannot be launched is not recorded.

    Raises:
        ContainerKitError: a value is wrong, or the name is taken.
    """
    _plan_new(site, record)
    cgroup_places.check_limits(site, record.config)
    with site.database.transaction():
        record = _insert(site, record, named=named)
        journal.append(site.database, record.id, record.name, "create", image=record.image_name)
    return record


@typed_refusals("cannot start a container")
def start_new(site: Site, record: ContainerRecord, *, named: bool) -> ContainerRecord:
    """Create a container and start it in one go; nothing is left of one that cannot be started.

    Raises:
        ContainerKitError: what kept it from running.
    """
    spec, plan = _plan_new(site, record)
    supervision = launch.spawn(site, spec, plan)
    try:
        record = _record_run(site, record, supervision, named=named)
        _go(site, record, supervision)
        launch.await_started(site, plan, supervision)
    except BaseException as err:
        supervision.let_go()
        if _is_known(site, record):
            forget(site, record)
        if isinstance(err, ContainerKitError) and launch.may_try_again(site, supervision):
            return start_new(site, record, named=named)
        raise
    _hand_over(site, record, supervision)
    return record


def _hand_over(site: Site, record: ContainerRecord, supervision: Supervision) -> None:
    if record.config.detach:
        site.retire(supervision)
    else:
        site.supervise(record.id, supervision)


@typed_refusals("cannot start the container")
def start(site: Site, seen: Look) -> None:
    """Start a container that does not run and wait until its command runs.

    Raises:
        InvalidTransitionError: it runs already, or another process is starting it.
        ImageError: layers of its image do not count any more, and cannot be unpacked again.
        ContainerKitError: what kept it from running; it is as it was before.
    """
    check_transition(Action.START, seen.status, seen.record.name)
    record = seen.record if seen.state is None else _await_end(site, seen.record, seen.state)
    image_layers.make_sure(site, record)
    spec = launch.with_devices(site, specification_of(site, record))
    plan = launch.compile_plan(site, spec)
    supervision = launch.spawn(site, spec, plan)
    try:
        claimed = _claim(site, record, supervision)
    except BaseException:
        supervision.let_go()
        raise
    if not claimed:
        supervision.let_go()
        start(site, find(site, record.id))
        return
    try:
        await_writers(site, record.id)
        supervision.go()
        launch.await_started(site, plan, supervision)
    except BaseException as err:
        supervision.let_go()
        overtaken = _unclaim(site, record, supervision)
        if overtaken and isinstance(err, LaunchError):
            raise InvalidTransitionError(action="start", status=overtaken, container=record.name) from err
        if isinstance(err, ContainerKitError) and launch.may_try_again(site, supervision):
            start(site, find(site, record.id))
            return
        raise
    _hand_over(site, record, supervision)
    try:
        journal.append(site.database, record.id, record.name, "start")
    except StorageFullError:
        pass  # it runs, which counts more than the word about it


def _await_end(site: Site, record: ContainerRecord, state: MonitorState) -> ContainerRecord:
    """Return the record of a container as it is when the monitor of a run that is over has ended."""
    wake_monitor(state)
    if not processes.wait_gone(state.monitor, _END_SECONDS):
        raise InvalidTransitionError(action="start", status="ending", container=record.name, hint="stop() it first")
    fresh = find(site, record.id)
    check_transition(Action.START, fresh.status, record.name)  # somebody else may have started it
    return fresh.record


@typed_refusals("cannot run a container")
def run_captured(
    site: Site, record: ContainerRecord, *, named: bool, data: bytes | None, timeout: float | None, limit: int
) -> tuple[ExitRecord, Capture, bool]:
    """Run a container to its end with pipes of its own, collect its output, and remove it.

    Returns:
        How it ended, its output, and whether the timeout (seconds) ended it.

    Raises:
        ContainerKitError: what kept the command from running; nothing is left of the container.
    """
    timeout = check_timeout(timeout)
    deadline = None if timeout is None else time.monotonic() + timeout
    spec, plan = _plan_new(site, record)
    pipes = Pipes(site.devnull(), feed=data is not None)
    try:
        capture = Capture(pipes, data or b"", limit)
        supervision = launch.spawn(site, spec, plan, pipes.theirs)
        finished = False
        try:
            pipes.close_theirs()
            record = _record_run(site, record, supervision, named=named)
            _go(site, record, supervision)
            site.mark("state")
            launch.check_labels(plan, supervision)
            finished = capture.collect(supervision.fileno(), lambda: _is_over(supervision), deadline)
            site.mark_run(supervision)
        finally:
            try:
                if not _is_clean(supervision):
                    supervision.let_go()
                _erase(site, record, supervision)  # while a monitor that has cleaned up ends by itself
                site.mark("state")
            finally:
                supervision.let_go()
            site.mark("reap")
        if launch.may_try_again(site, supervision) and finished:
            return run_captured(site, record, named=named, data=data, timeout=timeout, limit=limit)
        if not finished:
            capture.drain()
        return _ending_of(site, plan, supervision, timed_out=not finished), capture, not finished
    finally:
        pipes.close_all()


def _record_run(site: Site, record: ContainerRecord, supervision: Supervision, *, named: bool) -> ContainerRecord:
    cgroup = supervision.group.path if supervision.group else ""
    record = attrs.evolve(record, phase=Phase.STARTED, monitor=str(supervision.identity), cgroup=cgroup)
    with site.database.transaction():
        record = _insert(site, record, named=named)
        journal.append(site.database, record.id, record.name, "create", image=record.image_name)
    return record


def _go(site: Site, record: ContainerRecord, supervision: Supervision) -> None:
    supervision.go()
    journal.append(site.database, record.id, record.name, "start")  # while the monitor launches


def _is_clean(supervision: Supervision) -> bool:
    return supervision.exited is not None and bool(supervision.exited.flags & ExitFlag.CLEAN)


def _erase(site: Site, record: ContainerRecord, supervision: Supervision) -> None:
    ended = supervision.exited
    with site.database.transaction():
        gone = _is_clean(supervision)
        known = records.delete(site.database, record.id) if gone else _is_known(site, record)
        if known and ended is not None:
            journal.append(site.database, record.id, record.name, "die", exit_code=str(ended_by(ended).exit_code))
        if known and gone:
            journal.append(site.database, record.id, record.name, "destroy")
    if known and not gone:
        forget(site, record)


def _is_known(site: Site, record: ContainerRecord) -> bool:
    return records.name_of(site.database, record.id) is not None


def _ending_of(site: Site, plan: LaunchPlan, supervision: Supervision, *, timed_out: bool) -> ExitRecord:
    if supervision.exited is not None:
        return ended_by(supervision.exited)
    if timed_out and (supervision.failed is None or supervision.failed.step == Blame.LOST):
        return ExitRecord(wait_status=signal.SIGKILL, reason="its time was up before its command ran")
    if supervision.failed is not None:
        raise launch_failure(plan, supervision.failed, site.home.root, supervision.group)
    if supervision.started is not None:
        return ExitRecord(wait_status=signal.SIGKILL, reason="its monitor was killed")
    raise launch_failure(plan, Message(MessageType.FAILED, step=Blame.LOST, error=errno.ESRCH), site.home.root)


def _insert(site: Site, record: ContainerRecord, *, named: bool) -> ContainerRecord:
    """Write the row. From then on the image's layers stay; had they gone before, it would be now that we notice."""
    _check_image(site, record)
    for _ in range(_NAME_ATTEMPTS):
        try:
            records.insert(site.database, record)
        except NameInUseError:
            if named:
                raise
            record = attrs.evolve(record, name=_generated_name())
        else:
            return record
    record = attrs.evolve(record, name=f"{_generated_name()}_{record.id[:8]}")
    records.insert(site.database, record)
    return record


def _check_image(site: Site, record: ContainerRecord, cause: Exception | None = None) -> None:
    """Raise unless the layers of a container without a row are still there.

    Raises:
        ImageNotFoundError: they are not.
    """
    if not image_layers.are_there(site, record):
        raise ImageNotFoundError(name=record.image_name, hint="it was removed just now; pull it again") from cause


def _claim(site: Site, record: ContainerRecord, supervision: Supervision) -> bool:
    """Record a run that is about to begin; False when the container was updated since its request was made."""
    # Compare and set: of two processes that start the same container, one wins.
    with site.database.transaction():
        fresh = records.get(site.database, record.id)
        if fresh.phase not in (Phase.CREATED, Phase.EXITED) or fresh.monitor != record.monitor:
            status = "being removed" if fresh.phase is Phase.REMOVING else "being started"
            raise InvalidTransitionError(action="start", status=status, container=record.name)
        if fresh.config_json != record.config_json:
            return False
        owner = "" if record.config.detach else str(site.own_process)
        monitor = str(supervision.identity)
        cgroup = supervision.group.path if supervision.group else ""
        records.set_phase(
            site.database,
            record.id,
            Phase.STARTED,
            owner=owner,
            monitor=monitor,
            cgroup=cgroup,
            stopped_by_user=False,
        )
    return True


def _unclaim(site: Site, record: ContainerRecord, supervision: Supervision) -> str:
    """Take a claim back and return what others did to the container meanwhile; empty for nothing."""
    with site.database.transaction():
        try:
            fresh = records.get(site.database, record.id)
        except ContainerNotFoundError:
            return "removed"
        if fresh.phase is Phase.REMOVING:
            return "removed"
        if fresh.monitor == str(supervision.identity):
            records.set_phase(site.database, record.id, record.phase, monitor=record.monitor)
            remove_runtime_files(site, record.id)
    return "stopped" if fresh.stopped_by_user else ""


def _is_over(supervision: Supervision) -> bool:
    supervision.take(None)
    return supervision.is_over


def _generated_name() -> str:
    return name_from(int.from_bytes(os.urandom(4), "big"))
