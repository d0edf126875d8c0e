"""One SQLite file, opened so that threads, processes and forks cannot hurt each other.

Theory of operation: every thread has a connection of its own, and a fork's child has
new ones (a connection must not be carried across a fork). Writers of one process queue
at a lock, so only different processes ever wait in SQLite's polling busy handler. A
transaction is BEGIN IMMEDIATE: it takes the write lock first, so what it reads stays
true until it commits. WAL with synchronous=NORMAL: a power cut can lose the last
transactions, never damage older ones; readers never wait.

A new file is made complete under another name and linked into place: a file that is
empty or cut short was damaged, and that is an error. Nothing here deletes anything.

Sources: sqlite.org/wal.html, sqlite.org/howtocorrupt.html, sqlite.org/rescode.html.
"""

from __future__ import annotations

import os
import secrets
import sqlite3
import threading
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias
from weakref import WeakSet

from container_kit._state.schema import APPLICATION_ID, MIGRATIONS, VERSION
from container_kit.errors import ContainerKitError, LockTimeoutError, StateError, StorageFullError

Connection: TypeAlias = sqlite3.Connection
Parameters: TypeAlias = Sequence[str | int | float | bytes | None]

BUSY_TIMEOUT = 10.0
_MODE = 0o600

_DAMAGED_HINT = "keep the file, and move it away to start anew; the containers' own files are untouched"

# Connections inherited over a fork: neither used nor closed, closing would touch the parent's locks.
_inherited: list[object] = []


class _Lease:
    """One thread's connection; closed when the thread ends, which its garbage would be too late for."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._pid = os.getpid()

    def __del__(self) -> None:
        if self._pid == os.getpid():
            self.connection.close()


class _Share:
    """What one process has of a database."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.writing = threading.RLock()
        self.thread = threading.local()
        self.leases: WeakSet[_Lease] = WeakSet()


