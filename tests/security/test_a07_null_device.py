"""A7: what hides kernel files is /dev/null, and the container brings its own (CVE-2025-31133)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import container_kit as ck
from tests.security.rigs import Rig, existing, record, swapping

STARTS = 15
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
