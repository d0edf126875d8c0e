"""What a plan puts into /dev."""

from __future__ import annotations

import attrs
import pytest

from container_kit._plan.flags import AttachHow, MountAttr
from container_kit._plan.launch import LaunchPlan, compile_launch_plan
from container_kit._plan.ops import Attach, NewFilesystem, OpenTree, SetMountAttr, SlotDir, SlotNode
from container_kit._spec.container_config import ContainerConfig
from container_kit._spec.devices import Device
from container_kit._spec.facts import HostFacts
from container_kit._spec.paths import ContainerPath
from container_kit._spec.security import Security
from container_kit.errors import InvalidSpecError, UnsupportedHostError
from tests.unit.plan.cases import IMAGE, LAYERS, NOBODY, ROOT, ROOTLESS

FUSE = attrs.evolve(Device(source="/dev/fuse"), major=10, minor=229, mode=0o666)
DISK = attrs.evolve(Device(source="/dev/block/sda", access="r"), kind="b", major=8, minor=0, mode=0o660)


def plan_for(facts: HostFacts, *devices: Device, security: Security | None = None) -> LaunchPlan:
    """Compile a launch with devices."""
    return compile_launch_plan(
        config=ContainerConfig(command=("/bin/true",), devices=devices, security=security or Security()),
        image=IMAGE,
        root=LAYERS,
        identity=NOBODY,
        facts=facts,
        hostname="box",
        volatile=False,
    )


@pytest.mark.parametrize("facts", [ROOT, ROOTLESS], ids=["root", "rootless"])
def test_a_device_is_bound_from_the_host_and_cannot_be_changed(facts: HostFacts) -> None:
    """Read-only concerns the node's mode and owner; no symlink is followed on the way to its place."""
    plan = plan_for(facts, FUSE)

    [opened] = [step for step in plan.gather if isinstance(step, OpenTree) and step.source == "/dev/fuse"]
    [attributes] = [step for step in plan.gather if isinstance(step, SetMountAttr) and step.slot == opened.slot]
    [attached] = [step for step in plan.attach if isinstance(step, Attach) and step.slot == opened.slot]
    assert MountAttr.READ_ONLY in attributes.attributes
    assert MountAttr.NODEV not in attributes.attributes
    assert ("/dev/fuse", AttachHow.ORDINARY | AttachHow.MAKE_FILE) == (attached.target, attached.how)


def test_a_user_cannot_give_access_that_is_narrower_than_reading_and_writing() -> None:
    """There is no device filter: an error says so. Root's containers have one, with ids of their own too."""
    with pytest.raises(UnsupportedHostError, match="access 'r' to a device"):
        plan_for(ROOTLESS, FUSE, DISK)

    assert plan_for(ROOT, DISK, security=Security(userns="auto")).gather


def test_a_privileged_container_of_root_has_nodes_of_its_own() -> None:
    """Made in its /dev, which is not `nodev` then; with the type and mode of the host's."""
    plan = plan_for(ROOT, FUSE, DISK, security=Security.privileged())

    [dev] = [step for step in plan.gather if isinstance(step, NewFilesystem) and "size=65536k" in step.options]
    made = {step.path: (step.mode, step.major, step.minor) for step in plan.gather if isinstance(step, SlotNode)}
    directories = {step.path for step in plan.gather if isinstance(step, SlotDir) and step.slot == dev.slot}
    assert MountAttr.NODEV not in dev.attributes
    assert ((0o666, 10, 229), (0o060660, 8, 0)) == (made["fuse"], made["block/sda"])
    assert "block" in directories


def test_there_is_an_end_to_how_many_devices_can_be_bound() -> None:
    """Each is a mount."""
    many = [attrs.evolve(FUSE, target=ContainerPath(f"/dev/fuse{number}")) for number in range(65)]

    with pytest.raises(InvalidSpecError, match="are 65"):
        plan_for(ROOT, *many)
