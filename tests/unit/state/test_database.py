"""The state file: damage is recognised, threads and processes do not hurt each other."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from container_kit._state import database as database_module
from container_kit._state.database import Database
from container_kit._state.schema import VERSION
from container_kit.errors import LockTimeoutError, StateError


@pytest.fixture
def path(tmp_path: Path) -> str:
    """Where the state file is going to be."""
    return str(tmp_path / "state.sqlite")


def put(database: Database, key: str, value: str = "") -> None:
    """Change something."""
    with database.transaction() as connection:
        connection.execute("INSERT INTO meta VALUES (?, ?)", (key, value))


def keys(database: Database) -> list[str]:
    """Return what was put."""
    return [str(row[0]) for row in database.query("SELECT key FROM meta ORDER BY key")]


def test_new_file_is_private_and_complete(path: str) -> None:
    """Environments hold secrets, so nobody else may read it; nothing else is left behind."""
    database = Database(path)
    put(database, "a")

    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    assert stat.S_IMODE(os.stat(f"{path}-wal").st_mode) == 0o600
    assert [(VERSION,)] == database.query("PRAGMA user_version")
    assert [("wal",)] == database.query("PRAGMA journal_mode")
    database.close()
    assert [Path(path)] == list(Path(path).parent.iterdir())


def test_what_was_written_is_there_after_reopening(path: str) -> None:
    """The file is the state."""
    first = Database(path)
    put(first, "a")
    first.close()
    first.close()

    assert ["a"] == keys(Database(path))
    assert ["a"] == keys(first)


def test_exception_rolls_everything_back(path: str) -> None:
    """All of a transaction, or nothing; the next one works."""
    database = Database(path)

    def interrupted() -> None:
        with database.transaction() as connection:
            connection.execute("INSERT INTO meta VALUES ('a', '')")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    put(database, "b")

    assert ["b"] == keys(database)


def test_inner_transaction_is_a_part_of_the_outer_one(path: str) -> None:
    """Functions that change one thing can be put together."""
    database = Database(path)

    def interrupted() -> None:
        with database.transaction():
            put(database, "a")
            assert ["a"] == keys(database)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        interrupted()

    assert [] == keys(database)


def test_threads_queue_and_nothing_is_lost(path: str) -> None:
    """Read, compute, write in eight threads: every increment counts."""
    database = Database(path)
    put(database, "count", "0")

    def count() -> None:
        for _ in range(50):
            with database.transaction() as connection:
                (value,) = connection.execute("SELECT value FROM meta WHERE key = 'count'").fetchone()
                connection.execute("UPDATE meta SET value = ? WHERE key = 'count'", (str(int(value) + 1),))

    threads = [threading.Thread(target=count) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [("400",)] == database.query("SELECT value FROM meta")


def test_processes_queue_and_nothing_is_lost(path: str) -> None:
    """The same with forked children that inherited the object, in the middle of its use."""
    database = Database(path)
    put(database, "count", "0")

    children: list[int] = []
    for _ in range(4):
        child = os.fork()
        if child == 0:
            try:
                for _ in range(25):
                    with database.transaction() as connection:
                        (value,) = connection.execute("SELECT value FROM meta WHERE key = 'count'").fetchone()
                        connection.execute("UPDATE meta SET value = ?", (str(int(value) + 1),))
            except BaseException:  # noqa: BLE001  # a child of a test must not return into it
                os._exit(1)
            os._exit(0)
        children.append(child)
    codes = [os.waitpid(child, 0)[1] for child in children]

    assert [0] * 4 == codes
    assert [("100",)] == database.query("SELECT value FROM meta")


def test_fork_inside_a_transaction_leaves_the_child_usable(path: str) -> None:
    """The parent's open transaction and lock are not the child's."""
    database = Database(path)
    put(database, "a")

    with database.transaction() as connection:
        connection.execute("INSERT INTO meta VALUES ('b', '')")
        child = os.fork()
        if child == 0:
            seen = keys(database)
            database.close()
            os._exit(0 if seen == ["a"] else 1)
        code = os.waitpid(child, 0)[1]

    assert code == 0
    assert ["a", "b"] == keys(database)


def test_connection_of_a_thread_ends_with_it(path: str) -> None:
    """A program that starts many threads does not collect open files."""
    database = Database(path)
    before = len(os.listdir("/proc/self/fd"))

    for number in range(20):
        thread = threading.Thread(target=put, args=(database, f"k{number}"))
        thread.start()
        thread.join()

    assert len(os.listdir("/proc/self/fd")) <= before + 2
    assert len(keys(database)) == 20


def test_second_engine_in_a_process_leaves_the_locks_of_the_first_alone(path: str) -> None:
    """Otherwise the next process to close the file would take itself for the last one and drop the WAL."""
    database = Database(path)
    put(database, "a")
    wal = os.stat(f"{path}-wal").st_ino

    Database(path).close()
    program = "import sys; from container_kit._state.database import Database; Database(sys.argv[1]).close()"
    subprocess.run([sys.executable, "-c", program, path], check=True, timeout=30)

    assert wal == os.stat(f"{path}-wal").st_ino
    put(database, "b")
    assert ["a", "b"] == keys(Database(path))


def test_other_process_that_keeps_writing_is_a_timeout(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a bounded time, as a typed error; reading is never held up."""
    monkeypatch.setattr(database_module, "BUSY_TIMEOUT", 0.05)
    database = Database(path)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    with pytest.raises(LockTimeoutError):
        put(database, "a")

    assert [] == keys(database)
    other.execute("ROLLBACK")
    other.close()
    put(database, "a")


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"\0" * 8192, id="zeros"),
        pytest.param(b"SQLite format 3\0", id="header only"),
        pytest.param(b"hello, world\n" * 1000, id="text"),
    ],
)
def test_damaged_file_is_an_error_and_is_left_alone(path: str, damage: bytes) -> None:
    """Nothing is deleted or made anew: the user decides."""
    Path(path).write_bytes(damage)

    with pytest.raises(StateError) as caught:
        Database(path)

    assert path == caught.value.path
    assert caught.value.hint
    assert damage == Path(path).read_bytes()


