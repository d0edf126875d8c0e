"""The container table: claiming and resolving names, and recording what happened.

Every function is a transaction of its own, or a part of the one that is open in its
thread.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

from container_kit._spec.codec import encode_config
from container_kit._spec.container_config import ContainerConfig
from container_kit._spec.ids import ContainerId, check_name, is_id_prefix
from container_kit._state.container_record import ContainerRecord, ExitRecord, Phase, encode_exit
from container_kit._state.database import Connection, Database
from container_kit.errors import AmbiguousIdError, ContainerNotFoundError, InvalidNameError, NameInUseError

_COLUMNS = (
    "id, name, phase, created_at, image_name, config, image, root, owner, monitor, stopped_by_user, exit, image_id,"
    " cgroup"
)
_PLACES = ", ".join("?" * len(_COLUMNS.split(", ")))
_INSERT = f"INSERT INTO containers ({_COLUMNS}) VALUES ({_PLACES})"  # noqa: S608  # constants only
_SELECT = f"SELECT {_COLUMNS} FROM containers"  # noqa: S608
_SHOWN_MATCHES = 6


def insert(database: Database, record: ContainerRecord) -> None:
    """Add a container and thereby claim its name.

    Raises:
        NameInUseError: Another container has it.
    """
    with database.transaction() as connection:
        try:
            connection.execute(_INSERT, _row_of(record))
        except sqlite3.IntegrityError:
            holder = _holder_of(connection, record.name)
            if holder is None:
                raise
            raise NameInUseError(
                name=record.name, holder=holder, hint="remove that container or choose another name"
            ) from None
        labels = record.config.labels
        if labels:
            rows = [(record.id, key, value) for key, value in labels]
            connection.executemany("INSERT INTO labels (container, key, value) VALUES (?, ?, ?)", rows)


def get(database: Database, name_or_id: str) -> ContainerRecord:
    """Return the container with this name, id or unambiguous beginning of an id; a name wins over an id.

    Raises:
        ContainerNotFoundError: There is none; `near` holds similar names.
        AmbiguousIdError: Several ids begin like this.
    """
    if not isinstance(name_or_id, str):  # pyright: ignore[reportUnnecessaryIsInstance]  # a caller's, unchecked
        raise InvalidNameError(field="name", value=name_or_id, reason="must be a string")
    if not name_or_id.isascii():
        raise ContainerNotFoundError(name=name_or_id)  # no name is like that, and SQLite takes UTF-8 only
    rows = database.query(f"{_SELECT} WHERE name = ? OR id = ?", (name_or_id, name_or_id))
    if not rows and is_id_prefix(name_or_id):
        # "g" comes right after the last hexadecimal digit: a range, so the index serves it.
        found = database.query(
            f"{_SELECT} WHERE id >= ? AND id < ? LIMIT ?", (name_or_id, f"{name_or_id}g", _SHOWN_MATCHES)
        )
        if len(found) > 1:
            raise AmbiguousIdError(prefix=name_or_id, matches=tuple(str(row[0]) for row in found))
        rows = found
    records = [_record_of(row) for row in rows]
    named = [record for record in records if record.name == name_or_id]
    if not records:
        raise ContainerNotFoundError(name=name_or_id, near=_near(database, name_or_id))
    return (named or records)[0]


def name_of(database: Database, container: ContainerId) -> str | None:
    """Return the name of the container with this full id, if there is one."""
    rows = database.query("SELECT name FROM containers WHERE id = ?", (container,))
    return str(rows[0][0]) if rows else None


def cgroup_of(database: Database, container: ContainerId) -> str | None:
    """Return the recorded cgroup of the container with this full id, empty for none; None without such a container."""
    rows = database.query("SELECT cgroup FROM containers WHERE id = ?", (container,))
    return str(rows[0][0]) if rows else None


def names_made_from(database: Database, images: Sequence[str]) -> tuple[str, ...]:
    """Return the names of the containers that were made from one of these manifests, by digest."""
    places = ", ".join("?" * len(images))
    rows = database.query(f"SELECT name FROM containers WHERE image_id IN ({places}) ORDER BY name", images)  # noqa: S608
    return tuple(str(row[0]) for row in rows)


def list_all(database: Database, *, labels: Mapping[str, str | None] | None = None) -> list[ContainerRecord]:
    """Return all containers, oldest first: one query, one moment.

    Args:
        database: The engine's database.
        labels: Only those with all of these labels; None as a value means any value.
    """
    conditions: list[str] = []
    parameters: list[str] = []
    for key, value in (labels or {}).items():
        test = "" if value is None else " AND value = ?"
        conditions.append(f"id IN (SELECT container FROM labels WHERE key = ?{test})")  # noqa: S608  # values are bound
        parameters.extend([key] if value is None else [key, value])
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    rows = database.query(f"{_SELECT}{where} ORDER BY created_at, id", parameters)
    return [_record_of(row) for row in rows]


def set_phase(
    database: Database,
    container: ContainerId,
    phase: Phase,
    *,
    owner: str | None = None,
    monitor: str | None = None,
    cgroup: str | None = None,
    stopped_by_user: bool | None = None,
) -> None:
    """Record how far a container has come; None leaves the rest as it is.

    Raises:
        ContainerNotFoundError: There is no such container.
    """
    _update(
        database,
        container,
        "phase = ?, owner = ifnull(?, owner), monitor = ifnull(?, monitor),"
        " cgroup = ifnull(?, cgroup), stopped_by_user = ifnull(?, stopped_by_user)",
        (phase.value, owner, monitor, cgroup, stopped_by_user),
    )


def set_stopped_by_user(database: Database, container: ContainerId) -> None:
    """Record that somebody asked for the end, whatever the container is doing by now.

    Raises:
        ContainerNotFoundError: There is no such container.
    """
    _update(database, container, "stopped_by_user = ?", (True,))


def record_exit(database: Database, container: ContainerId, ended: ExitRecord) -> None:
    """Record how a run ended.

    Raises:
        ContainerNotFoundError: There is no such container.
    """
    _update(database, container, "phase = ?, exit = ?", (Phase.EXITED.value, encode_exit(ended)))


def set_config(database: Database, container: ContainerId, config: ContainerConfig) -> None:
    """Record a changed config, e.g. another restart policy; labels stay as they were made.

    Raises:
        ContainerNotFoundError: There is no such container.
    """
    _update(database, container, "config = ?", (encode_config(config),))


def rename(database: Database, container: ContainerId, name: str) -> None:
    """Give a container another name.

    Raises:
        NameInUseError: Another container has it.
        ContainerNotFoundError: There is no such container.
    """
    check_name(name)
    with database.transaction() as connection:
        holder = _holder_of(connection, name)
        if holder not in (None, container):
            raise NameInUseError(name=name, holder=str(holder), hint="remove that container or choose another name")
        _update(database, container, "name = ?", (name,))


def delete(database: Database, container: ContainerId) -> bool:
    """Remove a container's row and free its name. Idempotent: False when it was gone already."""
    with database.transaction() as connection:
        return connection.execute("DELETE FROM containers WHERE id = ?", (container,)).rowcount > 0


