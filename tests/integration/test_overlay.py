"""overlayfs: the image is the lower layer and stays as it is, what a container writes is its own (overlayfs.rst)."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path

import pytest

import container_kit as ck


def digest_of(root: Path) -> str:
    """Return a digest of names, modes, times and contents of a tree."""
    total = hashlib.sha256()
    for path in sorted(root.rglob("*")):
        info = path.lstat()
        total.update(f"{path} {info.st_mode} {info.st_uid} {info.st_size} {info.st_mtime_ns}\n".encode())
        if stat.S_ISREG(info.st_mode) and os.access(path, os.R_OK):
            total.update(path.read_bytes())
    return total.hexdigest()


def upper_of(box: ck.Container, engine: ck.Engine) -> Path:
    """Return where a container's writes go."""
    return Path(engine.site.home.container_dir(box.id), "upper")


@pytest.mark.parametrize("action", [("write", "/etc/passwd", "x"), ("unlink", "/etc/passwd"), ("mkdir", "/new")])
def test_the_image_is_never_written(
    engine: ck.Engine, image: ck.Image, payload_rootfs: Path, action: tuple[str, ...]
) -> None:
    """Whatever a container does to its files; the next one sees them as they were."""
    before = digest_of(payload_rootfs)

    assert 0 == ck.run(image, ["payload", *action], engine=engine).returncode

    assert before == digest_of(payload_rootfs)
    assert ck.run(image, ["payload", "cat", "/etc/passwd"], engine=engine).stdout.startswith(b"root:")


def test_writes_are_in_the_upper_directory_and_last(engine: ck.Engine, box: ck.Container) -> None:
    """Across a stop and a start of a container that is kept."""
    box.exec(["payload", "write", "/srv/mine", "kept"], check=True)

    box.stop(timeout=0)
    box.start()

    assert "kept" == (upper_of(box, engine) / "srv" / "mine").read_text()
    assert b"kept" == box.exec(["payload", "cat", "/srv/mine"]).stdout


def test_a_removed_file_stays_removed(box: ck.Container) -> None:
    """A whiteout hides it, also after a restart."""
    box.exec(["payload", "unlink", "/etc/os-release"], check=True)

    box.stop(timeout=0)
    box.start()

    assert b"ENOENT" in box.exec(["payload", "cat", "/etc/os-release"]).stderr


def test_no_mount_of_a_container_is_in_the_hosts_table(engine: ck.Engine, box: ck.Container) -> None:
    """Every file system was mounted detached, and lives in the container's mount namespace only."""
    mounts = Path("/proc/self/mountinfo").read_text()

    assert engine.root not in mounts
    assert os.readlink("/proc/self/ns/mnt") not in box.exec(["payload", "mounts"], text=True).stdout
    assert " / / " in box.exec(["payload", "mounts"], text=True).stdout


def test_the_root_of_a_container_is_an_overlay(box: ck.Container) -> None:
    """And the only one, for an image of one directory."""
    lines = box.exec(["payload", "mounts"], text=True).stdout.splitlines()

    kinds = {line.split()[4]: line.split(" - ")[1].split()[0] for line in lines}

    assert "overlay" == kinds["/"]
    assert ["/"] == [target for target, kind in kinds.items() if kind == "overlay"]


def test_a_read_only_root_cannot_be_written(engine: ck.Engine, image: ck.Image) -> None:
    """The kernel says EROFS; a tmpfs in it can be written."""
    refused = ck.run(image, ["payload", "write", "/srv/x", "y"], read_only=True, engine=engine)
    allowed = ck.run(image, ["payload", "write", "/srv/x", "y"], read_only=True, tmpfs=["/srv"], engine=engine)

    assert b"EROFS" in refused.stderr
    assert 0 == allowed.returncode
