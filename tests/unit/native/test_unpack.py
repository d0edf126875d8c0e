"""What an archive may not do to its surroundings (files_unpack*.c): rows C1 to C6 of the threat table."""

from __future__ import annotations

import os
import shutil
import stat
import struct
import subprocess
import threading
from pathlib import Path

import pytest

from tests.unit.native.archives import (
    BLOCKDEV,
    CHARACTER,
    FIFO,
    LAYER,
    Flag,
    Reason,
    archive,
    base256,
    directory,
    entry,
    hardlink,
    header,
    pax,
    symlink,
)
from tests.unit.native.unpacked import COPY, PLAIN, Place

CAPABILITY = struct.pack("<IIIII", 0x02000001, 1 << 10, 0, 0, 0)  # VFS_CAP_REVISION_2, effective, cap_net_bind_service


# ── C1, C2: the way to an entry ──────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", [b"../canary/victim", b"/../canary/victim", b"d/../../canary/victim"])
def test_C1_dots_do_not_lead_out(place: Place, name: bytes) -> None:
    """CVE-2007-4559."""
    assert place.refuse(directory(b"d"), entry(name, b"hit")) is Reason.NAME


def test_C1_an_absolute_name_is_below_the_directory(place: Place) -> None:
    """A leading slash is dropped."""
    place.unpack(entry(str(place.canary / "victim").encode(), b"contained"))

    assert (place.tree / str(place.canary / "victim").lstrip("/")).read_bytes() == b"contained"


@pytest.mark.parametrize("target", ["../canary", "{canary}", "../../../../../../../..{canary}", "two"])
@pytest.mark.parametrize("earlier", [False, True], ids=["same", "earlier"])
def test_C2_a_symlink_on_the_way_stays_inside(place: Place, target: str, *, earlier: bool) -> None:
    """A link out of the tree, made by this archive or by one before, absolute, relative or by two hops."""
    links = (symlink(b"two", b"../canary"), symlink(b"way", target.format(canary=place.canary).encode()))
    attack = (entry(b"way/victim", b"hit"), entry(b"way/new", b"hit"), directory(b"way/", 0o777))

    if earlier:
        place.unpack(*links)
    flags = LAYER if not earlier else COPY
    place.unpack(*(attack if earlier else (*links, *attack)), flags=flags)

    assert list(place.tree.rglob("new"))


def test_C2_a_directory_that_becomes_a_symlink_midway_is_no_way_out(place: Place) -> None:
    """The directory we hold open is not the one that the name means now."""
    out = str(place.canary).encode()

    place.unpack(directory(b"d"), entry(b"d/victim", b"1"), symlink(b"d", out), entry(b"d/victim", b"2"))

    assert (place.tree / "d").is_symlink()
    assert (place.tree / str(place.canary).lstrip("/") / "victim").read_bytes() == b"2"


def test_C2_a_symlink_at_the_name_is_replaced_not_followed(place: Place) -> None:
    """A file, a directory, a node where a link to the victim is."""
    link = str(place.canary / "victim").encode()

    for new in (entry(b"x", b"hit"), directory(b"x", 0o777), header(b"x", FIFO), symlink(b"x", b"y")):
        place.unpack(symlink(b"x", link), new)

    assert (place.tree / "x").readlink() == Path("y")


def test_C2_directories_are_finished_where_they_are(place: Place) -> None:
    """What is left to do at the end is not done to what has taken the name since."""
    link = str(place.canary).encode()

    place.unpack(directory(b"d", 0o4777, mtime=5), directory(b"d/e", 0o4777, mtime=5), symlink(b"d", link))
    place.unpack(directory(b"a/victim", 0o4777, mtime=5), symlink(b"b", link), entry(b"a", b"file"))

    assert (place.tree / "a").read_bytes() == b"file"


def test_C2_what_took_a_directorys_name_keeps_its_own_time(place: Place) -> None:
    """A file where the archive had a directory before."""
    place.unpack(directory(b"x", mtime=5), entry(b"x", mtime=9))

    assert (place.tree / "x").stat().st_mtime == 9


def test_C2_a_directory_that_is_held_open_is_let_go_when_its_name_means_another(place: Place) -> None:
    """The symlink on the way to an entry is replaced through itself."""
    place.unpack(symlink(b"s", b"."), entry(b"s/s/a"), directory(b"s/s"), entry(b"s/b"))

    assert place.names() == ["a", "s", "s/b"]


