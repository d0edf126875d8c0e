"""Story: copy files between the host and a container, whatever state it is in, as `docker cp` does."""

from __future__ import annotations

import io
import os
import stat
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

import container_kit as ck
from container_kit import errors
from container_kit._runtime.tree_paths import TreePath
from tests.e2e.boxes import Box, make, run, tree_in, tree_of

AREA = {"file": "old", "dir": "/", "dir/keep": "kept"}

# source, destination, what is there afterwards besides AREA; the words of Docker's reference beside them.
CELLS: list[tuple[str, str, dict[str, str]]] = [
    ("f", "new", {"new": "F"}),  # the file is saved to a file created there
    ("f", "file", {"file": "F"}),  # the destination is overwritten
    ("f", "dir", {"dir/f": "F"}),  # copied into it using the basename
    ("f", "dir/", {"dir/f": "F"}),
    ("f", "dir/.", {"dir/f": "F"}),
    ("d", "new", {"new": "/", "new/x": "X"}),  # created, the contents are copied into it
    ("d", "new/", {"new": "/", "new/x": "X"}),
    ("d/", "new", {"new": "/", "new/x": "X"}),
    ("d/.", "new", {"new": "/", "new/x": "X"}),
    ("d", "dir", {"dir/d": "/", "dir/d/x": "X"}),  # the source directory is copied into it
    ("d/", "dir/", {"dir/d": "/", "dir/d/x": "X"}),
    ("d/.", "dir", {"dir/x": "X"}),  # the content of the source directory is copied into it
    ("d/./", "dir", {"dir/d": "/", "dir/d/x": "X"}),
]
REFUSED: list[tuple[str, str, type[Exception]]] = [
    ("f", "new/", FileNotFoundError),  # the destination directory must exist
    ("f", "file/", NotADirectoryError),
    ("f", "missing/new", FileNotFoundError),  # parents are not made
    ("f/", "new", NotADirectoryError),
    ("d", "file", NotADirectoryError),  # cannot copy a directory to a file
    ("d/.", "file", NotADirectoryError),
    ("d", "missing/new", FileNotFoundError),
    ("missing", "new", FileNotFoundError),
]


def fill_source(path: Callable[[str], Path | TreePath]) -> None:
    """Make a file `f` and a directory `d` with a file in it."""
    path("f").write_text("F")
    path("d").mkdir()
    path("d/x").write_text("X")


def fill_area(path: Callable[[str], Path | TreePath]) -> None:
    """Make what is at the destination beforehand."""
    path("file").write_text("old")
    path("dir").mkdir()
    path("dir/keep").write_text("kept")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Give a directory of the host with something to copy."""
    place = tmp_path / "source"
    place.mkdir()
    fill_source(lambda name: place / name)
    return place


@pytest.fixture
def area(tmp_path: Path) -> Path:
    """Give a directory of the host to copy to."""
    place = tmp_path / "area"
    place.mkdir()
    fill_area(lambda name: place / name)
    return place


@pytest.fixture
def box(engine: ck.Engine, image: ck.Image) -> Box:
    """Give a container that does not run, with both in it."""
    made = make(engine, image)
    with made.files() as files:
        for name, fill in (("source", fill_source), ("area", fill_area)):
            files.path(f"/{name}").mkdir()
            fill(lambda rest, name=name: files.path(f"/{name}/{rest}"))  # type: ignore[misc]
    return made


# ── the rules ────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("what", "where", "expected"), CELLS)
def test_in_goes_where_docker_puts_it(box: Box, source: Path, what: str, where: str, expected: dict[str, str]) -> None:
    """Each cell of the table; whatever else is there stays."""
    box.copy_in(f"{source}/{what}", f"/area/{where}")

    assert {**AREA, **expected} == tree_in(box, "/area")


@pytest.mark.parametrize(("what", "where", "error"), REFUSED)
def test_in_refuses_what_docker_refuses(box: Box, source: Path, what: str, where: str, error: type[Exception]) -> None:
    """With the builtin's class; nothing has changed."""
    with pytest.raises(errors.PathError) as caught:
        box.copy_in(f"{source}/{what}", f"/area/{where}")

    assert isinstance(caught.value, error)
    assert tree_in(box, "/area") == AREA


