"""What happened, in order: a bounded table that is read with a cursor.

An event is written in the transaction of the change it reports, so there is no change
without its event and no event without its change. `sequence` only grows; a reader
passes the last one it saw. The oldest events are dropped, a gap shows as a jump.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from datetime import UTC, datetime

from container_kit._spec.events import Event
from container_kit._spec.ids import ContainerId
from container_kit._state.database import Database

KEPT_EVENTS = 10_000
_SWEEP_EVERY = 256
_encode = json.JSONEncoder(separators=(",", ":")).encode


def append(database: Database, container: ContainerId, name: str, action: str, **attributes: str) -> int:
    """Add an event, as a part of an open transaction if there is one, and return its sequence."""
    with database.transaction() as connection:
        cursor = connection.execute(
            "INSERT INTO events (time, id, name, action, attributes) VALUES (?, ?, ?, ?, ?)",
            (time.time(), container, name, action, _encode(attributes) if attributes else "{}"),
        )
        sequence = cursor.lastrowid or 0
        if sequence % _SWEEP_EVERY == 0:
            connection.execute("DELETE FROM events WHERE sequence <= ?", (sequence - KEPT_EVENTS,))
    return sequence


def read(database: Database, *, after: int = 0, limit: int = 1000) -> list[Event]:
    """Return the oldest events that come after a sequence, at most `limit`."""
    rows = database.query(
        "SELECT sequence, time, id, name, action, attributes FROM events WHERE sequence > ? ORDER BY sequence LIMIT ?",
        (after, limit),
    )
    return [_event(row) for row in rows]


def last_exit_code(database: Database, container: ContainerId) -> int | None:
    """Return the exit code in a container's newest `die` event; None when none is kept."""
    rows = database.query(
        "SELECT attributes FROM events WHERE id = ? AND action = 'die' ORDER BY sequence DESC LIMIT 1", (container,)
    )
    return int(json.loads(str(rows[0][0]))["exit_code"]) if rows else None


def last_sequence(database: Database) -> int:
    """Return the newest event's sequence, 0 before the first: a cursor for what comes next."""
    rows = database.query("SELECT seq FROM sqlite_sequence WHERE name = 'events'")
    return int(str(rows[0][0])) if rows else 0


def _event(row: tuple[object, ...]) -> Event:
    sequence, seconds, container, name, action, attributes = row
    assert isinstance(sequence, int)
    assert isinstance(seconds, float)
    found: Mapping[str, str] = json.loads(str(attributes))
    return Event(
        sequence=sequence,
        time=datetime.fromtimestamp(seconds, UTC),
        id=ContainerId(str(container)),
        name=str(name),
        action=str(action),
        attributes=tuple(found.items()),
    )