def test_C2_names_resolve_in_the_root_that_is_given(place: Place) -> None:
    """Unpacking into /var of a container: /run is the container's, ".." stops at its root."""
    var, run = place.tree / "var", place.tree / "run"
    for path in (var, run):
        path.mkdir()
    (var / "run").symlink_to("/run")
    (var / "up").symlink_to("../../../../run")
    data = archive(entry(b"run/a", b"1"), entry(b"up/b", b"2"), hardlink(b"run/c", b"up/b"))

    outcome = place.unpacker.unpack(data, var, PLAIN, root=(place.tree, "var"))

    assert outcome.accepted.entries == 3
    assert sorted(path.name for path in run.iterdir()) == ["a", "b", "c"]


def test_C2_a_race_for_the_directory_is_lost(place: Place) -> None:
    """Somebody in the tree swaps a directory and a symlink out of it while entries arrive."""
    way, aside, out = place.tree / "way", place.tree / "aside", place.tree / "out"
    aside.mkdir()
    out.symlink_to(place.canary)
    names = [b"victim", b"new", b"d/new"]
    data = archive(*(entry(b"way/" + names[at % 3], b"hit") + entry(b"other/x") for at in range(3000)))
    done = threading.Event()

    def swap() -> None:
        while not done.is_set():
            for path in (aside, out):
                try:
                    path.rename(way)
                    way.rename(path)
                except OSError:  # the unpacker was faster and has made the directory
                    shutil.rmtree(way, ignore_errors=True)

    rival = threading.Thread(target=swap)
    rival.start()
    try:
        outcomes = [place.unpacker.unpack(data, place.tree, COPY).entries for _ in range(5)]
    finally:
        done.set()
        rival.join()

    assert max(outcomes) > 1


def test_deep_names_need_few_descriptors(place: Place) -> None:
    """More components than a process may hold open; then up and down again."""
    deep = b"/".join([b"d"] * 1500)

    place.unpack(
        pax({b"path": deep + b"/x"}), entry(b"x", b"1"), entry(b"y"), pax({b"path": deep + b"/z"}), entry(b"z")
    )

    assert (place.tree / "y").exists()
    subprocess.run(["rm", "-rf", place.tree / "d"], check=True)


# ── C3: hard links ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "target",
    [b"../canary/victim", b"a/../../canary/victim", b"{canary}/victim", b"way/victim", b"missing", b"later", b"d"],
)
def test_C3_hard_links_reach_nothing_outside(place: Place, target: bytes) -> None:
    """Out by dots, absolute, through a symlink, to nothing, to what comes later, to a directory."""
    out = str(place.canary).encode()
    parts = (directory(b"d"), symlink(b"way", out), hardlink(b"x", target.replace(b"{canary}", out)), entry(b"later"))

    assert place.refuse(*parts) is Reason.LINK


def test_C3_a_hard_link_to_a_symlink_is_another_name_of_the_symlink(place: Place) -> None:
    """The victim does not get another name."""
    place.unpack(symlink(b"l", str(place.canary / "victim").encode()), hardlink(b"x", b"l"), entry(b"l", b"new"))

    assert (place.tree / "x").is_symlink()


def test_C3_hard_links_to_themselves_and_again_change_nothing(place: Place) -> None:
    """Neither loses the content."""
    place.unpack(
        entry(b"x", b"1"), hardlink(b"x", b"./x"), hardlink(b"y", b"x"), hardlink(b"y", b"x"), hardlink(b"x", b"y")
    )

    assert (place.tree / "y").read_bytes() == b"1"
    assert (place.tree / "x").stat().st_nlink == 2


def test_C3_writing_to_one_name_leaves_the_other(place: Place) -> None:
    """An entry replaces a name; the inode that earlier links share is not opened."""
    place.unpack(entry(b"setuid", b"old", mode=0o4755), hardlink(b"copy", b"setuid"), entry(b"copy", b"new"))

    assert (place.tree / "setuid").read_bytes() == b"old"


def test_C3_a_target_that_makes_way_is_nothing(place: Place) -> None:
    """The link's own name is a directory with the target in it."""
    assert place.refuse(entry(b"d/x", b"1"), hardlink(b"d", b"d/x")) is Reason.LINK


