"""Finish or undo what dead processes left: run when an engine is opened, and by `Engine.check`.

Every resource of a container has a name derived from its id, and the row is written before
the resource is made. So what is there without a row, or with a row whose processes are
dead, can be told from what is alive.
"""

from __future__ import annotations

import os
import re
import signal

import attrs

from container_kit._linux import processes
from container_kit._linux.files import remove_scratch
from container_kit._linux.processes import ProcessId
from container_kit._runtime.cleanup import remove_files
from container_kit._runtime.site import Site
from container_kit._runtime.state_file import read_state
from container_kit._runtime.status import forget, has_living_owner, is_ephemeral, look
from container_kit._runtime.stop import kill_without_monitor
from container_kit._spec.ids import ContainerId
from container_kit._state import records
from container_kit._state.container_record import ContainerRecord, Phase
from container_kit._store.scratch import is_abandoned
from container_kit.errors import ContainerKitError

_ID_LENGTH = 64
_END_SECONDS = 5.0
# Made under a name with the maker's pid in it, and renamed when complete: layers, probes, a new database.
_UNFINISHED = re.compile(r"(?:\.[a-z0-9-]+|state\.sqlite\.new)-([0-9]+)-[a-z0-9_]+(?:-wal|-shm|-journal)?")


@attrs.frozen
class Problem:
    """Something that was found, and whether it could be put right."""

    subject: str
    finding: str
    repaired: bool


def reconcile(site: Site, *, repair: bool = True) -> list[Problem]:
    """Settle every container whose monitor or owner is dead, and remove what belongs to none. Idempotent.

    Args:
        site: where to look.
        repair: False: only say what there is to do.
    """
    problems: list[Problem] = []
    known: set[str] = set()
    for record in records.list_all(site.database):
        known.add(record.id)
        finding = _finding(record)
        try:
            if not finding:
                continue
            if repair:
                _put_right(site, record)
            problems.append(Problem(record.name, finding, repaired=repair))
        except ContainerKitError as err:
            problems.append(Problem(record.name, str(err), repaired=False))
    problems += _remove_strays(site, known, repair=repair)
    problems += _remove_unfinished(site, repair=repair)
    problems += _remove_scratch(site, repair=repair)
    return problems


def _put_right(site: Site, record: ContainerRecord) -> None:
    if record.phase is Phase.STARTED:
        _await_monitor(site, record)
        look(site, record)  # looking settles
    else:
        forget(site, record)


def _await_monitor(site: Site, record: ContainerRecord) -> None:
    # One whose owner died is about to end by itself, so that its name is free when we are through.
    monitor = ProcessId.parse(record.monitor) if record.monitor else None
    if monitor is None or processes.wait_gone(monitor, _END_SECONDS):
        return
    kill_without_monitor(site, record.id, read_state(site.home.state_file(record.id)))
    processes.signal_process(monitor, signal.SIGKILL)
    processes.wait_gone(monitor, _END_SECONDS)


def _finding(record: ContainerRecord) -> str:
    if record.phase is Phase.STARTED:
        monitor = ProcessId.parse(record.monitor) if record.monitor else None
        if not processes.is_alive(monitor):
            return "its monitor is gone"
        return "" if record.config.detach or has_living_owner(record) else "its owner is gone"
    if record.phase is Phase.REMOVING:
        return "its removal was not finished"
    if is_ephemeral(record) and not has_living_owner(record):
        return "its owner is gone"
    return ""


def _remove_strays(site: Site, known: set[str], *, repair: bool) -> list[Problem]:
    # A row is written before its directories, so a directory without a row belongs to a removal
    # that another process is about to finish, or was cut short. Removing twice is fine.
    found = _ids_in(site.home.containers) | _ids_in(site.home.runtime)
    problems: list[Problem] = []
    for container_id in sorted(found - known):
        if records.name_of(site.database, ContainerId(container_id)) is not None:
            continue  # made since the list was read
        try:
            if repair:
                remove_files(site, container_id)
        except ContainerKitError as err:
            problems.append(Problem(container_id, str(err), repaired=False))
        else:
            problems.append(Problem(container_id, "files without a container", repaired=repair))
    return problems


def _remove_unfinished(site: Site, *, repair: bool) -> list[Problem]:
    problems: list[Problem] = []
    for directory in (site.home.root, site.home.layers):
        for name in os.listdir(directory):
            match = _UNFINISHED.fullmatch(name)
            if match is None or processes.read_stat(int(match[1])) is not None:
                continue
            repaired = repair
            try:
                if repair:
                    remove_scratch(f"{directory}/{name}")
            except OSError:
                repaired = False  # another process removes it, too; else the next time
            problems.append(Problem(name, "an unfinished file of a process that is gone", repaired=repaired))
    return problems


def _remove_scratch(site: Site, *, repair: bool) -> list[Problem]:
    """Remove what dead processes were unpacking, downloading or deleting."""
    places = (site.home.layers, site.home.ingest)
    found = [name for place in places for name in os.listdir(place) if is_abandoned(name)]
    if found and repair:
        from container_kit._store.collect import sweep  # loads the store, which most engines need not

        sweep(site.images)
    return [Problem(name, "a part of an image of a process that is gone", repaired=repair) for name in found]


def _ids_in(directory: str) -> set[str]:
    return {name for name in os.listdir(directory) if len(name) == _ID_LENGTH}
