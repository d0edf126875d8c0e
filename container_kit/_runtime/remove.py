"""Remove containers: end their processes, then their files, then their rows."""

from __future__ import annotations

from container_kit._linux import processes
from container_kit._runtime import stop as _stop
from container_kit._runtime.failures import typed_refusals
from container_kit._runtime.site import Site
from container_kit._runtime.state_file import MonitorState
from container_kit._runtime.status import Look, find, forget, is_ephemeral, look
from container_kit._spec.lifecycle import Action, Status, check_transition
from container_kit._state import records
from container_kit._state.container_record import ContainerRecord
from container_kit.errors import ContainerNotFoundError, InvalidTransitionError, StorageFullError

_ALIVE = (Status.RUNNING, Status.PAUSED, Status.RESTARTING)
_END_SECONDS = 5.0


@typed_refusals("cannot remove the container")
def remove(site: Site, seen: Look, *, force: bool) -> None:
    """Remove a container; with `force` also one that runs. Idempotent.

    Raises:
        InvalidTransitionError: it runs and `force` is off.
        HostError: something of it could not be removed; it can be tried again.
    """
    if not (force and seen.status in _ALIVE):
        check_transition(Action.REMOVE, seen.status, seen.record.name)
    unseen = seen.is_unseen
    if unseen and not force:
        hint = "wait until it runs, or remove(force=True)"
        raise InvalidTransitionError(action="remove", status="being started", container=seen.record.name, hint=hint)
    if unseen:
        _mark_stopped(site, seen)
    supervision = site.dismiss(seen.record.id)
    if supervision is not None:
        supervision.let_go()
    # Somebody else may have started it since: then what we let go was an earlier run.
    if seen.status in _ALIVE and seen.state is not None and processes.is_alive(seen.state.monitor):
        _stop.stop(site, seen.record.id, seen.state, timeout=0)
    elif unseen:
        _stop.stop_unseen(site, seen.record, timeout=0)
    elif seen.state is not None:
        _await_end(site, seen.record, seen.state, force=force)
    if seen.state is not None:
        processes.reap_child(seen.state.monitor)  # of an engine that is closed
    site.collect_retired()
    if not forget(site, seen.record):  # it was started since
        remove(site, find(site, seen.record.id), force=force)


def _await_end(site: Site, record: ContainerRecord, state: MonitorState, *, force: bool) -> None:
    """Wait for a monitor whose run is over: while it lives, the container is its own."""
    _stop.wake_monitor(state)
    if processes.wait_gone(state.monitor, _END_SECONDS):
        return
    if not force:
        hint = "try again, or remove(force=True)"
        raise InvalidTransitionError(action="remove", status="ending", container=record.name, hint=hint)
    _stop.stop(site, record.id, state, timeout=0)


def _mark_stopped(site: Site, seen: Look) -> None:
    # Whoever is starting it learns that its start did not fail by itself.
    try:
        records.set_stopped_by_user(site.database, seen.record.id)
    except (ContainerNotFoundError, StorageFullError):
        pass


def release(site: Site) -> None:
    """Remove the containers that this process started and that go away with their owner."""
    for container_id, supervision in site.owned():
        try:
            seen = find(site, container_id)
        except ContainerNotFoundError:
            continue
        if is_ephemeral(seen.record) and seen.record.monitor == str(supervision.identity):
            remove(site, seen, force=True)


def prune(site: Site) -> list[str]:
    """Remove every container that does not run; return their ids."""
    removed: list[str] = []
    for record in records.list_all(site.database):
        seen = look(site, record)
        if seen is None or seen.status not in (Status.CREATED, Status.EXITED, Status.DEAD):
            continue
        try:
            remove(site, seen, force=False)
        except (ContainerNotFoundError, InvalidTransitionError):
            continue  # it was started or removed since
        removed.append(record.id)
    return removed
