"""Putting a tree together that belongs to the container (ops_attach.c, resolve.c)."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from container_kit._plan.ops import (
    AttachHow,
    MakeDir,
    Mask,
    MountAttr,
    NewFilesystem,
    NewOverlay,
    OpenSubtree,
    OpenTree,
    Pivot,
    ReadOnly,
    ReadOnlyRoot,
    SlotDir,
    SlotFile,
    SlotNode,
    Step,
)
from container_kit._spec.facts import OverlayForm
from container_kit._spec.paths import ContainerPath, HostPath
from tests.unit.native.harness import Driver, attach, container, dev, proc, run_payload

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_overlay]

FILE = AttachHow.MAKE_FILE
DIRECTORY = AttachHow.MAKE_DIR
ORDINARY = AttachHow.ORDINARY
VOLUME = (NewFilesystem(slot=5, fstype="tmpfs"), SlotFile(slot=5, path="mark", mode=0o644, contents=b"volume\n"))
CONFIG = (
    NewFilesystem(slot=5, fstype="tmpfs"),
    SlotFile(slot=5, path="f", mode=0o644, contents=b"config\n"),
    OpenSubtree(slot=6, of=5, path="f"),
)
COVERS = (
    *dev(),
    OpenSubtree(slot=3, of=2, path="null"),
    NewFilesystem(slot=4, fstype="tmpfs", attributes=MountAttr.READ_ONLY, options=("mode=755", "nr_inodes=2")),
)


def mask(path: str) -> Mask:
    """Hide a path behind the covers."""
    return Mask(null=3, empty=4, path=ContainerPath(path))


@pytest.fixture
def layered(payload_rootfs: Path, tmp_path: Path) -> tuple[Path, NewOverlay]:
    """Give a layer to plant things in, and the root made of it and the payload's file system."""
    layer = tmp_path / "layer"
    layer.mkdir()
    layers = (HostPath(str(layer)), HostPath(str(payload_rootfs)))
    return layer, NewOverlay(slot=0, lowers=layers, upper="upper", work="work", form=OverlayForm.FD)


def plan(root: NewOverlay, gather: tuple[Step, ...], inside: tuple[Step, ...], *command: str) -> tuple[Step, ...]:
    """Return a plan with a root of its own."""
    return (root, proc(), *gather, Pivot(slot=0), attach(1, "/proc"), *inside, *run_payload(*command))


@pytest.mark.parametrize("link", ["/etc", "../../../../../etc", "/proc/1/root/etc", "loop/../etc"])
def test_symlinked_target_stays_inside(driver: Driver, layered: tuple[Path, NewOverlay], link: str) -> None:
    """A target that is a symlink resolves inside the new root, or not at all."""
    layer, root = layered
    (layer / "data").symlink_to(link)
    (layer / "loop").mkdir()

    launch = driver.run(plan(root, VOLUME, (attach(5, "/data"),), "cat", "/etc/mark"))

    assert launch.stdout == "volume\n" or launch.failure[1] == errno.ELOOP


def test_missing_targets_are_made_with_their_parents(driver: Driver, payload_rootfs: Path) -> None:
    """MAKE_DIR and MAKE_FILE create what is missing, in the upper directory only."""
    inside = (attach(5, "/a/b/c", DIRECTORY), attach(6, "/d//e/./f/", FILE))

    launch = driver.run(container(payload_rootfs, *inside, gather=CONFIG, end=run_payload("cat", "/a/b/c/f", "/d/e/f")))

    assert launch.lines == ["config", "config"]
    assert (driver.directory / "upper" / "a" / "b" / "c").stat().st_mode & 0o7777 == 0o755
    assert (driver.directory / "upper" / "d" / "e" / "f").read_bytes() == b""


def test_missing_target_without_leave_to_make_it_is_an_error(driver: Driver, payload_rootfs: Path) -> None:
    """ATTACH makes nothing by itself."""
    assert driver.run(container(payload_rootfs, attach(5, "/a"), gather=VOLUME)).failure == (6, errno.ENOENT)


@pytest.mark.parametrize("link", ["/run/resolver/conf", "../run/resolver/conf", "../../../../run/resolver/conf"])
def test_dangling_symlink_is_followed_to_where_it_would_lead(
    driver: Driver, layered: tuple[Path, NewOverlay], link: str
) -> None:
    """The target of a dangling symlink is made inside the root; images ship such an /etc/resolv.conf."""
    layer, root = layered
    (layer / "etc").mkdir()
    (layer / "etc" / "resolv.conf").symlink_to(link)

    launch = driver.run(plan(root, CONFIG, (attach(6, "/etc/resolv.conf", FILE),), "cat", "/run/resolver/conf"))

    assert launch.lines == ["config"]
    assert (driver.directory / "upper" / "run" / "resolver" / "conf").exists()


