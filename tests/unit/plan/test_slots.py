"""Slot discipline: filled once, before use; attached at most once."""

from __future__ import annotations

import pytest

from container_kit._plan.flags import MountAttr, Namespace
from container_kit._plan.ops import (
    Attach,
    AttachStep,
    GatherStep,
    Mask,
    NewFilesystem,
    OpenSubtree,
    OpenTree,
    SetMountAttr,
    SlotFile,
    WriteProc,
)
from container_kit._plan.plans import LaunchPlan
from container_kit._plan.slots import MAX_SLOTS
from container_kit._spec.container_config import ContainerConfig
from container_kit._spec.mounts import Mount
from container_kit._spec.paths import ContainerPath, HostPath
from container_kit.errors import InvalidMountError
from tests.unit.plan.cases import launch

A = ContainerPath("/a")
FILLED = (NewFilesystem(slot=0, fstype="tmpfs"), NewFilesystem(slot=1, fstype="proc"))


@pytest.mark.parametrize(
    ("gather", "attach"),
    [
        ((*FILLED, NewFilesystem(slot=1, fstype="tmpfs")), ()),
        ((OpenTree(slot=0, source=HostPath("/a")), OpenTree(slot=0, source=HostPath("/b"))), ()),
        ((SlotFile(slot=0, path="a", mode=0o644),), ()),
        ((SetMountAttr(slot=0, attributes=MountAttr.NODEV), *FILLED), ()),
        ((*FILLED, WriteProc(slot=2, path="sys/a", contents=b"")), ()),
        ((*FILLED, OpenSubtree(slot=2, of=3, path="a")), ()),
        ((*FILLED, OpenSubtree(slot=1, of=0, path="a")), ()),
        (FILLED, (Attach(slot=2, target=A),)),
        (FILLED, (Attach(slot=1, target=A), Attach(slot=1, target=A))),
        (FILLED, (Attach(slot=0, target=A),)),
        (FILLED, (Mask(null=1, empty=2, path=A),)),
        (FILLED, (Attach(slot=1, target=A), Mask(null=1, empty=1, path=A))),
    ],
)
def test_undisciplined_plan_cannot_be_made(gather: tuple[GatherStep, ...], attach: tuple[AttachStep, ...]) -> None:
    """Each of these fills twice, uses before filling, or attaches what is not there."""
    with pytest.raises(ValueError, match="slot"):
        LaunchPlan(namespaces=Namespace.MOUNT, gather=gather, attach=attach)


def test_disciplined_plan_can_be_made() -> None:
    """A mask may show its slots as often as it likes."""
    attach = (Mask(null=1, empty=1, path=A), Mask(null=1, empty=1, path=A), Attach(slot=1, target=A))

    plan = LaunchPlan(namespaces=Namespace.MOUNT, gather=FILLED, attach=attach)

    assert plan.attach == attach


def test_more_mounts_than_slots_are_refused_with_a_number() -> None:
    """The wire has room for so many slots; running out is the caller's error, not a crash."""
    mounts = tuple(Mount.tmpfs(f"/mnt/{number}") for number in range(MAX_SLOTS))

    with pytest.raises(InvalidMountError, match="about 108"):
        launch(ContainerConfig(mounts=mounts))
