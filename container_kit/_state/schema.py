"""The tables, as numbered migrations.

A database records how many migrations it has seen (`user_version`); opening one applies
the rest in a single transaction. A migration that was released is never edited.
"""

from __future__ import annotations

from typing import Final

# "CKIT": tells our files from other programs' SQLite files.
APPLICATION_ID: Final = 0x434B4954

_FIRST = (
    # phase: intent, see container_record. owner, monitor: "pid starttime" or ''. exit: JSON of the last run, or NULL.
    """
    CREATE TABLE containers (
        id TEXT PRIMARY KEY NOT NULL,
        name TEXT NOT NULL UNIQUE,
        phase TEXT NOT NULL,
        created_at REAL NOT NULL,
        image_name TEXT NOT NULL,
        config TEXT NOT NULL,
        image TEXT NOT NULL,
        root TEXT NOT NULL,
        owner TEXT NOT NULL,
        monitor TEXT NOT NULL,
        stopped_by_user INTEGER NOT NULL,
        exit TEXT
    ) STRICT
    """,
    # A copy of the labels in config, for filters.
    """
    CREATE TABLE labels (
        container TEXT NOT NULL REFERENCES containers (id) ON DELETE CASCADE,
        key TEXT NOT NULL,
        value TEXT NOT NULL,
        PRIMARY KEY (container, key)
    ) STRICT, WITHOUT ROWID
    """,
    "CREATE INDEX labels_by_key ON labels (key, value)",
    # AUTOINCREMENT: a cursor stays valid although old events are dropped.
    """
    CREATE TABLE events (
        sequence INTEGER PRIMARY KEY AUTOINCREMENT,
        time REAL NOT NULL,
        id TEXT NOT NULL,
        name TEXT NOT NULL,
        action TEXT NOT NULL,
        attributes TEXT NOT NULL
    ) STRICT
    """,
    "CREATE TABLE meta (key TEXT PRIMARY KEY NOT NULL, value TEXT NOT NULL) STRICT, WITHOUT ROWID",
)

_IMAGES = (
    # The digest of the manifest that a container was made from, '' for one that is not from the store.
    "ALTER TABLE containers ADD COLUMN image_id TEXT NOT NULL DEFAULT ''",
    # Trees below layers/ that are complete. durable: they survive a power cut, else they count in this boot only.
    """
    CREATE TABLE layers (
        diff_id TEXT PRIMARY KEY NOT NULL,
        boot_id TEXT NOT NULL,
        durable INTEGER NOT NULL,
        unpacked_at REAL NOT NULL,
        bytes INTEGER NOT NULL,
        entries INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID
    """,
    # Content that somebody is at work with. process: "pid starttime".
    """
    CREATE TABLE leases (
        token TEXT NOT NULL,
        digest TEXT NOT NULL,
        boot_id TEXT NOT NULL,
        process TEXT NOT NULL,
        PRIMARY KEY (token, digest)
    ) STRICT, WITHOUT ROWID
    """,
)

# The directory of the container's cgroup since its last start, '' for none: it depends on who started it. '?': started
# by a version that did not record it, and may be running.
_CGROUPS = ("ALTER TABLE containers ADD COLUMN cgroup TEXT NOT NULL DEFAULT '?'",)

MIGRATIONS: Final[tuple[tuple[str, ...], ...]] = (_FIRST, _IMAGES, _CGROUPS)
VERSION: Final = len(MIGRATIONS)