@pytest.mark.parametrize(("what", "where", "expected"), CELLS)
def test_out_goes_where_docker_puts_it(box: Box, area: Path, what: str, where: str, expected: dict[str, str]) -> None:
    """The same table the other way round."""
    box.copy_out(f"/source/{what}", f"{area}/{where}")

    assert {**AREA, **expected} == tree_of(area)


@pytest.mark.parametrize(("what", "where", "error"), REFUSED)
def test_out_refuses_what_docker_refuses(box: Box, area: Path, what: str, where: str, error: type[Exception]) -> None:
    """The same errors the other way round."""
    with pytest.raises(errors.PathError) as caught:
        box.copy_out(f"/source/{what}", f"{area}/{where}")

    assert isinstance(caught.value, error)
    assert tree_of(area) == AREA


def test_a_file_does_not_replace_a_directory(box: Box, source: Path, area: Path) -> None:
    """Not even below the destination: what is in it would be lost."""
    (area / "dir" / "f").mkdir()
    (area / "dir" / "f" / "precious").write_text("kept")
    box.path("/area/dir/f").mkdir()

    with pytest.raises(IsADirectoryError):
        box.copy_in(source / "f", "/area/dir")
    with pytest.raises(IsADirectoryError):
        box.copy_out("/source/f", area / "dir")
    with pytest.raises(IsADirectoryError):
        box.copy_in(f"{source}/.", "/area/dir")
    (area / "dir" / "d").write_text("kept")
    for what in ("/source/d", "/source/."):
        with pytest.raises(NotADirectoryError):
            box.copy_out(what, area / "dir")

    assert "kept" == (area / "dir" / "d").read_text()
    assert "kept" == (area / "dir" / "f" / "precious").read_text()


