"""What is true of a container now: asked of the kernel and the monitor's file, never remembered.

Where a look finds a monitor that ended without its starter noting it (the caller died, the
monitor was killed, the host rebooted), it settles what was left: ends survivors, records
the exit or removes what was ephemeral. Whoever looks first does it; doing it twice
changes nothing.
"""

from __future__ import annotations

import os

import attrs

from container_kit._linux import cgroup, processes
from container_kit._linux.processes import ProcessId
from container_kit._runtime.cleanup import remove_files, remove_runtime_files
from container_kit._runtime.site import Site
from container_kit._runtime.state_file import MonitorState, read_state
from container_kit._runtime.stop import kill_without_monitor
from container_kit._spec.healthcheck import RestartKind
from container_kit._spec.lifecycle import Status
from container_kit._state import journal, records
from container_kit._state.container_record import ContainerRecord, ExitRecord, Phase
from container_kit.errors import ContainerNotFoundError, StorageFullError

_KILL_SECONDS = 5.0  # others wait longer than that for the database
_KILLED = 9  # wait(2) status of a process that SIGKILL ended


@attrs.frozen(kw_only=True)
class Look:
    """One look at a container.

    Attributes:
        record: its row.
        status: what it is.
        state: the monitor's word, while there is a monitor.
        ended: how the last run ended.
    """

    record: ContainerRecord
    status: Status
    state: MonitorState | None = None
    ended: ExitRecord | None = None

    @property
    def init(self) -> ProcessId | None:
        """The container's PID 1 as the host sees it, while it runs."""
        running = self.status in (Status.RUNNING, Status.PAUSED)
        return self.state.init if self.state is not None and running else None

    @property
    def is_launching(self) -> bool:
        """True while its PID 1 is on the way to the command: it may still be in the host's tree, and is not entered."""
        return self.init is not None and self.state is not None and not self.state.launched

    @property
    def is_unseen(self) -> bool:
        """True when its monitor lives and has no state file: not yet, or somebody took it away."""
        return self.record.phase is Phase.STARTED and self.status is Status.CREATED


def is_ephemeral(record: ContainerRecord) -> bool:
    """Say whether a container goes away with its run or with its owner."""
    config = record.config
    return config.remove is True or (config.remove is None and not config.detach)


def find(site: Site, name_or_id: str) -> Look:
    """Look a container up by name, id or the beginning of an id.

    Raises:
        ContainerNotFoundError: there is none; AmbiguousIdError: several ids begin like this.
    """
    seen = look(site, records.get(site.database, name_or_id))
    if seen is None:
        raise ContainerNotFoundError(name=name_or_id)
    return seen


def look(site: Site, record: ContainerRecord) -> Look | None:
    """Return what is true of a container now; None when it turns out to be gone."""
    match record.phase:
        case Phase.CREATED:
            return Look(record=record, status=Status.CREATED)
        case Phase.EXITED:
            return Look(record=record, status=Status.EXITED, ended=record.exit)
        case Phase.REMOVING:
            return Look(record=record, status=Status.DEAD, ended=record.exit)
        case Phase.STARTED:
            return _look_at_started(site, record)


def forget(site: Site, record: ContainerRecord) -> bool:
    """Remove everything of a container whose processes are gone: files first, its row last. Idempotent.

    Returns:
        False when another run has begun since: then nothing was touched.
    """
    try:
        with site.database.transaction():
            fresh = records.get(site.database, record.id)
            if fresh.phase is not Phase.REMOVING and fresh.monitor != record.monitor:
                return False
            records.set_phase(site.database, record.id, Phase.REMOVING)
    except (ContainerNotFoundError, StorageFullError):
        pass  # somebody else finished, or the disk is full: the files go all the same
    remove_files(site, record.id)
    with site.database.transaction():
        if records.delete(site.database, record.id):
            journal.append(site.database, record.id, record.name, "destroy")
    return True


