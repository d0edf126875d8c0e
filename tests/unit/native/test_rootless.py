"""The same executor as root of a user namespace: what differs is in the plan, not in C."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from container_kit._plan.ops import (
    AttachHow,
    Capabilities,
    Mask,
    MountAttr,
    NewFilesystem,
    NewOverlay,
    OpenTree,
    Pivot,
    ReadOnly,
    ReadOnlyRoot,
    SetMountAttr,
    SlotFile,
    SlotNode,
    Step,
    Terminal,
    WriteProc,
)
from container_kit._spec.facts import OverlayForm
from container_kit._spec.paths import ContainerPath, HostPath
from tests.unit.native.harness import Driver, attach, proc, run_payload

pytestmark = [pytest.mark.needs_userns, pytest.mark.needs_overlay, pytest.mark.needs_tools("unshare", "setpriv")]

NOBODY = 65534
UNSHARE = ("unshare", "--user", "--map-root-user")
RESTRICTED = MountAttr.NOSUID | MountAttr.NODEV | MountAttr.NOEXEC
FILE = AttachHow.MAKE_FILE


@pytest.fixture
def rootless(driver: Driver) -> Driver:
    """Give a driver that starts as an unprivileged user's root of a new user namespace."""
    wrapper: tuple[str, ...] = UNSHARE
    if os.geteuid() == 0:
        os.chown(driver.directory, NOBODY, NOBODY)
        for name in ("upper", "work"):
            (driver.directory / name).mkdir()
            os.chown(driver.directory / name, NOBODY, NOBODY)
        identity = (f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")
        wrapper = ("setpriv", *identity, *UNSHARE)
    return Driver(driver.program, driver.directory, wrapper)


def plan(rootfs: Path, form: OverlayForm, *end: Step) -> tuple[Step, ...]:
    """Return a container with everything that a user's plan has: devices are bound, the overlay is userxattr's."""
    root = NewOverlay(
        slot=0,
        lowers=(HostPath(str(rootfs)),),
        upper="upper",
        work="work",
        form=form,
        options=("userxattr",),
    )
    gather = (
        NewFilesystem(slot=2, fstype="tmpfs", attributes=MountAttr.NOSUID, options=("mode=755",)),
        SlotFile(slot=2, path="null", mode=0o666),
        OpenTree(slot=3, source=HostPath("/dev/null"), recursive=False),
        SetMountAttr(slot=3, attributes=MountAttr.NOSUID | MountAttr.NOEXEC),
        OpenTree(slot=4, source=HostPath("/dev/null"), recursive=False),
        NewFilesystem(slot=5, fstype="tmpfs", attributes=MountAttr.READ_ONLY),
        NewFilesystem(slot=6, fstype="devpts", options=("newinstance", "ptmxmode=0666", "mode=0620")),
        NewFilesystem(slot=7, fstype="mqueue", attributes=RESTRICTED),
        NewFilesystem(slot=8, fstype="sysfs", attributes=RESTRICTED | MountAttr.READ_ONLY),
        WriteProc(slot=1, path="sys/net/ipv4/ip_unprivileged_port_start", contents=b"0"),
    )
    inside = (
        attach(1, "/proc"),
        attach(2, "/dev"),
        attach(3, "/dev/null"),
        attach(6, "/dev/pts", AttachHow.MAKE_DIR),
        attach(7, "/dev/mqueue", AttachHow.MAKE_DIR),
        attach(8, "/sys"),
        Mask(null=4, empty=5, path=ContainerPath("/etc/group")),
        Mask(null=4, empty=5, path=ContainerPath("/proc/keys")),
        Mask(null=4, empty=5, path=ContainerPath("/proc/irq")),
        ReadOnly(path=ContainerPath("/proc/sys")),
        ReadOnlyRoot(),
    )
    return (root, proc(), *gather, Pivot(slot=0), *inside, *end)


@pytest.mark.parametrize("form", list(OverlayForm))
def test_whole_container_without_privileges(rootless: Driver, payload_rootfs: Path, form: OverlayForm) -> None:
    """Every kind of file system, bind, mask and write protection works for an unprivileged user."""
    end = (Capabilities(effective=0), *run_payload("cat", "/proc/self/mounts", "/etc/group"))

    launch = rootless.run(plan(payload_rootfs, form, *end))

    kinds = {line.split()[1]: line.split()[2] for line in launch.lines}
    wanted = {"/": "overlay", "/dev/pts": "devpts", "/dev/mqueue": "mqueue", "/sys": "sysfs", "/proc/irq": "tmpfs"}
    assert wanted.items() <= kinds.items()
    assert "/etc/group" in kinds


def test_terminal_without_privileges(rootless: Driver, payload_rootfs: Path) -> None:
    """A user's container has terminals too."""
    terminal = (Terminal(rows=1, columns=2), *run_payload("tty"))

    launch = rootless.run(plan(payload_rootfs, OverlayForm.FD, *terminal), flags="t")

    assert launch.stdout.startswith("/dev/pts/0 1 2")


def test_device_nodes_are_the_kernels_to_refuse(rootless: Driver, payload_rootfs: Path) -> None:
    """What a user may not do fails with its step and errno, like anything else."""
    steps = (
        NewOverlay(
            slot=0,
            lowers=(HostPath(str(payload_rootfs)),),
            upper="upper",
            work="work",
            form=OverlayForm.FD,
            options=("userxattr",),
        ),
        NewFilesystem(slot=2, fstype="tmpfs"),
        SlotNode(slot=2, path="null", mode=0o666, major=1, minor=3),
    )

    assert rootless.run(steps).failure == (2, errno.EPERM)
