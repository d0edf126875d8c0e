"""A state file of an earlier version is brought up to date when it is opened, with everything that is in it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

from container_kit._linux import processes
from container_kit._spec.container_config import ContainerConfig
from container_kit._spec.ids import new_id_from
from container_kit._spec.image_config import ImageConfig
from container_kit._spec.root_filesystem import RootFilesystem
from container_kit._state import content_records, records
from container_kit._state.container_record import UNRECORDED_CGROUP, ContainerRecord
from container_kit._state.content_records import LayerRecord
from container_kit._state.database import Database
from container_kit._state.schema import APPLICATION_ID, MIGRATIONS

RECORD = ContainerRecord.new(
    new_id_from(b"x" * 32),
    "web",
    config=ContainerConfig(command=("true",)),
    image=ImageConfig(),
    root=RootFilesystem(overlays=()),
    image_id="sha256:" + "1" * 64,
    created_time=1.5,
)
LAYER = LayerRecord(diff_id="sha256:a", boot_id="b", durable=False, unpacked_at=10.5, bytes=1 << 40, entries=3)


def old_file(path: Path, version: int) -> None:
    """Make a state file as an earlier version made it, with a container in it."""
    with sqlite3.connect(path) as connection:
        for migration in MIGRATIONS[:version]:
            for statement in migration:
                connection.execute(statement)
        connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version={version}")
        columns = "id, name, phase, created_at, image_name, config, image, root, owner, monitor, stopped_by_user"
        values = (RECORD.id, "web", "created", 1.5, "i", RECORD.config_json, RECORD.image_json, RECORD.root_json)
        connection.execute(f"INSERT INTO containers ({columns}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, '', '', 0)", values)  # noqa: S608
    connection.close()


@pytest.mark.parametrize("version", range(1, len(MIGRATIONS)))
def test_an_older_file_keeps_its_containers(tmp_path: Path, version: int) -> None:
    """Columns that are new have their defaults, tables that are new are empty."""
    path = tmp_path / "state.sqlite"
    old_file(path, version)

    database = Database(str(path))

    found = records.get(database, "web")
    assert ("i", RECORD.config) == (found.image_name, found.config)
    if version < 2:
        assert "" == found.image_id
    if version < 3:
        assert UNRECORDED_CGROUP == found.cgroup
    assert {} == content_records.layers(database)
    database.check()
    database.close()


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """Give an empty state file."""
    database = Database(str(tmp_path / "state.sqlite"))

    yield database

    database.close()


def test_the_image_of_a_container_comes_back(database: Database) -> None:
    """By its digest: a name may mean another one by then."""
    records.insert(database, RECORD)

    assert RECORD == records.get(database, "web")
    assert RECORD.image_id == records.get(database, "web").image_id


def test_layers_are_recorded_and_forgotten(database: Database) -> None:
    """The newest record of a layer counts."""
    content_records.put_layer(database, attrs.evolve(LAYER, entries=1))
    content_records.put_layer(database, LAYER)
    content_records.put_layer(database, attrs.evolve(LAYER, diff_id="sha256:b"))

    assert {"sha256:a": LAYER} == content_records.layers(database, ["sha256:a", "sha256:c"])
    assert {"sha256:a", "sha256:b"} == set(content_records.layers(database))
    assert {} == content_records.layers(database, [])
    for _ in range(2):
        content_records.drop_layer(database, "sha256:a")
    assert {"sha256:b"} == set(content_records.layers(database))


def test_only_layers_of_this_boot_and_until_then_become_durable(database: Database) -> None:
    """What was written after the disk was asked may not be on it."""
    for diff_id, boot, moment in (("old", "b", 1.0), ("new", "b", 9.0), ("other", "a", 1.0)):
        content_records.put_layer(database, attrs.evolve(LAYER, diff_id=diff_id, boot_id=boot, unpacked_at=moment))

    content_records.set_layers_durable(database, boot_id="b", before=5.0)

    durable = {diff_id: record.durable for diff_id, record in content_records.layers(database).items()}
    assert {"old": True, "new": False, "other": False} == durable


def test_leases_hold_until_they_are_dropped(database: Database) -> None:
    """Two may hold the same; only those of live processes count."""
    own = processes.own_process_id()
    content_records.add_leases(database, "one", own, ["x", "y"])
    content_records.add_leases(database, "one", own, ["y"])
    content_records.add_leases(database, "two", own, ["y"])
    content_records.add_leases(database, "dead", attrs.evolve(own, start_time=1), ["z"])

    assert {"x", "y"} == content_records.live_leases(database)
    content_records.drop_lease(database, "one")
    content_records.drop_lease(database, "one")

    assert {"y"} == content_records.live_leases(database)
