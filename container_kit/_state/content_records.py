"""The tables about content: which layers are unpacked, and what somebody is at work with.

Every function is a transaction of its own, or a part of the one that is open in its thread.
"""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from container_kit._linux import processes
from container_kit._linux.processes import ProcessId
from container_kit._state.database import Database


@attrs.frozen(kw_only=True)
class LayerRecord:
    """A layer's tree is complete.

    Attributes:
        diff_id: which layer.
        boot_id: the boot in which it was unpacked.
        durable: whether it survives a power cut.
        unpacked_at: seconds since the epoch.
        bytes, entries: what is in it: contents of files, and names.
    """

    diff_id: str
    boot_id: str
    durable: bool
    unpacked_at: float
    bytes: int
    entries: int


def put_layer(database: Database, record: LayerRecord) -> None:
    """Record that a layer is complete, in place of an earlier record."""
    with database.transaction() as connection:
        connection.execute(
            "INSERT OR REPLACE INTO layers (diff_id, boot_id, durable, unpacked_at, bytes, entries)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            attrs.astuple(record),
        )


def layers(database: Database, diff_ids: Iterable[str] | None = None) -> dict[str, LayerRecord]:
    """Return the records of these layers, as far as there are any; None: of all."""
    wanted = None if diff_ids is None else list(diff_ids)
    where = "" if wanted is None else f" WHERE diff_id IN ({', '.join('?' * len(wanted))})"
    query = f"SELECT diff_id, boot_id, durable, unpacked_at, bytes, entries FROM layers{where}"  # noqa: S608  # bound
    found = [_layer_of(row) for row in database.query(query, wanted or ())]
    return {record.diff_id: record for record in found}


def set_layers_durable(database: Database, *, boot_id: str, before: float) -> None:
    """Record that the layers that were unpacked in this boot until `before` survive a power cut."""
    with database.transaction() as connection:
        connection.execute(
            "UPDATE layers SET durable = 1 WHERE boot_id = ? AND unpacked_at <= ?",
            (boot_id, before),
        )


def drop_layer(database: Database, diff_id: str) -> None:
    """Forget a layer. Idempotent."""
    with database.transaction() as connection:
        connection.execute("DELETE FROM layers WHERE diff_id = ?", (diff_id,))


def add_leases(database: Database, token: str, process: ProcessId, digests: Iterable[str]) -> None:
    """Protect these digests until the lease with this token is dropped or its process is gone."""
    boot = processes.boot_id()
    rows = [(token, digest, boot, str(process)) for digest in digests]
    with database.transaction() as connection:
        connection.executemany(
            "INSERT OR IGNORE INTO leases (token, digest, boot_id, process) VALUES (?, ?, ?, ?)", rows
        )


def drop_lease(database: Database, token: str) -> None:
    """End a lease. Idempotent."""
    with database.transaction() as connection:
        connection.execute("DELETE FROM leases WHERE token = ?", (token,))


def live_leases(database: Database) -> set[str]:
    """Return the digests that are protected; leases of processes that are gone are dropped on the way."""
    boot = processes.boot_id()
    held: set[str] = set()
    with database.transaction() as connection:
        rows = connection.execute("SELECT DISTINCT token, boot_id, process FROM leases").fetchall()
        for token, its_boot, process in rows:
            if its_boot != boot or not processes.is_alive(ProcessId.parse(process)):
                connection.execute("DELETE FROM leases WHERE token = ?", (token,))
        held.update(str(row[0]) for row in connection.execute("SELECT DISTINCT digest FROM leases"))
    return held


def _layer_of(row: tuple[object, ...]) -> LayerRecord:
    diff_id, boot_id, durable, unpacked_at, size, entries = row
    assert isinstance(unpacked_at, float)
    assert isinstance(size, int)
    assert isinstance(entries, int)
    return LayerRecord(
        diff_id=str(diff_id),
        boot_id=str(boot_id),
        durable=bool(durable),
        unpacked_at=unpacked_at,
        bytes=size,
        entries=entries,
    )
