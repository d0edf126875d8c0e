"""Story: an image whose tree tries to lead the engine out of it, or to make it wait, read or write for ever."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import container_kit as ck
from container_kit import errors


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    """Give a directory of the host beside the image."""
    place = tmp_path / "victim"
    place.mkdir()
    (place / "hosts").write_text("canary")
    (place / "passwd").write_text("app:x:0:0::/:/bin/sh\n")
    return place


def record(place: Path) -> dict[str, tuple[int, int, int, str]]:
    """Return what an intruder would change: modes, owners, times and contents."""
    return {
        str(path): (
            path.lstat().st_mode,
            path.lstat().st_uid,
            path.lstat().st_mtime_ns,
            hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "",
        )
        for path in (place, *sorted(place.rglob("*")))
    }


def replace_by_link(path: Path, target: str) -> None:
    """Put a symlink in the place of whatever is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    path.symlink_to(target)


def run(engine: ck.Engine, root: Path, *command: str, user: str | None = None) -> ck.Completed[str]:
    """Run a command of the payload in an image made of this directory."""
    return ck.run(ck.Image.from_directory(root), ["payload", *command], user=user, text=True, engine=engine)


@pytest.mark.parametrize("link", ["etc/hosts", "etc/hostname", "etc/resolv.conf", "etc"])
def test_a_link_to_the_host_below_etc_leads_nowhere(
    engine: ck.Engine, own_rootfs: Path, victim: Path, link: str
) -> None:
    """The generated files are shown inside; what the link names on the host is neither read nor written."""
    replace_by_link(own_rootfs / link, str(victim if link == "etc" else victim / "hosts"))
    before = record(victim)

    completed = run(engine, own_rootfs, "cat", "/etc/hosts")

    assert completed.stdout.startswith("127.0.0.1\tlocalhost\n")
    assert "canary" not in completed.stdout
    assert before == record(victim)


def test_a_fifo_in_place_of_hosts_holds_nothing_up(engine: ck.Engine, own_rootfs: Path) -> None:
    """Nobody opens it; the generated file is mounted over it."""
    os.mkfifo(own_rootfs / "etc" / "hosts")

    completed = run(engine, own_rootfs, "cat", "/etc/hosts")

    assert completed.stdout.startswith("127.0.0.1\tlocalhost\n")


def make_huge(path: Path) -> None:
    """Make a file of 20 MiB that begins like a proper one."""
    line = "root:x:0:0:root:/root:/bin/sh\n"
    path.write_text(line * ((20 << 20) // len(line)))


def make_loop(path: Path) -> None:
    """Make a symlink to itself."""
    path.symlink_to(path.name)


@pytest.mark.parametrize("name", ["passwd", "group"])
@pytest.mark.parametrize("make", [make_huge, make_loop])
def test_an_account_file_that_cannot_be_read_is_an_error(
    engine: ck.Engine, own_rootfs: Path, make: Callable[[Path], None], name: str
) -> None:
    """The image is at fault; the error says which file and the limit."""
    (own_rootfs / "etc" / name).unlink()
    make(own_rootfs / "etc" / name)

    with pytest.raises(errors.ImageError) as caught:
        run(engine, own_rootfs, "id")

    assert str(own_rootfs) == caught.value.image
    assert f"/etc/{name}" in caught.value.reason
    assert "10 MiB" in (caught.value.hint or "")


@pytest.mark.parametrize("kind", ["fifo", "directory", "missing"])
def test_an_account_file_that_is_no_file_is_as_good_as_none(engine: ck.Engine, own_rootfs: Path, kind: str) -> None:
    """Numbers go on working, names are unknown, and nothing waits for a FIFO's writer."""
    passwd = own_rootfs / "etc" / "passwd"
    passwd.unlink()
    if kind == "fifo":
        os.mkfifo(passwd)
    elif kind == "directory":
        passwd.mkdir()

    completed = run(engine, own_rootfs, "id")
    with pytest.raises(errors.InvalidUserError):
        run(engine, own_rootfs, "id", user="app")

    assert completed.stdout.startswith("uid=0 ")


def test_accounts_of_the_host_are_not_consulted(engine: ck.Engine, own_rootfs: Path, victim: Path) -> None:
    """A passwd file that links to the host's names nobody: the link resolves inside the image."""
    replace_by_link(own_rootfs / "etc" / "passwd", str(victim / "passwd"))

    with pytest.raises(errors.InvalidUserError) as caught:
        run(engine, own_rootfs, "id", user="app")

    assert "app" == caught.value.value


def test_accounts_that_go_bad_in_a_running_container_are_an_error_of_exec(engine: ck.Engine, own_rootfs: Path) -> None:
    """The container may do to its own files what it likes; exec neither hangs nor fails untyped."""
    image = ck.Image.from_directory(own_rootfs)
    with ck.start(image, ["payload", "sleep", "1000"], engine=engine) as box:
        box.exec(["payload", "unlink", "/etc/passwd"], check=True)
        box.exec(["payload", "symlink", "passwd", "/etc/passwd"], check=True)

        with pytest.raises(errors.ImageError) as caught:
            box.exec(["payload", "id"], user="app")

        assert "/etc/passwd" in caught.value.reason
        assert "running" == box.status


def test_an_image_that_is_gone_at_the_start_is_a_typed_error(engine: ck.Engine, own_rootfs: Path) -> None:
    """The container stays, as created, and can be removed."""
    box = ck.Container.create(ck.Image.from_directory(own_rootfs), ["payload", "true"], engine=engine)
    shutil.rmtree(own_rootfs)

    with pytest.raises(ck.ContainerKitError) as caught:
        box.start()

    assert isinstance(caught.value, OSError)
    assert "created" == box.status
    box.remove()
