"""Archives that attack the unpacker itself: its memory, and what it remembers of directories."""

from __future__ import annotations

import os
import subprocess

import pytest

from tests.unit.native.archives import LAYER, Reason, directory, entry, hardlink, pax, symlink
from tests.unit.native.unpacked import Place

MIB = 1 << 20
LONG = b"/".join([b"d" * 250] * 15)  # a name nearly as long as they get
ALLOWED = 256 * MIB


def pour(pipe: int, piece: bytes, times: int) -> int:
    """Write the same again and again; return how often it was taken."""
    for done in range(times):
        try:
            os.write(pipe, piece)
        except BrokenPipeError:
            return done
    return times


@pytest.mark.parametrize(
    "repeated",
    [
        pax({b"path": LONG}) + directory(b"d"),
        pax({b"SCHILY.xattr.system.posix_acl_default": bytes(60000)}) + directory(b"d"),
    ],
    ids=["names", "ACLs"],
)
def test_C7_what_is_left_to_do_for_directories_is_bounded(place: Place, repeated: bytes) -> None:
    """Compressed it is a few MiB; remembered until the end it would take all the memory that the host has."""
    most = 2 * ALLOWED // len(repeated)
    command = [str(place.unpacker.program), str(place.tree), *map(str, (int(LAYER), 2**63, 2**63, 0, 0))]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as running:
        assert running.stdin is not None
        assert running.stdout is not None
        taken = pour(running.stdin.fileno(), repeated, most)
        error, reason, entries, *_, memory_kib = map(int, running.stdout.readline().split())

    assert (error, reason) == (74, Reason.ENTRIES)
    assert taken < most
    assert entries < most
    assert memory_kib * 1024 < ALLOWED + 100 * MIB


def test_a_directory_that_becomes_a_symlink_and_back_is_finished_once(place: Place) -> None:
    """What was noted of the first one is not applied to where the symlink leads."""
    place.unpack(directory(b"real", 0o711), directory(b"d", 0o777), symlink(b"d", b"real"))

    assert place.mode("real") == 0o711


def test_whiteouts_of_what_the_entry_is_in_leave_it(place: Place) -> None:
    """They are of lower layers: what the archive itself has there stays, whatever the order."""
    place.unpack(directory(b"a/b"), entry(b"a/.wh.b"), entry(b"a/b/f", b"1"), entry(b".wh.a"), entry(b"a/b/g", b"2"))

    assert place.names() == ["a", "a/b", "a/b/f", "a/b/g"]


@pytest.mark.parametrize("name", [b".wh.", b".wh..", b".wh...", b"d/.wh.", b".wh.a/b"])
def test_whiteouts_of_nothing_are_refused(place: Place, name: bytes) -> None:
    """`.wh.` alone, of `.` and `..`, and as a directory."""
    assert place.refuse(entry(name)) is Reason.WHITEOUT


def test_a_link_over_the_directory_that_its_target_is_in_is_refused(place: Place) -> None:
    """What makes way takes the target with it."""
    assert place.refuse(entry(b"a/f", b"1"), hardlink(b"a", b"a/f")) is Reason.LINK


def test_the_path_of_the_last_entry_does_not_outlive_its_directory(place: Place) -> None:
    """A directory on the held way is replaced three times; nothing lands in one that is gone."""
    parts = [
        part
        for kind in (directory(b"w", 0o755), symlink(b"w", b"../canary"), entry(b"w", b"file"), directory(b"w"))
        for part in (kind, entry(b"x/y/z", b"1"), *([] if b"file" in kind else [entry(b"w/new", b"hit")]))
    ]
    place.unpack(*parts)

    assert sorted(path.name for path in place.canary.iterdir()) == ["victim"]
    assert (place.tree / "w" / "new").read_bytes() == b"hit"