def test_dangling_parent_is_followed_as_well(driver: Driver, layered: tuple[Path, NewOverlay]) -> None:
    """A component in the middle may dangle too."""
    layer, root = layered
    (layer / "var").mkdir()
    (layer / "var" / "run").symlink_to("../run/deep/deeper")

    launch = driver.run(plan(root, VOLUME, (attach(5, "/var/run/x/y", DIRECTORY),), "cat", "/run/deep/deeper/x/y/mark"))

    assert launch.lines == ["volume"]


def test_symlinks_in_a_circle_end(driver: Driver, layered: tuple[Path, NewOverlay]) -> None:
    """A loop of symlinks is ELOOP, not an endless walk."""
    layer, root = layered
    (layer / "a").symlink_to("b")
    (layer / "b").symlink_to("a")

    assert driver.run(plan(root, VOLUME, (attach(5, "/a/x", DIRECTORY),), "true")).failure[1] == errno.ELOOP


def test_ordinary_target_refuses_symlinks(driver: Driver, layered: tuple[Path, NewOverlay]) -> None:
    """What must be the real /sys is not made where an image's symlink says (CVE-2019-19921)."""
    layer, root = layered
    (layer / "sys").symlink_to("etc")

    launch = driver.run(plan(root, VOLUME, (attach(5, "/sys", DIRECTORY | ORDINARY),), "true"))

    assert launch.failure == (7 - 1, errno.ELOOP)


def test_path_that_grows_too_long_is_refused(driver: Driver, layered: tuple[Path, NewOverlay]) -> None:
    """Symlinks cannot make the path of a missing target longer than PATH_MAX."""
    layer, root = layered
    (layer / "l").symlink_to("x" * 250 + "/" + "/".join(["y" * 250] * 15))

    launch = driver.run(plan(root, VOLUME, (attach(5, "/l/" + "/".join(["z" * 250] * 5), DIRECTORY),), "true"))

    assert launch.failure[1] == errno.ENAMETOOLONG


def test_slot_is_used_up_by_attaching(driver: Driver, payload_rootfs: Path) -> None:
    """A mount cannot be in two places."""
    inside = (attach(5, "/srv"), attach(5, "/home"))

    assert driver.run(container(payload_rootfs, *inside, gather=VOLUME)).failure == (7, errno.EBADF)


def test_slot_that_masks_cannot_be_attached(driver: Driver, payload_rootfs: Path) -> None:
    """Attaching the null device after it hid a path would take it away from there."""
    inside = (mask("/etc/passwd"), attach(3, "/etc/group"))

    assert driver.run(container(payload_rootfs, *inside, gather=COVERS)).failure == (10, errno.EBADF)


def test_directory_on_a_file_is_refused(driver: Driver, payload_rootfs: Path) -> None:
    """A directory cannot cover a file nor a file a directory."""
    onto_file = driver.run(container(payload_rootfs, attach(5, "/etc/passwd"), gather=VOLUME))
    onto_directory = driver.run(container(payload_rootfs, attach(6, "/etc"), gather=CONFIG))

    assert onto_file.failure == (6, errno.ENOTDIR)
    assert onto_directory.failure[1] == errno.ENOTDIR


def test_directory_is_made_with_mode_and_owner(driver: Driver, payload_rootfs: Path) -> None:
    """The last component gets mode and owner, the parents the usual ones; one that is there is left alone."""
    inside = (
        MakeDir(path=ContainerPath("/w/x"), mode=0o2750, uid=1000, gid=1001),
        MakeDir(path=ContainerPath("/w/x"), mode=0o700),
        MakeDir(path=ContainerPath("/etc"), mode=0o700, uid=1000),
    )

    launch = driver.run(container(payload_rootfs, *inside, end=run_payload("stat", "/w", "/w/x", "/etc")))

    assert [line.split()[1:4] for line in launch.lines] == [
        ["0755", "0", "0"],
        ["2750", "1000", "1001"],
        ["0755", "0", "0"],
    ]


def test_directory_where_a_file_is_cannot_be_made(driver: Driver, payload_rootfs: Path) -> None:
    """A working directory that is a file is an error."""
    inside = (MakeDir(path=ContainerPath("/etc/passwd")),)

    assert driver.run(container(payload_rootfs, *inside)).failure == (4, errno.ENOTDIR)