def test_relative_paths_start_at_the_callers_directory_and_at_the_root(
    box: Box, source: Path, area: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in Docker: the container's side starts at /, whatever its working directory is."""
    monkeypatch.chdir(source)
    box.copy_in(".", "area")
    monkeypatch.chdir(area)
    box.copy_out("source/f", ".")

    assert {**AREA, "f": "F", "d": "/", "d/x": "X"} == tree_in(box, "/area")
    assert {**AREA, "f": "F"} == tree_of(area)


# ── symlinks ─────────────────────────────────────────────────────────────────


def test_a_symlink_as_the_source_is_copied_itself_unless_it_is_to_be_followed(
    box: Box, source: Path, area: Path
) -> None:
    """As `docker cp` and `docker cp -L`."""
    (source / "link").symlink_to("f")
    box.path("/source/link").symlink_to("f")

    box.copy_in(source / "link", "/area/l")
    box.copy_in(source / "link", "/area/followed", follow_links=True)
    box.copy_out("/source/link", area / "l")
    box.copy_out("/source/link", area / "followed", follow_links=True)

    expected = {**AREA, "l": "-> f", "followed": "F"}
    assert (expected, expected) == (tree_in(box, "/area"), tree_of(area))


def test_a_symlink_to_a_directory_with_a_slash_behind_it_is_the_directory(box: Box, source: Path, area: Path) -> None:
    """As a shell has it."""
    (source / "link").symlink_to("d")
    box.path("/source/link").symlink_to("d")

    box.copy_in(f"{source}/link/.", "/area/new")
    box.copy_out("/source/link/.", f"{area}/new")

    expected = {**AREA, "new": "/", "new/x": "X"}
    assert (expected, expected) == (tree_in(box, "/area"), tree_of(area))


def test_a_symlink_at_the_destination_is_followed(box: Box, source: Path, area: Path) -> None:
    """To a directory, to a file, and to what is not there yet."""
    for name, target in (("to-dir", "dir"), ("to-file", "file"), ("to-new", "dir/new")):
        (area / name).symlink_to(target)
        box.path(f"/area/{name}").symlink_to(target)

    for name in ("to-dir", "to-file", "to-new"):
        box.copy_in(source / "f", f"/area/{name}")
        box.copy_out("/source/f", area / name)

    links = {"to-dir": "-> dir", "to-file": "-> file", "to-new": "-> dir/new"}
    expected = {**AREA, **links, "dir/f": "F", "file": "F", "dir/new": "F"}
    assert (expected, expected) == (tree_in(box, "/area"), tree_of(area))


# ── states ───────────────────────────────────────────────────────────────────


def bring_to(state: str, engine: ck.Engine, image: ck.Image) -> Box:
    """Return a container in this state."""
    if state == "created":
        return make(engine, image)
    if state == "exited":
        box = run(engine, image, "true")
        box.wait(timeout=20)
        return box
    if state == "stopped and owned":
        started = Box(ck.start(image, ["payload", "sleep", "1000"], engine=engine).id, engine)
        started.stop(timeout=0)
        return started
    box = run(engine, image)
    if state == "paused":
        box.pause()
    return box


STATES = [
    "created",
    "running",
    "exited",
    "stopped and owned",
    pytest.param("paused", marks=pytest.mark.needs_cgroup2),
]


@pytest.mark.parametrize("state", STATES)
def test_files_go_in_and_out_in_every_state(
    engine: ck.Engine, image: ck.Image, source: Path, tmp_path: Path, state: str
) -> None:
    """And what went in is there when the container runs again."""
    box = bring_to(state, engine, image)
    before = box.status

    box.copy_in(source, "/srv/in")
    box.path("/srv/in/f").write_text("changed")
    box.copy_out("/srv/in", tmp_path / "out")

    assert before == box.status
    assert {"f": "changed", "d": "/", "d/x": "X"} == tree_of(tmp_path / "out")
    if state == "paused":
        box.unpause()
    elif state != "running":
        box.start()
    if state != "exited":
        assert b"changed" == box.exec(["payload", "cat", "/srv/in/f"]).stdout
    assert "changed" == box.path("/srv/in/f").read_text()


def test_a_running_container_sees_a_copy_at_once(engine: ck.Engine, image: ck.Image, source: Path) -> None:
    """The tree is its own, mounts included."""
    box = run(engine, image, tmpfs="/scratch")

    box.copy_in(source / "f", "/scratch")
    box.copy_in(b"bytes", "/scratch/b")

    assert b"Fbytes" == box.exec(["payload", "cat", "/scratch/f", "/scratch/b"]).stdout


@pytest.mark.parametrize("state", ["created", "running", "exited"])
def test_volumes_are_part_of_the_tree(
    engine: ck.Engine, image: ck.Image, source: Path, tmp_path: Path, state: str
) -> None:
    """Writes go to the host's directory; one that is read-only refuses them."""
    shared, fixed = tmp_path / "shared", tmp_path / "fixed"
    for place in (shared, fixed):
        place.mkdir()
        (place / "there").write_text("there")
    mounts = [ck.Mount.bind(shared, "/new/data"), ck.Mount.bind(fixed, "/new/fixed", read_only=True)]
    box = make(engine, image, *(("true",) if state == "exited" else ()), mounts=mounts)
    if state != "created":
        box.start()
    if state == "exited":
        box.wait(timeout=20)

    read = box.path("/new/data/there").read_text()
    box.copy_in(source / "f", "/new/data")
    with pytest.raises(errors.PathError) as caught:
        box.copy_in(source / "f", "/new/fixed")
    box.copy_out("/new", tmp_path / "out")

    assert ("there", "F") == (read, (shared / "f").read_text())
    assert "EROFS" in str(caught.value)
    assert {"there", "f"} <= set(os.listdir(tmp_path / "out" / "data"))


def test_a_file_that_is_mounted_is_written_in_place(engine: ck.Engine, image: ck.Image, tmp_path: Path) -> None:
    """It cannot be replaced by another one; the host sees the new content."""
    (tmp_path / "config").write_text("a long old content")
    box = run(engine, image, mounts=[ck.Mount.bind(tmp_path / "config", "/etc/config")])

    box.copy_in(b"new", "/etc/config")

    assert "new" == (tmp_path / "config").read_text()


def test_a_read_only_container_is_not_written_to(engine: ck.Engine, image: ck.Image) -> None:
    """Whether it runs or not; reading works."""
    created = ck.Container.create(image, ["payload", "sleep", "1000"], read_only=True, detach=True, engine=engine)
    box = Box(created.id, engine)
    for start in (False, True):
        if start:
            box.start()
        with pytest.raises(errors.PathError) as caught:
            box.copy_in(b"x", "/etc/x")
        assert "EROFS" in str(caught.value)
        assert box.path("/etc/os-release").is_file()


# ── owners and modes ─────────────────────────────────────────────────────────


def look(box: Box, path: str) -> tuple[int, int, int]:
    """Return owner, group and permissions of a file in a container."""
    status = box.path(path).lstat()
    return status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)


