"""A4: the working directory is made on the host, where symlinks of the image lead to (CVE-2026-55686)."""

from __future__ import annotations

from pathlib import Path

import pytest

import container_kit as ck
from container_kit import errors
from tests.security.rigs import Rig, record


@pytest.mark.parametrize("asked_by", ["image", "caller"])
@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("/nowhere/yet", "/nowhere/yet"),
        ("../../../../made/above", "/made/above"),
        ("{canary}/made", "{canary}/made"),
        ("../../../..{canary}", "{canary}"),
    ],
)
def test_A4_a_working_directory_behind_symlinks_is_made_inside_only(
    rig: Rig, own_rootfs: Path, canary: Path, target: str, expected: str, asked_by: str
) -> None:
    """Dangling, climbing and absolute links resolve within the container's root; the host sees nothing of it."""
    target, expected = target.format(canary=canary), expected.format(canary=canary)
    (own_rootfs / "work").symlink_to(target)
    before, tree_before = record(canary), record(own_rootfs)
    config = ck.ImageConfig(working_dir="/work" if asked_by == "image" else None)
    image = ck.Image.from_directory(own_rootfs, config=config)

    completed = rig.run("pwd", image=image, working_dir=None if asked_by == "image" else "/work")

    assert f"{expected}\n" == completed.stdout
    assert before == record(canary)
    assert tree_before == record(own_rootfs)
    assert not Path("/nowhere").exists()
    assert not Path("/made").exists()


def test_A4_a_loop_of_symlinks_is_an_error(rig: Rig, own_rootfs: Path, own_image: ck.Image) -> None:
    """It leads nowhere, so nothing is made."""
    (own_rootfs / "work").symlink_to("loop")
    (own_rootfs / "loop").symlink_to("work")
    before = record(own_rootfs)

    with pytest.raises(errors.InvalidSpecError) as caught:
        rig.run("pwd", image=own_image, working_dir="/work")

    assert "working_dir" == caught.value.field
    assert before == record(own_rootfs)
