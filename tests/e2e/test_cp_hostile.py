"""Story: copying from and to a container whose processes try to lead the copy out of it.

The rows B1, B2, B3, B7, B11 and B12 of the list of known attacks: a path that is looked at and then used, symlinks
that mean something on the host, mount points that are swapped, helper files, modes that leak.
"""

from __future__ import annotations

import io
import os
import stat
import subprocess
import tarfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

import pytest

import container_kit as ck
from container_kit import errors
from container_kit._linux import shim
from tests.e2e.boxes import Box, fingerprint, make, run, tree_of

ROUNDS = 3000
CANARY = b"of the host"


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    """Give a directory of the host that no copy may read or write."""
    place = tmp_path / "victim"
    place.mkdir()
    (place / "secret").write_bytes(CANARY)
    (place / "file").write_bytes(CANARY)
    return place


class Swapper:
    """Something in a container that exchanges two names, as fast as it can, from the host's view of its tree."""

    def __init__(self, box: Box, first: str, second: str) -> None:
        init = box.inspect().pid
        assert init is not None
        self._root = os.open(f"/proc/{init}/root", os.O_PATH | os.O_DIRECTORY)
        self._names = (first, second)
        self._over = threading.Event()
        self.swaps = 0
        self._thread = threading.Thread(target=self._swap)

    def _swap(self) -> None:
        parent = shim.openat2(self._root, "/srv", os.O_RDONLY | os.O_DIRECTORY, in_root=True)
        first, second = self._names
        while not self._over.is_set():
            os.rename(first, "aside", src_dir_fd=parent, dst_dir_fd=parent)
            os.rename(second, first, src_dir_fd=parent, dst_dir_fd=parent)
            os.rename("aside", second, src_dir_fd=parent, dst_dir_fd=parent)
            self.swaps += 1
        os.close(parent)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        os.close(self._root)


@pytest.fixture
def racing(engine: ck.Engine, image: ck.Image, victim: Path) -> Iterator[Box]:
    """Give a running container in which `/srv/place` is a directory and, in turns, a symlink to the victim's path.

    In the container there is something at that path as well.
    """
    box = run(engine, image)
    with box.files() as files:
        for place in (files.path("/srv/place"), files.path(str(victim))):
            place.mkdir(parents=True)
            (place / "file").write_bytes(b"inside")
        files.path("/srv/evil").symlink_to(str(victim))
    with Swapper(box, "place", "evil") as swapper:
        yield box
    assert swapper.swaps > 100


# ── B1: looked at, swapped, used ─────────────────────────────────────────────


@pytest.mark.needs_root
@pytest.mark.slow
def test_a_race_on_the_way_in_writes_nothing_to_the_host(racing: Box, victim: Path) -> None:
    """3000 copies (CVE-2018-15664): some meet the symlink, some nothing at all; none leaves the container."""
    before = fingerprint(victim)
    done = missed = 0
    with racing.files() as files:
        for _ in range(ROUNDS):
            try:
                files.copy_in(b"from the caller", "/srv/place/file")
                done += 1
            except errors.PathError:
                missed += 1

    assert before == fingerprint(victim)
    assert ROUNDS == done + missed
    assert done > ROUNDS // 20
    assert b"from the caller" == racing.path(f"{victim}/file").read_bytes()  # the symlink was met


@pytest.mark.needs_root
@pytest.mark.slow
def test_a_race_on_the_way_out_reads_nothing_of_the_host(racing: Box, tmp_path: Path) -> None:
    """3000 copies, files and directories: what comes out was in the container."""
    out = tmp_path / "out"
    out.mkdir()
    seen: set[bytes] = set()
    done = missed = 0
    with racing.files() as files:
        for number in range(ROUNDS):
            try:
                files.copy_out("/srv/place/file" if number % 4 else "/srv/place", out / "got")
                done += 1
            except errors.PathError:
                missed += 1
                continue
            seen |= {path.read_bytes() for path in (out, *out.rglob("*")) if path.is_file() and not path.is_symlink()}
            remove_all(out)

    assert {b"inside"} == seen
    assert ROUNDS == done + missed
    assert done > ROUNDS // 20


def remove_all(place: Path) -> None:
    """Remove what is in a directory."""
    for path in sorted(place.rglob("*"), reverse=True):
        if path.is_dir() and not path.is_symlink():
            path.rmdir()
        else:
            path.unlink()


# ── B2: symlinks that mean something on the host ─────────────────────────────

TARGETS = ["/", "../../../../../../../..", "{victim}", "/proc/1/root{victim}", "/proc/self/cwd", "loop"]