class Database:
    """The state file at `path`; made with its tables when missing. Thread-safe and fork-safe.

    Raises, from every method: `StateError` when the file is damaged, foreign or newer
    than this library, `StorageFullError` when there is no room, `LockTimeoutError` when
    another process writes for too long.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._share = _Share()
        if not os.path.lexists(path):
            self._create()
        self._check_size()

    @contextmanager
    def transaction(self) -> Generator[Connection, None, None]:
        """Change several things at once, or nothing: an exception rolls back.

        Inside another transaction of the same thread it becomes a part of that one, so
        an exception out of it must leave the outer block as well.
        """
        share = self._own_share()
        with share.writing:
            connection = self._connection()
            nested = connection.in_transaction
            if nested:
                yield connection
                return
            with self._named_errors():
                connection.execute("BEGIN IMMEDIATE")
                try:
                    yield connection
                    connection.execute("COMMIT")
                finally:
                    if connection.in_transaction:
                        connection.execute("ROLLBACK")

    def query(self, statement: str, parameters: Parameters = ()) -> list[tuple[object, ...]]:
        """Return all rows of a SELECT: one consistent snapshot, and what an open transaction of this thread wrote."""
        with self._named_errors():
            return self._connection().execute(statement, parameters).fetchall()

    def check(self) -> None:
        """Read the whole file and raise `StateError` if any part of it is damaged."""
        problems = [str(row[0]) for row in self.query("PRAGMA integrity_check(3)")]
        if problems != ["ok"]:
            raise StateError(path=self.path, reason="; ".join(problems), hint=_DAMAGED_HINT)

    def close(self) -> None:
        """Close this process's connections. Idempotent; a later use opens new ones."""
        share, self._share = self._share, _Share()
        if share.pid != os.getpid():
            _inherited.append((share, list(share.leases)))
            return
        with share.writing:
            for lease in list(share.leases):
                lease.connection.close()

    def _own_share(self) -> _Share:
        if self._share.pid != os.getpid():
            _inherited.append((self._share, list(self._share.leases)))
            self._share = _Share()
        return self._share

    def _connection(self) -> Connection:
        share = self._own_share()
        lease: _Lease | None = getattr(share.thread, "lease", None)
        if lease is None:
            lease = _Lease(self._connect())
            share.thread.lease = lease
            share.leases.add(lease)
        return lease.connection

    def _connect(self) -> Connection:
        with self._named_errors():
            connection = _open(self.path)
            try:
                connection.execute("PRAGMA synchronous=NORMAL")
                connection.execute("PRAGMA foreign_keys=ON")
                self._check_version(connection)
            except BaseException:
                connection.close()
                raise
            return connection

    def _check_version(self, connection: Connection) -> None:
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if application != APPLICATION_ID:
            raise StateError(path=self.path, reason="is a database of another program")
        if version > VERSION:
            reason = f"was written by a newer container_kit (format {version}, this one knows {VERSION})"
            raise StateError(path=self.path, reason=reason, hint="upgrade container_kit")
        if version < VERSION:
            _migrate(connection)

    def _check_size(self) -> None:
        """Recognise an emptied file, which SQLite would take for a new database, and one that lost part of a page.

        Not by opening it: closing that descriptor would drop this process's locks on the file (fcntl(2)).
        """
        try:
            size = os.stat(self.path).st_size
        except OSError as error:
            raise StateError(path=self.path, reason=f"cannot be read: {error.strerror}") from error
        if size == 0:
            raise StateError(path=self.path, reason="is empty", hint=_DAMAGED_HINT)
        has_wal = os.path.exists(f"{self.path}-wal")
        (page_size,) = self._connection().execute("PRAGMA page_size").fetchone()
        # With a WAL this may be a checkpoint that the disk was too full for: SQLite repairs that.
        if size % page_size and not has_wal:
            raise StateError(path=self.path, reason=f"was cut to {size} bytes", hint=_DAMAGED_HINT)

    def _create(self) -> None:
        """Make the file complete, then visible; whoever is second takes the first one's."""
        temporary = f"{self.path}.new-{os.getpid()}-{secrets.token_hex(4)}"
        try:
            fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, _MODE)
            os.fchmod(fd, _MODE)  # whatever the umask was; SQLite gives its other files the same mode
            os.close(fd)
        except OSError as error:
            raise StateError(path=self.path, reason=f"cannot be made: {error.strerror}") from error
        try:
            with self._named_errors():
                connection = _open(temporary)
                try:
                    connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
                    connection.execute("PRAGMA journal_mode=WAL")
                    _migrate(connection)
                finally:
                    connection.close()
            try:
                os.link(temporary, self.path)
            except FileExistsError:
                pass
        finally:
            os.unlink(temporary)

    @contextmanager
    def _named_errors(self) -> Generator[None, None, None]:
        try:
            yield
        except sqlite3.Error as error:
            raise self._named(error) from error

    def _named(self, error: sqlite3.Error) -> ContainerKitError:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code == sqlite3.SQLITE_FULL or (code == sqlite3.SQLITE_IOERR and _is_full(self.path)):
            return StorageFullError(path=self.path)
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return LockTimeoutError(path=self.path, timeout=BUSY_TIMEOUT)
        damaged = code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
        reason = f"is damaged: {error}" if damaged else str(error)
        return StateError(path=self.path, reason=reason, hint=_DAMAGED_HINT if damaged else None)


def _open(path: str) -> Connection:
    return sqlite3.connect(
        f"{Path(path).as_uri()}?mode=rw",  # never creates
        uri=True,
        timeout=BUSY_TIMEOUT,
        isolation_level=None,
        check_same_thread=False,  # `close` closes those of other threads
    )


def _migrate(connection: Connection) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        # Read again: another process may have been faster.
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        for migration in MIGRATIONS[version:]:
            for statement in migration:
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version={VERSION}")
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _is_full(path: str) -> bool:
    space = os.statvfs(os.path.dirname(path) or ".")
    return space.f_bavail == 0
