"""The container table: claiming, resolving, recording."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from container_kit._spec.container_config import ContainerConfig
from container_kit._spec.ids import ContainerId, new_id_from
from container_kit._spec.image_config import ImageConfig
from container_kit._spec.paths import ContainerPath, HostPath
from container_kit._spec.root_filesystem import OverlayLayers, RootFilesystem
from container_kit._state import records
from container_kit._state.container_record import ContainerRecord, ExitRecord, Phase, decode_exit, encode_exit
from container_kit._state.database import Database
from container_kit.errors import AmbiguousIdError, ContainerNotFoundError, InvalidNameError, NameInUseError

ROOT = RootFilesystem(overlays=(OverlayLayers(target=ContainerPath("/"), lowers=(HostPath("/layer"),)),))
CONFIG = ContainerConfig(command=("true",), labels=(("app", "x"), ("tier", "db")))


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """An empty state file."""
    database = Database(str(tmp_path / "state.sqlite"))

    yield database

    database.close()


def id_of(number: int) -> ContainerId:
    """Return an id that begins with the number in hex."""
    return new_id_from(number.to_bytes(1, "big") * 32)


def record_of(number: int, name: str, *, config: ContainerConfig = CONFIG) -> ContainerRecord:
    """Return a record to insert."""
    return ContainerRecord.new(
        id_of(number), name, config=config, image=ImageConfig(user="u"), root=ROOT, created_time=1000.5 + number
    )


def test_record_comes_back_as_it_was(database: Database) -> None:
    """Including what is only decoded when looked at."""
    record = record_of(1, "web")

    records.insert(database, record)
    found = records.get(database, "web")

    assert record == found
    assert (CONFIG, ImageConfig(user="u"), ROOT) == (found.config, found.image, found.root)
    assert (Phase.CREATED, None, False, "") == (found.phase, found.exit, found.stopped_by_user, found.owner)
    assert datetime(1970, 1, 1, 0, 16, 41, 500000, tzinfo=UTC) == found.created_at


def test_name_belongs_to_one_container_until_it_is_gone(database: Database) -> None:
    """The error names the holder; a deleted container frees its name."""
    records.insert(database, record_of(1, "web"))

    with pytest.raises(NameInUseError) as caught:
        records.insert(database, record_of(2, "web"))
    assert ("web", id_of(1)) == (caught.value.name, caught.value.holder)
    assert records.delete(database, id_of(1))
    records.insert(database, record_of(2, "web"))

    assert id_of(2) == records.get(database, "web").id


def test_deleting_twice_is_no_error(database: Database) -> None:
    """Gone is gone, whoever did it; labels go with the row."""
    records.insert(database, record_of(1, "web"))

    assert records.delete(database, id_of(1))
    assert not records.delete(database, id_of(1))
    assert [] == database.query("SELECT * FROM labels")


def test_container_is_found_by_name_id_and_prefix(database: Database) -> None:
    """Any unambiguous beginning of an id will do."""
    records.insert(database, record_of(0xAB, "web"))
    records.insert(database, record_of(0xAC, "db"))

    assert records.get(database, "web").id == id_of(0xAB)
    assert records.get(database, id_of(0xAC)).name == "db"
    assert records.get(database, "ac").name == "db"
    assert records.get(database, "acac").name == "db"


def test_ambiguous_prefix_names_the_candidates(database: Database) -> None:
    """Guessing would remove the wrong one some day."""
    for number in (0xAB, 0xAC):
        records.insert(database, record_of(number, f"name{number}"))

    with pytest.raises(AmbiguousIdError) as caught:
        records.get(database, "a")

    assert {id_of(0xAB), id_of(0xAC)} == set(caught.value.matches)


def test_name_wins_over_an_id_that_begins_like_it(database: Database) -> None:
    """A name is exact."""
    records.insert(database, record_of(0xAB, "web"))
    records.insert(database, record_of(0xCD, "abab"))

    assert records.get(database, "abab").id == id_of(0xCD)


@pytest.mark.parametrize("name", ["wbe", "", "%", "_eb", "ff", "web'--", "WEB"])
def test_unknown_container_is_not_found(database: Database, name: str) -> None:
    """No wildcard, no quoting, no case games; similar names are offered."""
    records.insert(database, record_of(1, "web"))

    with pytest.raises(ContainerNotFoundError) as caught:
        records.get(database, name)

    assert name == caught.value.name
    if name == "wbe":
        assert caught.value.near == ("web",)


def test_list_is_ordered_by_age_and_filtered_by_label(database: Database) -> None:
    """All labels must match; None matches any value."""
    records.insert(database, record_of(3, "new"))
    records.insert(database, record_of(1, "old", config=ContainerConfig(labels=(("app", "y"),))))
    records.insert(database, record_of(2, "bare", config=ContainerConfig()))

    def names(**labels: str | None) -> list[str]:
        return [record.name for record in records.list_all(database, labels=labels)]

    assert names() == ["old", "bare", "new"]
    assert names(app=None) == ["old", "new"]
    assert names(app="x") == ["new"]
    assert names(app="x", tier="db") == ["new"]
    assert names(app="y", tier=None) == []


def test_phase_owner_and_stop_mark_are_recorded(database: Database) -> None:
    """What is not given stays."""
    records.insert(database, record_of(1, "web"))

    records.set_phase(database, id_of(1), Phase.STARTED, owner="1 2", monitor="3 4")
    records.set_phase(database, id_of(1), Phase.STARTED, stopped_by_user=True)
    found = records.get(database, "web")

    assert (Phase.STARTED, "1 2", "3 4", True) == (found.phase, found.owner, found.monitor, found.stopped_by_user)
    records.set_phase(database, id_of(1), Phase.STARTED, owner="", stopped_by_user=False)
    assert ("", False) == (records.get(database, "web").owner, records.get(database, "web").stopped_by_user)


def test_exit_is_recorded(database: Database) -> None:
    """With everything the monitor knew."""
    ended = ExitRecord(wait_status=256, flags=1, started_ns=5, finished_ns=9, restarts=2, usage=(1, 2, 3), reason="x")
    records.insert(database, record_of(1, "web"))

    records.record_exit(database, id_of(1), ended)
    found = records.get(database, "web")

    assert (Phase.EXITED, ended) == (found.phase, found.exit)


def test_exit_code_is_that_of_a_shell() -> None:
    """128 + n for a signal; unknown when nobody saw the end."""
    assert (3, 137, 0, None) == (
        ExitRecord(wait_status=3 << 8).exit_code,
        ExitRecord(wait_status=9).exit_code,
        ExitRecord(wait_status=0).exit_code,
        ExitRecord(reason="host rebooted").exit_code,
    )


def test_exit_record_of_a_newer_version_can_be_read() -> None:
    """Unknown keys are ignored."""
    assert decode_exit('{"wait_status":0,"mood":"good"}') == ExitRecord(wait_status=0)
    assert decode_exit(encode_exit(ExitRecord(usage=(1, 2, 3)))).usage == (1, 2, 3)


def test_rename_claims_the_new_name_and_frees_the_old(database: Database) -> None:
    """As atomically as creation does; renaming to the own name is fine."""
    records.insert(database, record_of(1, "web"))
    records.insert(database, record_of(2, "db"))

    with pytest.raises(NameInUseError):
        records.rename(database, id_of(1), "db")
    with pytest.raises(InvalidNameError):
        records.rename(database, id_of(1), "a b")
    records.rename(database, id_of(1), "web")
    records.rename(database, id_of(1), "www")

    assert records.get(database, "www").id == id_of(1)
    with pytest.raises(ContainerNotFoundError):
        records.get(database, "web")


def test_changed_config_is_recorded(database: Database) -> None:
    """For example another command."""
    records.insert(database, record_of(1, "web"))

    records.set_config(database, id_of(1), ContainerConfig(command=("false",)))

    assert records.get(database, "web").config.command == ("false",)


def test_changing_what_is_gone_is_an_error(database: Database) -> None:
    """A record that vanished is never made again by a late writer."""
    with pytest.raises(ContainerNotFoundError):
        records.set_phase(database, id_of(1), Phase.STARTED)
    with pytest.raises(ContainerNotFoundError):
        records.record_exit(database, id_of(1), ExitRecord())
    with pytest.raises(ContainerNotFoundError):
        records.rename(database, id_of(1), "web")

    assert [] == records.list_all(database)


def test_list_does_not_decode_configs(database: Database) -> None:
    """A damaged config of one container must not hide all others, nor cost time."""
    records.insert(database, record_of(1, "web"))
    with database.transaction() as connection:
        connection.execute("UPDATE containers SET config = '{'")

    assert ["web"] == [record.name for record in records.list_all(database)]
