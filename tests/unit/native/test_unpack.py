"""The unpacker (files_unpack*.c): what becomes of entries, and that nothing outside the directory is touched."""

from __future__ import annotations

import os
import stat
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

from tests.probes import probe_root
from tests.unit.native.archives import (
    BLOCKDEV,
    CHARACTER,
    DIRECTORY,
    END,
    FIFO,
    SYMLINK,
    Flag,
    Reason,
    Unpacker,
    archive,
    base256,
    directory,
    entry,
    hardlink,
    header,
    long_text,
    padded,
    pax,
    symlink,
)

ROOT = not probe_root()
LAYER = Flag.LAYER if ROOT else Flag.LAYER | Flag.NO_OWNER | Flag.NO_DEVICES | Flag.USER_XATTR
OPAQUE = "trusted.overlay.opaque" if ROOT else "user.overlay.opaque"
PLAIN = LAYER & ~Flag.LAYER
CAPABILITY = struct.pack("<IIIII", 0x02000001, 1 << 10, 0, 0, 0)  # VFS_CAP_REVISION_2, effective, cap_net_bind_service
NS = 1_600_000_000_123_456_789


# ── a place with a neighbour ─────────────────────────────────────────────────────────────────────


@attrs.frozen
class Place:
    """A directory to unpack into, and one beside it that must stay as it is."""

    unpacker: Unpacker
    tree: Path
    canary: Path

    def unpack(self, *parts: bytes, flags: Flag = LAYER) -> None:
        """Unpack an archive that is fine."""
        assert self.unpacker.unpack(archive(*parts), self.tree, flags).accepted

    def refuse(self, *parts: bytes, flags: Flag = LAYER) -> Reason:
        """Unpack an archive that is not; return the reason."""
        return self.unpacker.unpack(archive(*parts), self.tree, flags).refused

    def names(self) -> list[str]:
        """Return what is in the tree."""
        return sorted(str(path.relative_to(self.tree)) for path in self.tree.rglob("*"))


def snapshot(place: Path) -> list[tuple[object, ...]]:
    """Return all that is in a directory, with everything that could have been changed about it."""
    found: list[tuple[object, ...]] = []
    for path in [place, *sorted(place.rglob("*"))]:
        about = path.lstat()
        content = path.read_bytes() if stat.S_ISREG(about.st_mode) else b""
        fixed = (about.st_ino, about.st_mode, about.st_uid, about.st_nlink, about.st_mtime_ns, about.st_ctime_ns)
        found.append((path.name, *fixed, content))
    return found


@pytest.fixture
def place(unpacker: Unpacker, tmp_path: Path) -> Iterator[Place]:
    """Give a place, and compare its neighbour afterwards."""
    tree, canary = tmp_path / "tree", tmp_path / "canary"
    tree.mkdir()
    canary.mkdir()
    (canary / "victim").write_text("untouched")
    (canary / "victim").chmod(0o600)
    before = snapshot(canary)

    yield Place(unpacker, tree, canary)

    assert before == snapshot(canary)


def times(path: Path) -> int:
    """Return when what is at a path was last changed."""
    return path.lstat().st_mtime_ns


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
    flags = LAYER | Flag.REPLACE if not earlier else PLAIN | Flag.REPLACE
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


def test_C2_names_resolve_in_the_root_that_is_given(place: Place) -> None:
    """Unpacking into /var of a container: /run is the container's, ".." stops at its root."""
    var, run = place.tree / "var", place.tree / "run"
    for path in (var, run):
        path.mkdir()
    (var / "run").symlink_to("/run")
    (var / "up").symlink_to("../../../../run")
    data = archive(entry(b"run/a", b"1"), entry(b"up/b", b"2"), hardlink(b"run/c", b"up/b"))

    place.unpacker.unpack(data, var, PLAIN, root=(place.tree, "var")).accepted  # noqa: B018  # asserts

    assert sorted(path.name for path in run.iterdir()) == ["a", "b", "c"]


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

    for flags in (LAYER, PLAIN | Flag.REPLACE):
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


# ── whiteouts ────────────────────────────────────────────────────────────────────────────────────


def is_whiteout(path: Path) -> bool:
    """Say whether this is overlayfs's mark for "not here"."""
    about = path.lstat()
    return stat.S_ISCHR(about.st_mode) and about.st_rdev == 0


def is_opaque(path: Path) -> bool:
    """Say whether overlayfs shows nothing of lower layers here."""
    return OPAQUE in os.listxattr(path) and os.getxattr(path, OPAQUE) == b"y"


def test_whiteouts_become_overlays(place: Place) -> None:
    """A removed name, and a directory whose lower content is hidden."""
    place.unpack(directory(b"d"), entry(b"d/.wh.gone"), entry(b"d/o/.wh..wh..opq"), entry(b"d/o/f"), entry(b".wh..x"))

    assert is_whiteout(place.tree / "d" / "gone")
    assert is_whiteout(place.tree / ".x")
    assert (is_opaque(place.tree / "d" / "o"), is_opaque(place.tree / "d")) == (True, False)
    assert place.names() == [".x", "d", "d/gone", "d/o", "d/o/f"]