def test_what_comes_in_belongs_to_root_and_keeps_its_mode(box: Box, source: Path) -> None:
    """As with `docker cp`; bytes become an ordinary file."""
    (source / "f").chmod(0o751)
    (source / "d").chmod(0o700)
    os.utime(source / "f", ns=(1, 1_234_567_890_123_456_789))

    box.copy_in(f"{source}/.", "/area")
    box.copy_in(b"x", "/area/bytes")

    assert (0, 0, 0o751) == look(box, "/area/f")
    assert (0, 0, 0o700) == look(box, "/area/d")
    assert (0, 0, 0o644) == look(box, "/area/bytes")
    assert 1_234_567_890_123_456_789 == box.path("/area/f").stat().st_mtime_ns


def test_a_directory_whose_contents_arrive_stays_as_it_is(box: Box, source: Path) -> None:
    """Copying into /tmp must not take its sticky bit away."""
    source.chmod(0o700)
    before = look(box, "/tmp")

    box.copy_in(f"{source}/.", "/tmp")

    assert (0, 0, 0o1777) == before == look(box, "/tmp")


@pytest.mark.needs_subids
@pytest.mark.parametrize("owner", ["app", "1000:1000", (1000, 1000), 1000])
def test_an_owner_can_be_chosen(box: Box, source: Path, owner: str | int | tuple[int, int]) -> None:
    """By the names that the container knows, or by number."""
    box.copy_in(source, "/area/new", owner=owner)
    box.copy_in(source / "f", "/area/one", owner=owner)

    assert [1000, 1000, 1000] == [look(box, f"/area/{name}")[0] for name in ("new", "new/d/x", "one")]
    assert [1000, 1000] == [look(box, f"/area/{name}")[1] for name in ("new", "one")]


def test_an_owner_that_cannot_be_is_an_error(box: Box, source: Path) -> None:
    """Before anything is written."""
    with pytest.raises(errors.InvalidUserError):
        box.copy_in(source, "/area/new", owner="nobody-knows")
    with pytest.raises(errors.InvalidSpecError):
        box.copy_in(source, "/area/new", owner=0, archive=True)

    assert not box.path("/area/new").exists()


