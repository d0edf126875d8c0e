"""A7: what hides kernel files is /dev/null, and the container brings its own (CVE-2025-31133)."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Unpack

import pytest

import container_kit as ck
from tests.e2e.patience import eventually
from tests.security.rigs import Rig, existing, record, swapping

STARTS = 15
FCHMOD = "91" if os.uname().machine == "x86_64" else "52"
SOAKED_STARTS = 3000
MASKED = ("/proc/keys", "/proc/timer_list", "/proc/interrupts", "/proc/kcore")

NULLS: dict[str, Callable[[Path], object]] = {
    "a regular file": lambda path: path.write_text("not empty"),
    "a symlink to a file inside": lambda path: path.symlink_to("/etc/passwd"),
    "a symlink to the core pattern": lambda path: path.symlink_to("/proc/sys/kernel/core_pattern"),
    "a dangling symlink": lambda path: path.symlink_to("/nowhere"),
    "a directory": lambda path: path.mkdir(),
}


def assert_masked(rig: Rig, image: ck.Image | None = None, mounts: list[ck.Mount] | None = None) -> None:
    """The null device is the kernel's, and what it hides reads empty."""
    device = rig.run("stat", "/dev/null", image=image, mounts=mounts or []).stdout
    masked = rig.run("cat", *existing(*MASKED), image=image, mounts=mounts or [])

    assert device.startswith("char 0666 ")
    assert " 1:3 " in device
    assert ("", 0) == (masked.stdout, masked.returncode)


@pytest.mark.parametrize("kind", NULLS)
def test_A7_a_forged_null_device_masks_nothing(rig: Rig, own_rootfs: Path, own_image: ck.Image, kind: str) -> None:
    """Whatever the image has at /dev/null, it is not looked at."""
    NULLS[kind](own_rootfs / "dev" / "null")

    assert_masked(rig, own_image)


def test_A7_a_null_device_cannot_be_brought_by_a_mount(rig: Rig, tmp_path: Path, canary: Path) -> None:
    """A file of the caller's over /dev/null is shown there, and masks nothing all the same."""
    before = record(canary)
    mounts = [ck.Mount.bind(canary / "hosts", "/dev/null", read_only=True)]

    masked = rig.run("stat", *existing(*MASKED), mounts=mounts).stdout.splitlines()

    assert masked
    assert {("char", "1:3")} == {(line.split()[0], line.split()[5]) for line in masked}
    assert before == record(canary)


def change_stdin(rig: Rig, way: str, **options: Unpack[ck.ContainerOptions]) -> str:
    """Set the mode of stdin, which is a null device, to what it is; return what stdin is."""
    rig.output(way, "syscall", FCHMOD, "0", str(0o666), **options)
    return rig.output(way, "fds", **options).splitlines()[0]


@pytest.mark.parametrize("way", ["run", "exec"])
@pytest.mark.parametrize("security", [ck.Security(), ck.Security.docker()], ids=["default", "docker"])
def test_A7_the_hosts_null_device_is_not_within_reach(rig: Rig, way: str, security: ck.Security) -> None:
    """Stdin is the container's own null device: not even the time of a change shows on the host's."""
    before = os.stat("/dev/null").st_ctime_ns

    stdin = change_stdin(rig, way, security=security)

    assert before == os.stat("/dev/null").st_ctime_ns
    assert "0 /dev/null" == stdin


def test_A7_a_health_check_cannot_change_the_hosts_null_device(rig: Rig) -> None:
    """The monitor's own stdin does not get into the container either."""
    before = os.stat("/dev/null").st_ctime_ns
    check = ck.Healthcheck(["payload", "syscall", FCHMOD, "0", str(0o666)], interval=0.01, retries=1)

    with rig.start(healthcheck=check) as box:
        eventually(lambda: box.health != "starting", "it was checked")

    assert before == os.stat("/dev/null").st_ctime_ns


def test_A7_where_the_null_device_was_removed_stdin_is_empty(rig: Rig) -> None:
    """Who may write to /dev can have no null device there; what is executed later reads nothing all the same."""
    box = rig.start()
    removed = box.exec(["payload", "unlink", "/dev/null"]).returncode == 0

    again = box.exec(["payload", "cat"], text=True)
    stdin = box.exec(["payload", "fds"], text=True).stdout.splitlines()[0]

    assert ("", 0) == (again.stdout, again.returncode)
    assert stdin.startswith("0 pipe:" if removed else "0 /dev/null")


def race_for_null(rig: Rig, own_rootfs: Path, starts: int) -> None:
    """Start containers while another one exchanges /dev/null of their image."""
    (own_rootfs / "dev").chmod(0o777)
    (own_rootfs / "dev" / "null").write_text("not empty")
    (own_rootfs / "dev" / "other").symlink_to("/etc/passwd")
    with swapping(rig, own_rootfs / "dev", "null", "other"):
        for _ in range(starts):
            assert_masked(rig, ck.Image.from_directory(own_rootfs))


def test_A7_a_null_device_that_is_swapped_masks_nothing(rig: Rig, own_rootfs: Path) -> None:
    """In a race the same holds."""
    race_for_null(rig, own_rootfs, STARTS)


@pytest.mark.soak
def test_A7_three_thousand_starts_mask_properly(rig: Rig, own_rootfs: Path) -> None:
    """The same for longer."""
    race_for_null(rig, own_rootfs, SOAKED_STARTS)