@pytest.mark.parametrize(
    "parts",
    [
        (entry(b".wh.d"), directory(b"d"), entry(b"d/f")),
        (directory(b"d"), entry(b"d/f"), entry(b".wh.d")),
        (entry(b".wh.d"), entry(b"d/f")),
    ],
    ids=["before", "behind", "implied"],
)
def test_a_whiteout_is_about_lower_layers_only(place: Place, parts: tuple[bytes, ...]) -> None:
    """A directory that the same layer has stays, and hides what is below, in whichever order they come."""
    place.unpack(*parts)

    assert is_opaque(place.tree / "d")
    assert place.names() == ["d", "d/f"]


@pytest.mark.parametrize("parts", [(entry(b"f"), entry(b".wh.f")), (entry(b".wh.f"), entry(b"f"))])
def test_a_file_of_the_same_layer_needs_no_whiteout(place: Place, parts: tuple[bytes, ...]) -> None:
    """It hides the lower one by being there."""
    place.unpack(*parts)

    assert (place.tree / "f").is_file()


@pytest.mark.parametrize("name", [b".wh.", b".wh..", b".wh...", b"d/.wh.", b".wh.d/f"])
def test_malformed_whiteouts_are_refused(place: Place, name: bytes) -> None:
    """Of nothing, of "." and "..", and on the way to an entry."""
    assert place.refuse(entry(name)) is Reason.WHITEOUT
    assert place.names() in ([], ["d"])


def test_what_aufs_kept_for_itself_is_left_out(place: Place) -> None:
    """Its directories and what is in them."""
    place.unpack(directory(b".wh..wh.plnk"), entry(b".wh..wh.plnk/1.2", b"x"), entry(b".wh..wh.aufs"), entry(b"f"))

    assert place.names() == ["f"]


def test_outside_layers_a_whiteout_is_a_file(place: Place) -> None:
    """An archive that is copied into a container has ordinary names only."""
    place.unpack(entry(b".wh.f", b"1"), flags=PLAIN)

    assert place.names() == [".wh.f"]


# ── replacing ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("second", [entry(b"x", b"2"), symlink(b"x", b"y"), header(b"x", FIFO), hardlink(b"x", b"o")])
def test_without_leave_nothing_is_replaced(place: Place, second: bytes) -> None:
    """The error is the kernel's: the name is taken."""
    outcome = place.unpacker.unpack(archive(entry(b"o"), entry(b"x", b"1"), second), place.tree, PLAIN)

    assert (outcome.refused, outcome.error, outcome.name) == (Reason.SYSTEM, 17, b"x")
    assert (place.tree / "x").read_bytes() == b"1"


def test_entries_replace_what_is_there(place: Place) -> None:
    """Files, full directories; a directory over a directory keeps what is in it and gets the new mode."""
    first = (entry(b"a/b/c"), entry(b"f", b"1"), directory(b"d", 0o700), entry(b"d/kept"))

    place.unpack(*first)
    place.unpack(entry(b"a", b"2"), directory(b"f"), directory(b"d", 0o750), flags=PLAIN | Flag.REPLACE)

    assert place.names() == ["a", "d", "d/kept", "f"]
    assert stat.S_IMODE((place.tree / "d").stat().st_mode) == 0o750


# ── times, owners, and GNU tar ───────────────────────────────────────────────────────────────────


def test_times_have_nanoseconds_and_directories_keep_theirs(place: Place) -> None:
    """Of files, links and directories, also before 1970; directories that the archive only implies get 0."""
    moment = pax({b"mtime": b"1600000000.123456789"})
    parts = (
        moment,
        directory(b"d"),
        entry(b"d/f", mtime=base256(-7, 12)),
        moment,
        symlink(b"d/l", b"x"),
        entry(b"i/f"),
    )

    place.unpack(*parts)

    found = [times(place.tree / name) for name in ("d", "d/f", "d/l", "i")]
    assert found == [NS, -7_000_000_000, NS, 0]


@pytest.mark.needs_root
def test_owners_are_the_archives_or_the_one_that_is_given(place: Place) -> None:
    """Of every kind of entry."""
    parts = (directory(b"d"), header(b"d/f", uid=7, gid=8), header(b"l", SYMLINK, link=b"x", uid=7, gid=8))
    more = (header(b"d/d", DIRECTORY, uid=7, gid=8, mode=0o755), header(b"p", FIFO, uid=7, gid=8))

    def owners() -> set[tuple[int, int]]:
        paths = [place.tree / name for name in ("d/f", "l", "d/d", "p")]
        return {(path.lstat().st_uid, path.lstat().st_gid) for path in paths}

    place.unpack(*parts, *more)
    assert owners() == {(7, 8)}
    place.unpacker.unpack(archive(*parts, *more), place.tree, LAYER | Flag.OWNER, owner=(5, 6)).accepted  # noqa: B018
    assert owners() == {(5, 6)}