def _update(database: Database, container: ContainerId, assignments: str, values: tuple[str | int | None, ...]) -> None:
    with database.transaction() as connection:
        statement = f"UPDATE containers SET {assignments} WHERE id = ?"  # noqa: S608  # our own text, values are bound
        cursor = connection.execute(statement, (*values, container))
        if cursor.rowcount == 0:
            raise ContainerNotFoundError(name=container)


def _holder_of(connection: Connection, name: str) -> str | None:
    row = connection.execute("SELECT id FROM containers WHERE name = ?", (name,)).fetchone()
    return None if row is None else str(row[0])


def _near(database: Database, name: str) -> tuple[str, ...]:
    from difflib import get_close_matches  # only needed on the way to an error

    names = [str(row[0]) for row in database.query("SELECT name FROM containers")]
    return tuple(get_close_matches(name, names))


def _row_of(record: ContainerRecord) -> tuple[str | float | int | None, ...]:
    return (
        record.id,
        record.name,
        record.phase.value,
        record.created_time,
        record.image_name,
        record.config_json,
        record.image_json,
        record.root_json,
        record.owner,
        record.monitor,
        record.stopped_by_user,
        record.exit_json,
        record.image_id,
        record.cgroup,
    )


def _record_of(row: tuple[Any, ...]) -> ContainerRecord:
    return ContainerRecord(
        id=row[0],
        name=row[1],
        phase=Phase(row[2]),
        created_time=row[3],
        image_name=row[4],
        config_json=row[5],
        image_json=row[6],
        root_json=row[7],
        owner=row[8],
        monitor=row[9],
        stopped_by_user=bool(row[10]),
        exit_json=row[11],
        image_id=row[12],
        cgroup=row[13],
    )