@pytest.mark.parametrize("state", ["created", "running"])
@pytest.mark.parametrize("target", TARGETS)
def test_a_symlink_in_the_container_leads_nowhere_on_the_host(
    engine: ck.Engine, image: ck.Image, victim: Path, tmp_path: Path, state: str, target: str
) -> None:
    """As a destination, as a source, and on the way to either (CVE-2019-10152)."""
    box = make(engine, image)
    if state == "running":
        box.start()
    box.path("/srv/link").symlink_to("link" if target == "loop" else target.format(victim=victim))
    own = tmp_path / "own"
    own.mkdir()
    (own / "file").write_bytes(b"of the caller")
    before = fingerprint(victim)

    for destination in ("/srv/link", "/srv/link/file", "/srv/link/new"):
        attempt(lambda destination=destination: box.copy_in(b"bytes", destination))  # type: ignore[misc]
        attempt(lambda destination=destination: box.copy_in(own, destination))  # type: ignore[misc]
    for source in ("/srv/link/secret", "/srv/link/.", "/srv/link/file"):
        attempt(lambda source=source: box.copy_out(source, tmp_path / "out"))  # type: ignore[misc]

    assert before == fingerprint(victim)
    out = tmp_path / "out"
    copied = [path for path in (out, *out.rglob("*")) if path.is_file() and not path.is_symlink()]
    assert CANARY not in [path.read_bytes() for path in copied]


def attempt(action: Callable[[], object]) -> None:
    """Do something that may fail, but only as a path can."""
    try:
        action()
    except (errors.PathError, errors.UnsafeArchiveError):
        pass


def test_an_absolute_symlink_works_and_stays_inside(engine: ck.Engine, image: ck.Image, tmp_path: Path) -> None:
    """/var/run → /run is in every image; containment must not break it (moby 52653)."""
    box = run(engine, image)
    box.path("/var/run").symlink_to("/run")

    box.copy_in(b"pid", "/var/run/app.pid")
    box.copy_out("/var/run/app.pid", tmp_path / "pid")

    assert b"pid" == box.exec(["payload", "cat", "/run/app.pid"]).stdout
    assert "pid" == (tmp_path / "pid").read_text()


def test_links_in_what_comes_out_are_not_followed_on_the_host(
    engine: ck.Engine, image: ck.Image, victim: Path, tmp_path: Path
) -> None:
    """First a symlink comes out, then a directory of the same name: its files do not go through the symlink."""
    box = make(engine, image)
    with box.files() as files:
        for name in ("one", "two"):
            files.path(f"/{name}").mkdir()
        files.path("/one/way").symlink_to(str(victim))
        files.path("/two/way").mkdir()
        files.path("/two/way/file").write_text("overwritten")
    before = fingerprint(victim)
    (tmp_path / "out").mkdir()

    box.copy_out("/one/.", tmp_path / "out")
    attempt(lambda: box.copy_out("/two/.", tmp_path / "out"))

    assert before == fingerprint(victim)


@pytest.mark.parametrize("kind", ["symlink", "hardlink", "dotdot", "absolute"])
def test_an_archive_that_leads_out_lands_inside_or_is_refused(
    engine: ck.Engine, image: ck.Image, victim: Path, kind: str
) -> None:
    """What a caller passes on may have been written by somebody else."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as tar:
        link = tarfile.TarInfo("way")
        link.type, link.linkname = tarfile.SYMTYPE, str(victim)
        names = {"symlink": "way/file", "dotdot": f"../../../..{victim}/file", "absolute": f"{victim}/file"}
        if kind == "hardlink":
            link.type, link.linkname = tarfile.LNKTYPE, f"{victim}/file"
        tar.addfile(link)
        entry = tarfile.TarInfo(names.get(kind, "way"))
        entry.size = 3
        tar.addfile(entry, io.BytesIO(b"new"))
    box = make(engine, image)
    before = fingerprint(victim)

    attempt(lambda: box.copy_in(io.BytesIO(data.getvalue()), "/srv"))

    assert before == fingerprint(victim)


# ── B3: mounts that are swapped, and mounts that leak ────────────────────────


def test_the_hosts_mounts_are_the_same_after_copies(engine: ck.Engine, image: ck.Image, tmp_path: Path) -> None:
    """Nothing is mounted where others see it, whatever state the container is in (CVE-2026-41568)."""
    (tmp_path / "data").mkdir()
    box = make(engine, image, mounts=[ck.Mount.bind(tmp_path / "data", "/data")])
    before = Path("/proc/self/mountinfo").read_text()

    for start in (False, True):
        if start:
            box.start()
        with box.files():
            during = Path("/proc/self/mountinfo").read_text()
            box.copy_in(b"x", "/data/x") if start else None
        assert before == during
    box.copy_out("/data", tmp_path / "out")

    assert before == Path("/proc/self/mountinfo").read_text()


def test_a_volumes_target_that_became_a_symlink_stays_inside(
    engine: ck.Engine, image: ck.Image, victim: Path, tmp_path: Path
) -> None:
    """The volume is shown at what the symlink means in the container (CVE-2026-42306)."""
    (tmp_path / "data").mkdir()
    box = make(engine, image, mounts=[ck.Mount.bind(tmp_path / "data", "/data")])
    first = make(engine, image)
    del first
    with box.files() as files:
        files.path("/data/in-volume").write_text("x")
    before = fingerprint(victim)
    upper = Path(engine.root) / "containers" / box.id / "upper"
    (upper / "data").rmdir()
    (upper / "data").symlink_to(str(victim))

    attempt_any(lambda: box.copy_in(b"x", "/data/file"))

    assert before == fingerprint(victim)


def attempt_any(action: Callable[[], object]) -> None:
    """Do something that may fail with any error of ours."""
    try:
        action()
    except ck.ContainerKitError:
        pass


# ── special files ────────────────────────────────────────────────────────────


@pytest.mark.parametrize("state", ["created", "running"])
def test_a_fifo_holds_nothing_up(engine: ck.Engine, own_rootfs: Path, tmp_path: Path, state: str) -> None:
    """It is never opened: as a source it is refused, in a directory it comes along as what it is."""
    os.mkfifo(own_rootfs / "srv" / "fifo")
    box = make(engine, ck.Image.from_directory(own_rootfs))
    if state == "running":
        box.start()

    with pytest.raises(errors.PathError):
        box.copy_out("/srv/fifo", tmp_path / "out")
    with pytest.raises(errors.PathError):
        box.path("/srv/fifo").read_bytes()
    box.copy_out("/srv", tmp_path / "srv")

    assert stat.S_ISFIFO((tmp_path / "srv" / "fifo").lstat().st_mode)


@pytest.mark.needs_root
def test_devices_stay_in_the_container(engine: ck.Engine, own_rootfs: Path, tmp_path: Path) -> None:
    """Nobody gets a node of the host's disk by copying a directory, in either direction."""
    os.mknod(own_rootfs / "srv" / "disk", stat.S_IFBLK | 0o666, os.makedev(8, 0))
    (own_rootfs / "srv" / "file").write_text("x")
    box = make(engine, ck.Image.from_directory(own_rootfs))

    box.copy_out("/srv", tmp_path / "srv")
    box.copy_in(own_rootfs / "srv", "/home")

    assert {"file": "x"} == tree_of(tmp_path / "srv")
    assert ["file"] == [path.name for path in box.path("/home/srv").iterdir()]