@pytest.mark.needs_root
def test_a_set_group_id_store_gives_its_group_to_nobody(place: Place) -> None:
    """What would be inherited is said anew."""
    os.chown(place.tree, 0, 50)
    place.tree.chmod(0o2755)

    place.unpack(directory(b"d"), entry(b"d/f"))

    found = [(place.tree / name).stat() for name in ("d", "d/f")]
    assert [(about.st_gid, stat.S_IMODE(about.st_mode)) for about in found] == [(0, 0o755), (0, 0o644)]


def make_sample(root: Path) -> None:
    """Fill a directory with one of everything."""
    deep = root / "deep" / ("n" * 120) / ("m" * 120)
    deep.mkdir(parents=True)
    (deep / "f").write_bytes(os.urandom(700_000))
    (deep / "ünï\udcff").write_text("x")
    (root / "secret").write_text("s")
    os.chown(root / "secret", 1234, 5678)
    (root / "secret").chmod(0o4640)
    (root / "link").symlink_to("n" * 300)
    os.link(root / "secret", deep / "same")
    os.mkfifo(root / "fifo", 0o600)
    os.mknod(root / "node", stat.S_IFCHR | 0o620, os.makedev(5, 1))
    os.setxattr(root / "secret", "user.note", b"a=b\n\0c")
    os.setxattr(root / "deep", "user.note", b"")
    os.setxattr(deep / "f", "security.capability", CAPABILITY)
    for path in (deep, root / "deep", root / "secret", root):
        os.utime(path, ns=(NS, NS + path.name.__len__()))
    (root / "deep").chmod(0o1511)


def describe(root: Path) -> dict[str, tuple[object, ...]]:
    """Return everything about a tree that an archive carries."""
    found: dict[str, tuple[object, ...]] = {}
    for path in [root, *root.rglob("*")]:
        about = path.lstat()
        extra: object = path.read_bytes() if stat.S_ISREG(about.st_mode) else ""
        extra = str(path.readlink()) if path.is_symlink() else extra
        xattrs = {
            name: os.getxattr(path, name, follow_symlinks=False) for name in os.listxattr(path, follow_symlinks=False)
        }
        owner = (about.st_mode, about.st_uid, about.st_gid, about.st_nlink, about.st_rdev, about.st_mtime_ns)
        found[str(path.relative_to(root))] = (*owner, extra, xattrs)
    return found


@pytest.mark.needs_root
@pytest.mark.needs_tools("tar")
@pytest.mark.parametrize("form", ["pax", "gnu"])
def test_the_tree_is_what_gnu_tar_packed_and_would_have_unpacked(place: Place, tmp_path: Path, form: str) -> None:
    """Modes, owners, times, attributes, links, names that are not UTF-8."""
    sample, theirs = tmp_path / "sample", tmp_path / "theirs"
    for path in (sample, theirs):
        path.mkdir()
    make_sample(sample)
    attributes = ["--xattrs", "--xattrs-include=*"] if form == "pax" else []
    packed = subprocess.run(
        ["tar", f"--format={form}", *attributes, "-C", sample, "-cf", "-", "."], check=True, capture_output=True
    ).stdout

    place.unpack(packed)
    subprocess.run(["tar", *attributes, "-C", theirs, "-xpf", "-"], input=packed, check=True, capture_output=True)

    assert describe(place.tree) == describe(theirs)
    assert describe(place.tree) == describe(sample) or form == "gnu"


def test_content_arrives_whatever_the_pieces(place: Place) -> None:
    """Files around the sizes of blocks and of the buffer, from a pipe."""
    sizes = [0, 1, 511, 512, 513, 262144 - 512, 262144, 262145, 1_000_003]
    contents = {f"f{size}": os.urandom(size) for size in sizes}

    place.unpack(*(entry(name.encode(), content) for name, content in contents.items()))

    assert {name: (place.tree / name).read_bytes() for name in contents} == contents


def test_extensions_longer_than_a_read_are_put_together(place: Place) -> None:
    """Names and attributes across the buffer's end."""
    value = os.urandom(3000)
    fill = entry(b"fill", bytes(262144 - 3 * 512))

    place.unpack(
        fill,
        pax({b"SCHILY.xattr.user.v": value, b"path": b"p" * 200}),
        entry(b"x", b"1"),
        long_text(b"q" * 200),
        header(b"y", size=1) + padded(b"2"),
    )

    assert os.getxattr(place.tree / ("p" * 200), "user.v") == value
    assert (place.tree / ("q" * 200)).read_bytes() == b"2"


def test_what_follows_the_end_is_read_and_ignored(place: Place) -> None:
    """Whoever writes into the pipe is not left alone with it."""
    outcome = place.unpacker.unpack(archive(entry(b"x")) + END + entry(b"y") + os.urandom(3_000_000), place.tree, LAYER)

    assert (outcome.accepted.entries, place.names()) == (1, ["x"])