def note_exit(site: Site, record: ContainerRecord, ended: ExitRecord) -> None:
    """Record how a run ended, with its event, unless another run has begun since."""
    with site.database.transaction():
        fresh = records.get(site.database, record.id)
        if fresh.phase is Phase.STARTED and fresh.monitor == record.monitor:
            records.record_exit(site.database, record.id, ended)
            journal.append(site.database, record.id, record.name, "die", exit_code=str(ended.exit_code))


def has_living_owner(record: ContainerRecord) -> bool:
    """Say whether the process that owns the container is alive."""
    return bool(record.owner) and processes.is_alive(ProcessId.parse(record.owner))


def _look_at_started(site: Site, record: ContainerRecord) -> Look | None:
    monitor = ProcessId.parse(record.monitor) if record.monitor else None
    state = read_state(site.home.state_file(record.id))
    if not processes.is_alive(monitor):
        return _look_at_ended(site, record, monitor)
    if state is None or state.monitor != monitor:
        return Look(record=record, status=Status.CREATED)
    if state.phase == "running" and processes.is_alive(state.init):
        path = site.cgroup_of(record)
        paused = path is not None and cgroup.is_frozen(path)
        return Look(record=record, status=Status.PAUSED if paused else Status.RUNNING, state=state)
    # PID 1 may be dead and its monitor not have said yet what comes of it; the record tells of an earlier run.
    over = state.phase == "exited" or (state.phase == "running" and record.config.restart.kind is RestartKind.NO)
    return Look(record=record, status=Status.EXITED if over else Status.RESTARTING, state=state, ended=state.ended)


def _look_at_ended(site: Site, record: ContainerRecord, monitor: ProcessId | None) -> Look | None:
    if monitor is not None:
        processes.reap_child(monitor)  # of an engine that is closed
    # The monitor's last word: what was read while it lived may be older.
    state = read_state(site.home.state_file(record.id))
    try:
        return _settle(site, record, state)
    except ContainerNotFoundError:  # somebody else removed it
        return None
    except StorageFullError:  # what is true can be said without writing it down
        return Look(record=record, status=Status.EXITED, ended=_ending(state))


def _settle(site: Site, record: ContainerRecord, state: MonitorState | None) -> Look | None:
    # In a transaction, so that nobody starts it anew before what is left of the dead run is gone:
    # the next run has a cgroup and files of the same names.
    with site.database.transaction():
        try:
            fresh = records.get(site.database, record.id)
        except ContainerNotFoundError:
            return None
        if fresh.phase is not Phase.STARTED or fresh.monitor != record.monitor:
            return look(site, fresh)  # somebody else was faster
        kill_without_monitor(site, record.id, state)
        path = site.cgroup_of(record)
        if path is not None:
            cgroup.remove(path)
        if state is not None and state.init is not None and not processes.wait_gone(state.init, _KILL_SECONDS):
            return Look(record=record, status=Status.DEAD, state=state)  # the kernel keeps it, and with it its mounts
        if record.config.remove is not True and not (is_ephemeral(record) and not has_living_owner(record)):
            return _settle_kept(site, record, state)
        if state is not None and state.ended is not None:
            note_exit(site, record, state.ended)  # in the journal it outlives the container, for those who wait
        records.set_phase(site.database, record.id, Phase.REMOVING)
    forget(site, record)
    return None


def _settle_kept(site: Site, record: ContainerRecord, state: MonitorState | None) -> Look | None:
    if state is None and record.exit is None and not os.path.isdir(site.home.container_dir(record.id)):
        records.set_phase(site.database, record.id, Phase.CREATED)  # it never came to a launch
    else:
        note_exit(site, record, _ending(state))
    remove_runtime_files(site, record.id)
    return look(site, records.get(site.database, record.id))


def _ending(state: MonitorState | None) -> ExitRecord:
    if state is not None and state.ended is not None and state.phase == "exited":
        return state.ended
    return ExitRecord(wait_status=_KILLED, reason="its monitor was killed, or the host went down")
