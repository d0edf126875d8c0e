"""Finish or undo what dead processes left: run when an engine is opened, and by `Engine.check`.

Every resource of a container has a name derived from its id, and the row is written before
the resource is made. So what is there without a row, or with a row whose processes are
dead, can be told from what is alive.
"""

from __future__ import annotations

import os

import attrs

from container_kit._linux import processes
from container_kit._linux.processes import ProcessId
from container_kit._runtime.cleanup import remove_files
from container_kit._runtime.site import Site
from container_kit._runtime.status import forget, has_living_owner, is_ephemeral, look
from container_kit._spec.ids import ContainerId
from container_kit._state import records
from container_kit._state.container_record import ContainerRecord, Phase
from container_kit.errors import ContainerKitError

_ID_LENGTH = 64


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
    return problems


def _put_right(site: Site, record: ContainerRecord) -> None:
    if record.phase is Phase.STARTED:
        look(site, record)  # looking settles
    else:
        forget(site, record)


def _finding(record: ContainerRecord) -> str:
    if record.phase is Phase.STARTED:
        monitor = ProcessId.parse(record.monitor) if record.monitor else None
        return "" if processes.is_alive(monitor) else "its monitor is gone"
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


def _ids_in(directory: str) -> set[str]:
    return {name for name in os.listdir(directory) if len(name) == _ID_LENGTH}
