"""A14: a list of devices that is read as what is forbidden, not as what is allowed (GHSA-g54h-m393-cpwq)."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import container_kit as ck
from tests.security.rigs import Rig

# devices.txt: /dev/mem, /dev/port, /dev/kmsg, /dev/tty1, /dev/console, misc (fuse, loop-control), input, mapper
OTHERS = ((1, 1), (1, 4), (1, 11), (4, 1), (5, 1), (10, 229), (10, 237), (13, 64), (242, 0))
DEFAULT = {"fd", "full", "mqueue", "null", "ptmx", "pts", "random", "shm", "stderr", "stdin", "stdout", "tty"} | {
    "urandom", "zero",
}  # fmt: skip


@pytest.mark.parametrize("way", ["run", "exec"])
def test_A14_there_are_the_harmless_devices_and_no_other(rig: Rig, way: str) -> None:
    """/dev is ours and has nothing else in it; the disks and memory of the host are not among them."""
    assert DEFAULT == set(rig.output(way, "ls", "/dev").split())


@pytest.mark.parametrize("place", ["/dev", "/tmp", "/dev/shm", "/"])
def test_A14_a_node_that_root_inside_makes_cannot_be_opened(rig: Rig, place: str) -> None:
    """With CAP_MKNOD even: neither on the file systems of the container nor in its /dev."""
    box = rig.start(security=ck.Security(cap_add=["MKNOD"]), tmpfs={"/tmp": "mode=1777"})

    answers = set[str]()
    for number, (major, minor) in enumerate(OTHERS):
        path = f"{place}/node{number}"
        box.exec(["payload", "mknod", path, str(major), str(minor)])
        answers |= {box.exec(["payload", "open", mode, path], text=True).stdout for mode in "rw"}

    assert answers <= {"EACCES\n", "EPERM\n", "ENOENT\n"}


@pytest.mark.needs_root
@pytest.mark.parametrize("way", ["run", "exec"])
def test_A14_a_node_that_the_image_brings_cannot_be_opened(
    rig: Rig, own_rootfs: Path, own_image: ck.Image, way: str
) -> None:
    """The root file system is mounted without devices."""
    os.mknod(own_rootfs / "srv" / "kmsg", 0o20666, os.makedev(1, 11))
    os.mknod(own_rootfs / "srv" / "disk", 0o60666, os.makedev(7, 0))

    answers = {rig.output(way, "open", "r", f"/srv/{name}", image=own_image) for name in ("kmsg", "disk")}

    assert answers <= {"EACCES\n", "EPERM\n"}