@pytest.mark.needs_subids
def test_archive_keeps_owners_on_the_way_out_and_in(box: Box, area: Path) -> None:
    """A round trip gives the same ids, whatever they are on the host meanwhile."""
    box.path("/source/d/x").chown(1000, 1001)

    box.copy_out("/source/d", area / "d", archive=True)
    box.copy_in(area / "d", "/area/back", archive=True)
    box.copy_out("/source/d", area / "mine")

    assert (1000, 1001) == look(box, "/area/back/x")[:2]
    assert os.geteuid() == (area / "mine" / "x").stat().st_uid
    assert os.geteuid() != (area / "d" / "x").stat().st_uid
    box.path("/source/d/x").chown(0, 0)
    box.copy_out("/source/d/x", area / "d" / "x")


def test_what_comes_out_belongs_to_the_caller_without_set_id_bits(box: Box, area: Path) -> None:
    """A set-user-ID program of a container is none of the host's."""
    for name in ("/source/f", "/source/d/x"):
        box.path(name).chmod(0o6755)

    box.copy_out("/source/f", area / "f")
    box.copy_out("/source/d", area / "d")

    for path in (area / "f", area / "d" / "x"):
        info = path.stat()
        assert (os.geteuid(), os.getegid()) == (info.st_uid, info.st_gid)
        assert 0o755 == stat.S_IMODE(info.st_mode)


@pytest.mark.needs_root
def test_file_capabilities_stay_behind(engine: ck.Engine, own_rootfs: Path, area: Path) -> None:
    """They are set-id bits by another name; on the way in they are kept."""
    net_raw = bytes.fromhex("0100000200200000000000000000000000000000")  # CAP_NET_RAW, capabilities(7)
    program = own_rootfs / "srv" / "program"
    program.write_text("x")
    os.setxattr(program, "security.capability", net_raw)
    box = make(engine, ck.Image.from_directory(own_rootfs))

    box.copy_out("/srv", area / "srv", archive=True)
    box.copy_out("/srv/program", area / "program", archive=True)

    assert [[], []] == [os.listxattr(area / name) for name in ("srv/program", "program")]


# ── archives ─────────────────────────────────────────────────────────────────


def test_a_tar_stream_goes_in_and_comes_out(box: Box, source: Path) -> None:
    """Also one that cannot seek; the first entry has the name that was asked for."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as tar:
        tar.add(source, "tree")
    read_end, write_end = os.pipe()
    with open(write_end, "wb") as file:
        file.write(data.getvalue())

    with open(read_end, "rb") as pipe:
        box.copy_in(pipe, "/area/dir")
    with box.read_archive("/area/dir/tree") as stream, tarfile.open(fileobj=stream, mode="r|") as tar:
        names = [entry.name for entry in tar]

    assert ["tree", "tree/d", "tree/d/x", "tree/f"] == names
    assert "X" == box.path("/area/dir/tree/d/x").read_text()


@pytest.mark.parametrize(("where", "error"), [("/area/missing", FileNotFoundError), ("/area/file", NotADirectoryError)])
def test_a_tar_stream_needs_a_directory(box: Box, where: str, error: type[Exception]) -> None:
    """It is not made."""
    with pytest.raises(error):
        box.copy_in(io.BytesIO(bytes(1024)), where)


def test_what_is_no_archive_is_an_error(box: Box) -> None:
    """And the container can be used as before."""
    with pytest.raises(errors.UnsafeArchiveError):
        box.copy_in(io.BytesIO(b"no archive" * 100), "/area")

    assert AREA == tree_in(box, "/area")


def test_a_stream_that_is_closed_early_leaves_nothing_behind(box: Box) -> None:
    """The container can be started at once."""
    with box.read_archive("/bin") as stream:
        assert 100 == len(stream.read(100))

    box.start()

    assert "running" == box.status


def test_what_is_neither_path_nor_bytes_nor_file_is_refused(box: Box) -> None:
    """By type, not somewhere deep down."""
    with pytest.raises(errors.InvalidSpecError):
        box.copy_in(3.5, "/area")  # type: ignore[arg-type]
    with pytest.raises(IsADirectoryError):
        box.copy_in(b"x", "/area")
