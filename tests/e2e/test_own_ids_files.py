"""Story: the files of containers with ids of their own. Layers are id-mapped for root: such ids are never on disk."""

from __future__ import annotations

import io
import os
import shutil
import tarfile
from pathlib import Path

import pytest

import container_kit as ck
from tests.e2e.patience import eventually

AUTO = ck.Security(userns="auto")


@pytest.fixture
def owned(own_rootfs: Path) -> ck.Image:
    """Give an image with a directory and a private file of user 1000, and a set-user-ID program of root."""
    private = own_rootfs / "data/private"
    private.parent.mkdir()
    private.write_text("private")
    private.chmod(0o600)
    for path in (private.parent, private):
        os.chown(path, 1000, 1001)
    raising = own_rootfs / "raising/payload"
    raising.parent.mkdir()
    shutil.copy(own_rootfs / "bin/payload", raising)
    raising.chmod(0o4755)
    return ck.Image.from_directory(own_rootfs)


def start(engine: ck.Engine, image: ck.Image, *command: str, user: str | None = None) -> ck.Container:
    """Start a container with ids of its own that can be looked at after its end."""
    words = ["payload", *(command or ("sleep", "1000"))]
    return ck.start(image, words, user=user, security=AUTO, detach=True, engine=engine)


def upper_of(engine: ck.Engine, box: ck.Container) -> Path:
    """Return where a container's own files are."""
    return Path(engine.root, "containers", box.id, "upper")


def owner_of(path: Path) -> tuple[int, int]:
    """Return uid and gid of what is at a path."""
    info = path.lstat()
    return info.st_uid, info.st_gid


def owners_in(stream: io.BytesIO) -> dict[str, tuple[int, int]]:
    """Return who owns what in an archive."""
    stream.seek(0)
    with tarfile.open(fileobj=stream) as tar:
        return {entry.name.rstrip("/"): (entry.uid, entry.gid) for entry in tar}


pytestmark = [pytest.mark.needs_root, pytest.mark.needs_idmapped_mounts]


def test_an_images_files_belong_to_the_same_users_inside(engine: ck.Engine, owned: ck.Image) -> None:
    """Its user reads a private file, others do not, root may do all; a set-user-ID program gives root's ids inside."""
    security = ck.Security(userns="auto", no_new_privileges=False)
    box = ck.start(owned, ["payload", "sleep", "1000"], security=security, engine=engine)

    seen = box.exec(["payload", "stat", "/data/private"], text=True).stdout
    by_user = box.exec(["payload", "open", "w", "/data/private"], user="1000", text=True).stdout
    by_other = box.exec(["payload", "open", "r", "/data/private"], user="1002", text=True).stdout
    by_root = box.exec(["payload", "open", "w", "/data/private"], text=True).stdout
    raised = box.exec(["/raising/payload", "id"], user="1002", text=True).stdout

    assert seen.startswith("file 0600 1000 1001 ")
    assert ("EACCES\n", "ok\n", "ok\n") == (by_other, by_user, by_root)
    assert raised.startswith("uid=1002 euid=0 ")


def test_what_is_written_is_on_disk_as_it_is_inside(engine: ck.Engine, owned: ck.Image) -> None:
    """New files, files of the image that are changed or given away, and what is copied in while it runs."""
    box = start(engine, owned, user="0")
    upper = upper_of(engine, box)

    box.exec(["payload", "write", "/data/private", "changed"], check=True)
    box.exec(["payload", "write", "/new", "text"], check=True)
    box.exec(["payload", "chown", "7", "65535", "/new"], check=True)
    box.exec(["payload", "write", "/data/by-user", "text"], user="1000:1001", check=True)
    box.copy_in(b"text", "/copied")
    box.copy_in(b"text", "/given", owner=(1000, 1001))

    assert [(1000, 1001), (7, 65535), (1000, 1001), (0, 0), (1000, 1001)] == [
        owner_of(upper / name) for name in ("data/private", "new", "data/by-user", "copied", "given")
    ]


def test_everything_that_looks_at_files_sees_the_ids_inside(engine: ck.Engine, owned: ck.Image, tmp_path: Path) -> None:
    """Archives, exports and diffs of a running one; a commit, which then runs with the host's ids and with others."""
    box = start(engine, owned)
    box.exec(["payload", "write", "/new", "text"], check=True)
    box.exec(["payload", "chown", "7", "8", "/new"], check=True)
    whole = io.BytesIO()

    with box.read_archive("/new") as stream:
        part = io.BytesIO(stream.read())
    box.export(whole)
    box.copy_out("/new", tmp_path / "out")
    image = box.commit("example.org/own:1")
    again = [
        ck.run(image, ["payload", "stat", "/new"], security=security, engine=engine, text=True).stdout
        for security in (ck.Security(), AUTO)
    ]

    assert {"new": (7, 8)} == owners_in(part)
    assert ((7, 8), (1000, 1001)) == tuple(owners_in(whole)[name] for name in ("new", "data/private"))
    assert "text" == (tmp_path / "out").read_text()
    assert "A /new" in [str(change) for change in box.diff()]
    assert [True, True] == [line.startswith("file 0644 7 8 ") for line in again]
    box.remove(force=True)


def test_files_stay_when_it_is_started_again_with_other_ids(engine: ck.Engine, owned: ck.Image) -> None:
    """A second run has the first one's files; stopped, it can be reached as any other."""
    box = start(engine, owned, "write", "/data/kept", "first", user="1000:1001")
    box.wait(20)
    owner = owner_of(upper_of(engine, box) / "data/kept")
    text = box.path("/data/kept").read_text()

    box.start()
    code = box.wait(20)
    box.remove()

    assert ((1000, 1001), "first", 0) == (owner, text, code)
    eventually(lambda: not upper_of(engine, box).exists(), "its files are gone")


def test_the_hosts_programs_run_and_belong_to_nobody(engine: ck.Engine, host: ck.Image) -> None:
    """What an image of the host takes from it is not id-mapped: it can be run, not changed."""
    script = "stat -c %U /usr/bin/env /etc; echo text > /tmp/new && cat /tmp/new; echo x >> /usr/bin/env || echo no"
    done = ck.run(host, ck.shell(script), security=AUTO, engine=engine, text=True)

    assert ["nobody", "root", "text", "no"] == done.stdout.split()
