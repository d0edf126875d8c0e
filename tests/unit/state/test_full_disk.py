"""A full disk: typed errors, nothing lost, and it works again afterwards."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

STORY = """
import os, sys
from container_kit._state.database import Database
from container_kit.errors import StorageFullError

database = Database(sys.argv[1] + "/state.sqlite")
with database.transaction() as connection:
    connection.execute("INSERT INTO meta VALUES ('before', '')")
with open(sys.argv[1] + "/filler", "wb", buffering=0) as filler:
    try:
        while True:
            filler.write(bytes(4096))
    except OSError:
        pass
try:
    with database.transaction() as connection:
        connection.execute("INSERT INTO meta VALUES ('during', ?)", ("x" * 200000,))
except StorageFullError as error:
    print("full", error.errno)
print(database.query("SELECT key FROM meta"))
os.unlink(sys.argv[1] + "/filler")
with database.transaction() as connection:
    connection.execute("INSERT INTO meta VALUES ('after', '')")
print(database.query("SELECT key FROM meta ORDER BY key"))
database.check()
"""


@pytest.mark.needs_root
def test_full_disk_is_a_typed_error_and_harms_nothing(tmp_path: Path) -> None:
    """What was recorded stays, what did not fit is gone as a whole, and freeing space is enough."""
    # A mount namespace of its own: the small file system vanishes with the process.
    mount = 'mount -t tmpfs -o size=512k,mode=700 none "$1" && exec "$2" -c "$3" "$1"'
    command = ["unshare", "--mount", "sh", "-c", mount, "sh", str(tmp_path), sys.executable, STORY]

    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=dict(os.environ))

    assert ["full 28", "[('before',)]", "[('after',), ('before',)]"] == done.stdout.splitlines(), done.stderr
