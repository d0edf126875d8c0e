"""Story: show parts of the host in a container, and give it places to write."""

from __future__ import annotations

from pathlib import Path

import pytest

import container_kit as ck
from container_kit import errors


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """Give a directory of the host with a file in it."""
    directory = tmp_path / "shared"
    directory.mkdir()
    (directory / "greeting").write_text("from the host\n")
    return directory


def test_a_bind_shows_the_host_and_is_written_through(engine: ck.Engine, image: ck.Image, shared: Path) -> None:
    """Both sides see one directory; the target is made where the image lacks it."""
    mounts = [ck.Mount.bind(shared, "/not/in/the/image")]

    read = ck.run(image, ["payload", "cat", "/not/in/the/image/greeting"], mounts=mounts, engine=engine)
    ck.run(image, ["payload", "write", "/not/in/the/image/answer", "hi"], mounts=mounts, engine=engine, check=True)

    assert b"from the host\n" == read.stdout
    assert "hi" == (shared / "answer").read_text()


def test_a_read_only_bind_refuses_writes(engine: ck.Engine, image: ck.Image, shared: Path) -> None:
    """Reading works; making and changing files is EROFS."""
    mounts = [ck.Mount.bind(shared, "/data", read_only=True)]

    read = ck.run(image, ["payload", "open", "r", "/data/greeting"], mounts=mounts, engine=engine)
    made = ck.run(image, ["payload", "open", "c", "/data/new"], mounts=mounts, engine=engine)
    changed = ck.run(image, ["payload", "open", "w", "/data/greeting"], mounts=mounts, engine=engine)

    assert (b"ok\n", b"EROFS\n", b"EROFS\n") == (read.stdout, made.stdout, changed.stdout)


def test_a_single_file_can_be_bound(engine: ck.Engine, image: ck.Image, shared: Path) -> None:
    """A file covers a file of the image, or comes where none was."""
    over = ck.Mount.bind(shared / "greeting", "/etc/os-release")
    new = ck.Mount.bind(shared / "greeting", "/opt/some/file")

    completed = ck.run(
        image, ["payload", "cat", "/etc/os-release", "/opt/some/file"], mounts=[over, new], engine=engine
    )

    assert b"from the host\n" * 2 == completed.stdout


def test_a_missing_source_is_an_error_unless_it_shall_be_made(
    engine: ck.Engine, image: ck.Image, tmp_path: Path
) -> None:
    """A typing error is not answered with an empty directory, as Docker's -v would."""
    missing = tmp_path / "missing" / "deep"

    with pytest.raises(errors.InvalidMountError) as caught:
        ck.run(image, ["payload", "true"], mounts=[ck.Mount.bind(missing, "/data")], engine=engine)
    made = ck.Mount.bind(missing, "/data", create_source=True)
    ck.run(image, ["payload", "write", "/data/x", "1"], mounts=[made], engine=engine, check=True)

    assert str(missing) == caught.value.value
    assert "1" == (missing / "x").read_text()


def test_a_tmpfs_is_empty_bounded_and_gone_with_the_container(engine: ck.Engine, image: ck.Image) -> None:
    """It covers what the image has there, and holds no more than its size."""
    with ck.start(
        image, ["payload", "sleep", "1000"], mounts=[ck.Mount.tmpfs("/srv", size="64k", mode=0o700)], engine=engine
    ) as box:
        box.exec(["payload", "write", "/srv/small", "fits"], check=True)
        listed = box.exec(["payload", "ls", "/srv"], text=True).stdout
        mounts = box.exec(["payload", "mounts"], text=True).stdout

    line = next(line for line in mounts.splitlines() if line.split()[4] == "/srv")
    assert "small\n" == listed
    assert "size=64k" in line
    assert {"nosuid", "nodev", "noexec"} <= set(line.split()[5].split(","))


@pytest.mark.parametrize("tmpfs", [{"/scratch": "size=64k,mode=0750"}, ["/scratch:size=64k,mode=0750"]])
def test_tmpfs_may_be_written_as_docker_does(
    engine: ck.Engine, image: ck.Image, tmpfs: dict[str, str] | list[str]
) -> None:
    """The words of `docker run --tmpfs` mean the same."""
    completed = ck.run(image, ["payload", "stat", "/scratch"], tmpfs=tmpfs, engine=engine, text=True)

    assert ["directory", "0750"] == completed.stdout.split()[:2]


def test_a_read_only_root_leaves_only_what_is_meant_for_writing(engine: ck.Engine, image: ck.Image) -> None:
    """The root refuses, and so do the files that are made for each container; tmpfs mounts and /dev/shm do not."""
    with ck.start(image, ["payload", "sleep", "1000"], read_only=True, tmpfs={"/scratch": ""}, engine=engine) as box:
        results = {
            place: box.exec(["payload", "open", "c", f"{place}/new"], text=True).stdout.strip()
            for place in ("", "/etc", "/tmp", "/scratch", "/dev/shm")
        }
        own_files = {
            name: box.exec(["payload", "open", "w", f"/etc/{name}"], text=True).stdout.strip()
            for name in ("hostname", "hosts", "resolv.conf")
        }

    assert {"": "EROFS", "/etc": "EROFS", "/tmp": "EROFS", "/scratch": "ok", "/dev/shm": "ok"} == results
    assert {"hostname": "EROFS", "hosts": "EROFS", "resolv.conf": "EROFS"} == own_files


def test_writes_stay_in_the_container(engine: ck.Engine, image: ck.Image) -> None:
    """The image's directory and other containers never see them."""
    before = sorted(str(path) for path in Path(image.name).rglob("*"))
    with ck.start(image, ["payload", "sleep", "1000"], engine=engine) as box:
        box.exec(["payload", "write", "/etc/os-release", "changed"], check=True)
        box.exec(["payload", "write", "/new", "made"], check=True)
        box.exec(["payload", "unlink", "/etc/group"], check=True)

        inside = box.exec(["payload", "cat", "/etc/os-release", "/new"], text=True).stdout
        elsewhere = ck.run(image, ["payload", "ls", "/"], engine=engine, text=True).stdout

    assert "changedmade" == inside
    assert "new" not in elsewhere.split()
    assert before == sorted(str(path) for path in Path(image.name).rglob("*"))
    assert "payload" in Path(image.name, "etc/os-release").read_text()


def test_the_same_target_twice_is_an_error(engine: ck.Engine, image: ck.Image, shared: Path) -> None:
    """It is found before anything is made."""
    with pytest.raises(errors.InvalidMountError):
        ck.run(image, ["payload", "true"], mounts=[ck.Mount.bind(shared, "/a"), ck.Mount.tmpfs("/a")], engine=engine)

    assert [] == ck.Container.list(all=True, engine=engine)