def full_file(path: str) -> bytes:
    """Make a state file of several pages, close it, and return its bytes."""
    database = Database(path)
    for number in range(50):
        put(database, f"k{number}", "x" * 1000)
    database.close()
    return Path(path).read_bytes()


@pytest.mark.parametrize("kept", [0.9999, 0.5, 0.1])
def test_file_that_was_cut_short_is_recognised(path: str, kept: float) -> None:
    """Even when the beginning is still good."""
    whole = full_file(path)
    Path(path).write_bytes(whole[: int(len(whole) * kept)])

    with pytest.raises(StateError, match=r"damaged|was cut"):
        Database(path)


def test_damage_inside_is_found_by_check_and_by_reading(path: str) -> None:
    """A page of rubbish is a typed error, not a traceback from within."""
    whole = full_file(path)
    Path(path).write_bytes(whole[:4096] + b"\xff" * (len(whole) - 4096))
    database = Database(path)

    with pytest.raises(StateError):
        database.check()
    with pytest.raises(StateError):
        database.query("SELECT count(*) FROM meta WHERE value LIKE '%y%'")


def test_good_file_passes_the_check(path: str) -> None:
    """No news is good news."""
    full_file(path)

    Database(path).check()


def test_newer_file_is_refused_and_unchanged(path: str) -> None:
    """An older library must not write what it does not understand."""
    Database(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute(f"PRAGMA user_version={VERSION + 1}")
    connection.close()

    with pytest.raises(StateError, match="newer") as caught:
        Database(path)

    assert "upgrade" in (caught.value.hint or "")


def test_database_of_another_program_is_refused(path: str) -> None:
    """A caller may have named the wrong directory."""
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE theirs (x)")
    connection.close()

    with pytest.raises(StateError, match="another program"):
        Database(path)


def test_vanished_directory_is_a_typed_error(path: str) -> None:
    """And nothing is made elsewhere."""
    with pytest.raises(StateError, match="cannot be made"):
        Database(f"{path}/nowhere/state.sqlite")
    os.symlink("/nowhere/at/all", path)
    with pytest.raises(StateError, match="cannot be read"):
        Database(path)


def test_two_that_make_the_file_at_once_share_one(path: str) -> None:
    """Whoever comes second takes the first one's file."""
    barrier = threading.Barrier(6)
    made: list[Database] = []

    def make(number: int) -> None:
        barrier.wait(10)
        database = Database(path)
        put(database, f"k{number}")
        made.append(database)

    threads = [threading.Thread(target=make, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(made) == 6
    assert [f"k{number}" for number in range(6)] == keys(made[0])