def test_a_device_in_a_container_is_not_replaced(engine: ck.Engine, image: ck.Image) -> None:
    """Nor written to: what reads /dev/null in it goes on getting nothing."""
    box = run(engine, image)

    for action in (lambda: box.copy_in(b"x", "/dev/null"), lambda: box.path("/dev/null").write_bytes(b"x")):
        with pytest.raises(errors.PathError):
            action()

    assert box.exec(["payload", "stat", "/dev/null"]).stdout.startswith(b"char ")


def test_a_device_of_the_host_is_not_replaced(engine: ck.Engine, image: ck.Image, tmp_path: Path) -> None:
    """`copy_out(…, "/dev/null")` must not make a file of it."""
    os.mkfifo(tmp_path / "fifo")
    box = make(engine, image)

    with pytest.raises(FileExistsError):
        box.copy_out("/etc/os-release", tmp_path / "fifo")

    assert stat.S_ISFIFO((tmp_path / "fifo").lstat().st_mode)


@pytest.mark.slow
def test_a_tree_deeper_than_any_stack_is_handled_or_refused(
    engine: ck.Engine, own_rootfs: Path, tmp_path: Path
) -> None:
    """1100 directories one in the other."""
    place = os.open(own_rootfs / "srv", os.O_RDONLY | os.O_DIRECTORY)
    for _ in range(1100):
        os.mkdir("d", dir_fd=place)
        deeper = os.open("d", os.O_RDONLY | os.O_DIRECTORY, dir_fd=place)
        os.close(place)
        place = deeper
    os.close(place)
    box = make(engine, ck.Image.from_directory(own_rootfs))

    found = sum(1 for _ in box.path("/srv").rglob("d"))
    box.copy_out("/srv", tmp_path / "out")
    box.copy_in(own_rootfs / "srv", "/home/deep")
    changes = box.diff()

    for deep in (tmp_path / "out", own_rootfs / "srv"):
        subprocess.run(["rm", "-rf", deep], check=True)  # pytest's own removal would not get to the end
    assert (1100, 1100) == (found, sum(1 for change in changes if change.path.endswith("/d")))


# ── B7, B11: helper files and modes ──────────────────────────────────────────


def test_what_is_made_for_a_copy_is_private(engine: ck.Engine, image: ck.Image) -> None:
    """Whatever the umask is: nobody else looks into a container that never ran."""
    os.umask(0)
    box = make(engine, image)

    box.copy_in(b"secret", "/root/secret")

    directory = Path(engine.root) / "containers" / box.id
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (directory, *directory.iterdir())}
    assert {box.id: 0o700, "upper": 0o755, "work": 0o700} == modes


def test_a_directory_of_ours_that_became_a_symlink_is_not_followed(
    engine: ck.Engine, image: ck.Image, victim: Path
) -> None:
    """Only its owner could do that; it is refused all the same (CVE-2024-5154)."""
    box = make(engine, image)
    directory = Path(engine.root) / "containers" / box.id
    directory.symlink_to(victim)
    before = fingerprint(victim)

    with pytest.raises(errors.HostError):
        box.copy_in(b"x", "/etc/x")

    assert before == fingerprint(victim)
    directory.unlink()