def test_masks_hide_files_and_directories(driver: Driver, payload_rootfs: Path) -> None:
    """A masked file reads empty, a masked directory lists nothing; any number of them from two slots."""
    paths = ["/etc/passwd", "/etc/group", "/etc/os-release"]
    inside = (*map(mask, paths), mask("/home"), mask("/srv"), mask("/no/such"), mask("/etc/passwd/below"))

    launch = driver.run(
        container(payload_rootfs, *inside, gather=COVERS, end=run_payload("stat", *paths, "/home", "/srv"))
    )

    kinds = [line.split() for line in launch.lines]
    assert [kind[5] for kind in kinds[:3]] == ["1:3"] * 3
    assert [kind[1] for kind in kinds[3:]] == ["0755"] * 2
    listing = driver.run(container(payload_rootfs, *inside, gather=COVERS, end=run_payload("ls", "/home")))
    assert listing.lines == []


def test_masked_file_cannot_be_written_through(driver: Driver, payload_rootfs: Path) -> None:
    """What is written to a masked file is gone; the file below does not change."""
    launch = driver.run(
        container(payload_rootfs, mask("/etc/passwd"), gather=COVERS, end=run_payload("write", "/etc/passwd", "x"))
    )

    assert launch.lines == []
    assert not (driver.directory / "upper" / "etc" / "passwd").exists()


@pytest.mark.parametrize(
    "impostor",
    [
        SlotNode(slot=7, path="null", mode=0o666, major=1, minor=5),
        SlotFile(slot=7, path="null", mode=0o666, contents=b"secret"),
        SlotDir(slot=7, path="null", mode=0o777),
    ],
)
def test_mask_demands_the_real_null_device(driver: Driver, payload_rootfs: Path, impostor: Step) -> None:
    """Whatever is not character device 1:3 hides nothing (CVE-2025-31133)."""
    gather = (
        NewFilesystem(slot=7, fstype="tmpfs"),
        impostor,
        OpenSubtree(slot=3, of=7, path="null"),
        NewFilesystem(slot=4, fstype="tmpfs"),
    )

    launch = driver.run(container(payload_rootfs, mask("/etc/passwd"), gather=gather))

    assert launch.failure == (8, errno.ENODEV)


def test_read_only_path_cannot_be_written(driver: Driver, payload_rootfs: Path) -> None:
    """A path made read-only is, the rest is not; an absent one is fine."""
    inside = (
        ReadOnly(path=ContainerPath("/etc")),
        ReadOnly(path=ContainerPath("/no/such")),
        ReadOnly(path=ContainerPath("/srv"), recursive=False),
    )
    steps = container(payload_rootfs, *inside, end=run_payload("open", "c", "/etc/x"))
    elsewhere = container(payload_rootfs, *inside, end=run_payload("open", "c", "/home/x"))

    assert driver.run(steps).stdout == "EROFS\n"
    assert driver.run(elsewhere).stdout == "ok\n"


def test_read_only_recursion_is_what_was_asked_for(driver: Driver, payload_rootfs: Path) -> None:
    """Mounts below the path are covered by the recursive form."""
    gather = (OpenTree(slot=3, source=HostPath("/dev")),)
    mounts = run_payload("cat", "/proc/self/mounts")

    recursive = driver.run(
        container(payload_rootfs, attach(3, "/dev"), ReadOnly(path=ContainerPath("/dev")), gather=gather, end=mounts)
    )

    last = {line.split()[1]: line.split()[3].split(",")[0] for line in recursive.lines}
    assert {mode for target, mode in last.items() if target.startswith("/dev")} == {"ro"}


def test_read_only_root_spares_the_mounts_on_it(driver: Driver, payload_rootfs: Path) -> None:
    """The root cannot be written, a volume on it can."""
    inside = (attach(5, "/srv"), ReadOnlyRoot())

    root = driver.run(container(payload_rootfs, *inside, gather=VOLUME, end=run_payload("open", "c", "/etc/x")))
    volume = driver.run(container(payload_rootfs, *inside, gather=VOLUME, end=run_payload("open", "c", "/srv/x")))

    assert (root.stdout, volume.stdout) == ("EROFS\n", "ok\n")


def test_old_root_is_out_of_reach(driver: Driver, payload_rootfs: Path) -> None:
    """After the pivot there is one root, and no mount of the host."""
    launch = driver.run(container(payload_rootfs, end=run_payload("cat", "/proc/self/mountinfo")))

    assert sorted(line.split()[4] for line in launch.lines) == ["/", "/proc"]
