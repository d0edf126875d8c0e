"""Story: whom copies belong to, and what they may do."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

import container_kit as ck
from container_kit import errors
from tests.e2e.boxes import Box, make


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Give a directory of the host with something to copy."""
    place = tmp_path / "source"
    (place / "d").mkdir(parents=True)
    (place / "f").write_text("F")
    (place / "d" / "x").write_text("X")
    return place


@pytest.fixture
def area(tmp_path: Path) -> Path:
    """Give a directory of the host to copy to."""
    place = tmp_path / "area"
    place.mkdir()
    return place


@pytest.fixture
def box(engine: ck.Engine, image: ck.Image, source: Path) -> Box:
    """Give a container that does not run, with the same in it, and a directory to copy to."""
    made = make(engine, image)
    made.copy_in(source, "/source")
    made.path("/area").mkdir()
    return made


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
    box.copy_in(area / "d" / "x", "/area/one", archive=True)
    box.copy_out("/source/d", area / "mine")
    box.copy_in(area / "mine" / "x", "/area/mine", archive=True)

    assert (1000, 1001) == look(box, "/area/back/x")[:2]
    assert (1000, 1001) == look(box, "/area/one")[:2]
    assert (0, 0) == look(box, "/area/mine")[:2]
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


def test_what_the_caller_may_not_read_does_not_come_in(box: Box, source: Path) -> None:
    """Root of a user namespace has no more rights over the host's files than the user who made it."""
    secrets = ("/etc/shadow", "/var/cache/ldconfig", "/etc/ssl/private", "/root")
    hidden = [path for path in secrets if os.path.exists(path) and not os.access(path, os.R_OK)]
    own = source / "d" / "x"
    own.chmod(0)

    for path in hidden:
        with pytest.raises(PermissionError):
            box.copy_in(path, "/area")
    box.copy_in(source / "d", "/area")

    assert ["d"] == [path.name for path in box.path("/area").iterdir()]
    assert (os.geteuid() == 0) is not bool(hidden)


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
