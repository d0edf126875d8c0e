"""What becomes of the entries of an archive (files_unpack*.c): the same as GNU tar makes, and overlay layers."""

from __future__ import annotations

import errno
import os
import stat
import struct
import subprocess
from pathlib import Path

import pytest

from tests.unit.native.archives import (
    DIRECTORY,
    END,
    FIFO,
    LAYER,
    ROOT,
    SYMLINK,
    Flag,
    Reason,
    archive,
    base256,
    directory,
    entry,
    hardlink,
    header,
    long_text,
    padded,
    pax,
    sparse,
    symlink,
)
from tests.unit.native.unpacked import COPY, PLAIN, Place

CAPABILITY = struct.pack("<IIIII", 0x02000001, 1 << 10, 0, 0, 0)  # VFS_CAP_REVISION_2, effective, cap_net_bind_service
OPAQUE = "trusted.overlay.opaque" if ROOT else "user.overlay.opaque"
NS = 1_600_000_000_123_456_789


def times(path: Path) -> int:
    """Return when what is at a path was last changed."""
    return path.lstat().st_mtime_ns


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
    place.unpack(entry(b"a", b"2"), directory(b"f"), directory(b"d", 0o750), flags=COPY)

    assert place.names() == ["a", "d", "d/kept", "f"]
    assert stat.S_IMODE((place.tree / "d").stat().st_mode) == 0o750


@pytest.mark.parametrize(
    ("first", "second", "error"),
    [(directory(b"x"), entry(b"x"), errno.EISDIR), (entry(b"x"), directory(b"x"), errno.ENOTDIR)],
)
def test_kinds_are_kept_on_request(place: Place, first: bytes, second: bytes, error: int) -> None:
    """With KEEP_KIND, as `docker cp`: a directory is no file's place, nor a file a directory's."""
    place.unpack(first)

    outcome = place.unpacker.unpack(archive(second), place.tree, COPY | Flag.KEEP_KIND)

    assert (outcome.refused, outcome.error) == (Reason.SYSTEM, error)


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
    given = place.unpacker.unpack(archive(*parts, *more), place.tree, LAYER | Flag.OWNER, owner=(5, 6))
    assert (given.accepted.entries, owners()) == (5, {(5, 6)})


@pytest.mark.needs_root
@pytest.mark.parametrize("group", [0, 50])
def test_a_set_group_id_store_gives_its_group_to_nobody(place: Place, group: int) -> None:
    """What would be inherited is said anew."""
    os.chown(place.tree, 0, group)
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
    # Not rglob: in Python before 3.11.4 it fails at a symlink whose target is too long for a name.
    below = [Path(place, name) for place, names, files in os.walk(root) for name in (*names, *files)]
    for path in [root, *below]:
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


def test_sparse_files_have_their_holes(place: Place) -> None:
    """What GNU tar leaves out is a hole again; the budget of bytes is of the whole file."""
    segments = [(at << 20, os.urandom(4096 * (at % 3) + at)) for at in range(40)]
    expected = bytearray(50 << 20)
    for at, data in segments:
        expected[at : at + len(data)] = data

    outcome = place.unpack(sparse(b"x", 50 << 20, segments), sparse(b"hole", 1 << 30, []), entry(b"y", b"1"))

    assert outcome.bytes == (50 << 20) + (1 << 30) + 1
    assert (place.tree / "x").read_bytes() == expected
    assert (place.tree / "x").stat().st_blocks * 512 < 2 << 20
    assert ((place.tree / "hole").stat().st_size, (place.tree / "hole").stat().st_blocks) == (1 << 30, 0)
    assert (place.tree / "y").read_bytes() == b"1"


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


def test_what_follows_the_end_is_read_and_ignored(place: Place, tmp_path: Path) -> None:
    """Whoever writes into the pipe is not left alone with it."""
    path = tmp_path / "archive"
    path.write_bytes(archive(entry(b"x")) + END + entry(b"y") + bytes(3_000_000))
    command = [str(place.unpacker.program), str(place.tree), str(int(LAYER)), "9999", "99", "0", "0"]

    with path.open("rb") as stream:
        done = subprocess.run(command, stdin=stream, capture_output=True, check=True)
        position = os.lseek(stream.fileno(), 0, os.SEEK_CUR)

    assert (done.stdout[:6], position, place.names()) == (b"0 0 1 ", path.stat().st_size, ["x"])