# ── C5, C6: what may not be created ──────────────────────────────────────────────────────────────


def test_C5_devices_are_left_out_and_counted(place: Place) -> None:
    """With NO_DEVICES; another name of one is left out with it."""
    data = archive(header(b"x", CHARACTER, device=(1, 3)), header(b"y", BLOCKDEV, device=(8, 0)), hardlink(b"z", b"x"))

    outcome = place.unpacker.unpack(data, place.tree, LAYER | Flag.NO_DEVICES).accepted

    assert (outcome.devices, place.names()) == (2, [])


@pytest.mark.needs_root
def test_C5_devices_have_their_numbers(place: Place) -> None:
    """All bits of them."""
    place.unpack(header(b"x", CHARACTER, device=(4095, 0xFFFFF), mode=0o666), header(b"y", BLOCKDEV, device=(8, 300)))

    found = [(place.tree / name).lstat() for name in "xy"]
    assert [(os.major(about.st_rdev), os.minor(about.st_rdev)) for about in found] == [(4095, 0xFFFFF), (8, 300)]
    assert [about.st_mode for about in found] == [stat.S_IFCHR | 0o666, stat.S_IFBLK | 0o644]


def test_C5_a_layer_cannot_bring_a_ready_made_whiteout(place: Place) -> None:
    """Character device 0/0 steers an overlay."""
    assert place.refuse(header(b"x", CHARACTER, device=(0, 0))) is Reason.WHITEOUT


def test_C6_attributes_that_steer_the_host_are_never_applied(place: Place) -> None:
    """Overlay's, SELinux's, anything trusted; user attributes are the container's own business."""
    names = ("trusted.overlay.opaque", "user.overlay.opaque", "user.overlay.redirect", "trusted.x", "security.selinux")
    wanted = {b"SCHILY.xattr." + name.encode(): b"y" for name in (*names, "security.ima", "user.kept")}

    for flags in (LAYER, COPY):
        place.unpack(pax(wanted), entry(b"f"), pax(wanted), directory(b"d"), flags=flags)

        assert [os.listxattr(place.tree / name) for name in "fd"] == [["user.kept"], ["user.kept"]]


@pytest.mark.needs_root
def test_C6_capabilities_and_set_id_bits_survive_the_owner(place: Place) -> None:
    """Both are lost by chown(2) and write(2), so they come last."""
    capability = pax({b"SCHILY.xattr.security.capability": CAPABILITY})

    place.unpack(capability, entry(b"f", b"x" * 600000, mode=0o6755, uid=1000), directory(b"d", 0o3770))

    assert os.getxattr(place.tree / "f", "security.capability") == CAPABILITY
    assert stat.S_IMODE((place.tree / "f").stat().st_mode) == 0o6755
    assert stat.S_IMODE((place.tree / "d").stat().st_mode) == 0o3770


def test_set_id_bits_and_capabilities_stay_out_on_request(place: Place) -> None:
    """With NO_SET_ID; the sticky bit is harmless."""
    capability = pax({b"SCHILY.xattr.security.capability": CAPABILITY})

    place.unpack(capability, entry(b"f", b"x", mode=0o7755), directory(b"d", 0o7755), flags=LAYER | Flag.NO_SET_ID)

    assert (place.mode("f"), place.mode("d"), os.listxattr(place.tree / "f")) == (0o1755, 0o1755, [])


# ── limits ───────────────────────────────────────────────────────────────────────────────────────


def test_no_more_bytes_and_entries_than_allowed(place: Place) -> None:
    """The entry that is too much is named and not made; its content is not waited for."""
    data = archive(entry(b"a", b"1" * 600), entry(b"b", b"2" * 401))
    huge = header(b"huge", size=base256(2**40, 12))

    by_bytes = place.unpacker.unpack(data, place.tree, LAYER, max_bytes=1000)
    by_entries = place.unpacker.unpack(data, place.tree, LAYER, max_entries=1)
    by_claim = place.unpacker.unpack(huge, place.tree, LAYER, max_bytes=2**30)

    assert (by_bytes.refused, by_bytes.name, by_bytes.bytes) == (Reason.BYTES, b"b", 600)
    assert (by_entries.refused, by_entries.entries) == (Reason.ENTRIES, 1)
    assert (by_claim.refused, place.names()) == (Reason.BYTES, ["a"])
