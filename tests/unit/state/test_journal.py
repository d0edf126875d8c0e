"""The journal: ordered, bounded, and as true as the change it reports."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from container_kit._spec.ids import ContainerId
from container_kit._state import journal
from container_kit._state.database import Database

ID = ContainerId("ab" * 32)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """An empty state file."""
    database = Database(str(tmp_path / "state.sqlite"))

    yield database

    database.close()


def test_events_are_read_in_order_from_a_cursor(database: Database) -> None:
    """A reader passes the last sequence it saw."""
    assert journal.last_sequence(database) == 0
    first = journal.append(database, ID, "web", "create", image="host")
    cursor = journal.last_sequence(database)
    journal.append(database, ID, "web", "start")
    journal.append(database, ID, "web", "die", exit_code="0")

    everything = journal.read(database)

    assert first == cursor == everything[0].sequence
    assert ["create", "start", "die"] == [event.action for event in everything]
    assert ["start", "die"] == [event.action for event in journal.read(database, after=cursor)]
    assert ["start"] == [event.action for event in journal.read(database, after=cursor, limit=1)]
    assert (ID, "web", (("image", "host"),)) == (everything[0].id, everything[0].name, everything[0].attributes)
    assert abs(datetime.now(UTC) - everything[0].time) < timedelta(minutes=1)


def test_event_disappears_with_the_change_it_reports(database: Database) -> None:
    """No event of something that did not happen."""

    def interrupted() -> None:
        with database.transaction():
            journal.append(database, ID, "web", "create")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        interrupted()

    assert [] == journal.read(database)


def test_oldest_events_are_dropped_and_cursors_stay_valid(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """The table is bounded; a number is never used twice."""
    monkeypatch.setattr(journal, "KEPT_EVENTS", 100)
    with database.transaction():
        for _ in range(1000):
            journal.append(database, ID, "web", "start")

    kept = journal.read(database, limit=2000)

    assert 100 <= len(kept) < 100 + 256
    assert journal.last_sequence(database) == kept[-1].sequence == 1000
    with database.transaction() as connection:
        connection.execute("DELETE FROM events")
    assert journal.append(database, ID, "web", "start") == 1001
