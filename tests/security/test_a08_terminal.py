"""A8: the container's terminal is taken from where its image leads (CVE-2025-52565)."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import container_kit as ck
from container_kit import errors
from tests.security.rigs import Rig, make_share, record

FIRST_PTS = "136:0"  # devices.txt: major 136 is the first of the UNIX98 slaves
PTYS: dict[str, Callable[[Path, Path], object]] = {
    "ptmx is a file": lambda dev, _: (dev / "ptmx").write_text("mine"),
    "ptmx is a symlink": lambda dev, canary: (dev / "ptmx").symlink_to(canary / "hosts"),
    "console is a symlink": lambda dev, canary: (dev / "console").symlink_to(canary / "hosts"),
    "pts is a symlink": lambda dev, canary: (dev / "pts").symlink_to(canary),
    "pts/0 is a symlink": lambda dev, canary: (make_share(dev / "pts") / "0").symlink_to(canary / "hosts"),
}


@pytest.mark.parametrize("way", ["run", "exec"])
@pytest.mark.parametrize("kind", PTYS)
def test_A8_a_forged_terminal_is_not_used(
    rig: Rig, own_rootfs: Path, own_image: ck.Image, canary: Path, kind: str, way: str
) -> None:
    """The terminal is the first of the container's own devpts, whatever the image has in /dev."""
    shutil.rmtree(own_rootfs / "dev")
    PTYS[kind](make_share(own_rootfs / "dev"), canary)
    before = record(canary)

    output = run_with_terminal(rig, own_image, way, [])

    assert output.startswith("char "), output
    assert f" {FIRST_PTS} " in output
    assert before == record(canary)


@pytest.mark.parametrize("way", ["run", "exec"])
def test_A8_a_terminal_behind_a_mount_is_refused_or_our_own(rig: Rig, tmp_path: Path, canary: Path, way: str) -> None:
    """Shared directories can be changed at any time: one over /dev/pts gives no terminal at all."""
    share = make_share(tmp_path / "share")
    (share / "ptmx").symlink_to("/dev/null")
    before = record(canary)

    with pytest.raises(errors.ContainerKitError) as caught:
        run_with_terminal(rig, rig.image, way, [ck.Mount.bind(share, "/dev/pts")])

    assert isinstance(caught.value, OSError | ValueError)
    assert before == record(canary)


def run_with_terminal(rig: Rig, image: ck.Image, way: str, mounts: list[ck.Mount]) -> str:
    """Return what kind of file the terminal is."""
    if way == "exec":
        box = rig.start(image=image, mounts=mounts)
        with box.spawn(["payload", "stat", "/dev/pts/0"], tty=True) as process:
            return b"".join(event.data for event in process.events() if isinstance(event, ck.Stdout)).decode()
    box = rig.start("stat", "/dev/pts/0", image=image, tty=True, mounts=mounts, detach=True)
    box.wait(timeout=20)
    return "".join(line.text for line in box.logs())
