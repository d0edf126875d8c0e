"""The modes that every row is tested in are what they are called."""

from __future__ import annotations

import os
from pathlib import Path

from tests.security.rigs import Rig

EVERYBODY = ["0", "0", "4294967295"]


def map_of(pid: int | None) -> list[str]:
    """Return how a process's user ids begin, as this process counts: inside, outside, how many."""
    return Path(f"/proc/{pid}/uid_map").read_text().splitlines()[0].split()


def test_root_inside_is_who_the_mode_says(rig: Rig) -> None:
    """The host's root, an id that nobody else has, or the user."""
    box, other = rig.start(), rig.start()

    inside, beside = map_of(box.pid), map_of(other.pid)

    if rig.userns == "auto":
        assert inside[1] != beside[1]
        assert int(inside[1]) > 65536
        assert Path(f"/proc/{box.pid}").stat().st_uid == int(inside[1])
    elif os.geteuid() == 0:
        assert [EVERYBODY, EVERYBODY] == [inside, beside]
    else:
        assert [inside[0], inside[1]] == ["0", str(os.geteuid())]
        assert inside == beside
