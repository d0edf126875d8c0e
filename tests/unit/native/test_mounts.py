"""File systems and trees as detached mounts (ops_gather.c, ops_overlay.c)."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from container_kit._plan.ops import (
    LoopbackUp,
    MountAttr,
    Namespace,
    NewFilesystem,
    NewOverlay,
    OpenSubtree,
    OpenTree,
    Pivot,
    SetMountAttr,
    SlotDir,
    SlotFile,
    SlotNode,
    SlotSymlink,
    WriteProc,
)
from container_kit._spec.facts import OverlayForm
from container_kit._spec.paths import HostPath
from tests.unit.native.harness import DIRECTORY, SIX, Driver, attach, container, overlay, run_payload

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_overlay]

READ_ONLY = MountAttr.READ_ONLY
FORMS = pytest.mark.parametrize("form", list(OverlayForm))


def mount_at(lines: list[str], target: str) -> list[str]:
    """Return type and options of the topmost mount at a target, from lines of /proc/self/mounts."""
    fields = [line.split() for line in lines]
    _, _, fstype, options, *_ = [f for f in fields if f[1] == target][-1]
    return [fstype, *options.split(",")]


@FORMS
def test_overlay_becomes_the_root_in_every_form(driver: Driver, payload_rootfs: Path, form: OverlayForm) -> None:
    """Each form shows the lower directory and sends writes to the upper one."""
    plan = (overlay(payload_rootfs, form=form), Pivot(slot=0), *run_payload("write", "/etc/new", "text"))

    launch = driver.run(plan)

    assert launch.lines == []
    assert (driver.directory / "upper" / "etc" / "new").read_text() == "text"
    assert not (payload_rootfs / "etc" / "new").exists()


@FORMS
def test_overlay_layers_may_have_any_name(
    driver: Driver, payload_rootfs: Path, tmp_path: Path, form: OverlayForm
) -> None:
    """Commas, colons, backslashes and equal signs in a layer's path mean nothing; the first layer is on top."""
    top = tmp_path / "a,b:c\\d=e"
    (top / "etc").mkdir(parents=True)
    (top / "etc" / "os-release").write_text("top")
    layers = (HostPath(str(top)), HostPath(str(payload_rootfs)))
    root = NewOverlay(slot=0, lowers=layers, upper="upper", work="work", form=form, options=("volatile", "xino=off"))

    launch = driver.run((root, Pivot(slot=0), *run_payload("cat", "/etc/os-release")))

    assert launch.lines == ["top"]


@FORMS
def test_overlay_without_upper_is_read_only(
    driver: Driver, payload_rootfs: Path, tmp_path: Path, form: OverlayForm
) -> None:
    """No upper directory, no writes."""
    layers = (HostPath(str(tmp_path)), HostPath(str(payload_rootfs)))
    root = NewOverlay(slot=0, lowers=layers, upper="", work="", form=form)

    launch = driver.run((root, Pivot(slot=0), *run_payload("open", "c", "/etc/new")))

    assert launch.stdout == "EROFS\n"


def test_joined_overlay_that_does_not_fit_a_page_is_too_big(driver: Driver, payload_rootfs: Path) -> None:
    """More layers than mount(2)'s one page of options can name are E2BIG."""
    root = NewOverlay(
        slot=0,
        lowers=(HostPath(str(payload_rootfs)),) * 300,
        upper="upper",
        work="work",
        form=OverlayForm.JOINED,
    )

    launch = driver.run((root, Pivot(slot=0), *run_payload("true")))

    assert launch.failure == (0, errno.E2BIG)


def test_joined_overlay_never_touches_the_host_mount_table(driver: Driver, payload_rootfs: Path) -> None:
    """Without a mount namespace of its own the form that needs a real mount is refused."""
    plan = (overlay(payload_rootfs, form=OverlayForm.JOINED), *run_payload("true"))

    launch = driver.run(plan, namespaces=Namespace.UTS)

    assert launch.failure == (0, errno.EPERM)


def test_new_filesystems_have_their_types_and_attributes(driver: Driver, payload_rootfs: Path) -> None:
    """proc, sysfs, tmpfs, devpts and mqueue appear where they are attached, as they were described."""
    restricted = MountAttr.NOSUID | MountAttr.NODEV | MountAttr.NOEXEC
    gather = (
        NewFilesystem(slot=2, fstype="sysfs", attributes=restricted | READ_ONLY),
        NewFilesystem(slot=3, fstype="devpts", attributes=MountAttr.NOSUID, options=("newinstance", "mode=0620")),
        NewFilesystem(slot=4, fstype="mqueue", attributes=restricted | MountAttr.NOATIME),
        NewFilesystem(slot=5, fstype="tmpfs", attributes=MountAttr.STRICTATIME, options=("size=64k", "mode=1777")),
    )
    targets = ("/sys", "/m/pts", "/m/mqueue", "/m/shm")
    inside = (attach(2 + i, target, DIRECTORY) for i, target in enumerate(targets))

    launch = driver.run(container(payload_rootfs, *inside, gather=gather, end=run_payload("cat", "/proc/self/mounts")))

    assert mount_at(launch.lines, "/proc")[:5] == ["proc", "rw", "nosuid", "nodev", "noexec"]
    assert mount_at(launch.lines, "/sys")[:5] == ["sysfs", "ro", "nosuid", "nodev", "noexec"]
    assert mount_at(launch.lines, "/m/pts")[:3] == ["devpts", "rw", "nosuid"]
    assert "noatime" in mount_at(launch.lines, "/m/mqueue")
    assert mount_at(launch.lines, "/m/shm")[:3] == ["tmpfs", "rw", "size=64k"]  # strictatime: no relatime


def test_nothing_of_a_container_is_mounted_on_the_host(driver: Driver, payload_rootfs: Path) -> None:
    """The host's mount table is the same while a container runs and after it."""
    before = Path("/proc/self/mountinfo").read_text(encoding="utf-8")

    running = driver.start(container(payload_rootfs, end=run_payload("cat")))
    running.read_until("outcome")
    during = Path("/proc/self/mountinfo").read_text(encoding="utf-8")
    running.finish()

    assert before == during == Path("/proc/self/mountinfo").read_text(encoding="utf-8")


def test_recursive_read_only_bind_covers_submounts(driver: Driver, payload_rootfs: Path) -> None:
    """A tree opened and made read-only recursively is so in the mounts below it as well."""
    gather = (
        OpenTree(slot=3, source=HostPath("/dev"), recursive=True),
        SetMountAttr(slot=3, attributes=READ_ONLY, recursive=True),
    )

    launch = driver.run(
        container(payload_rootfs, attach(3, "/dev"), gather=gather, end=run_payload("cat", "/proc/self/mounts"))
    )

    below = [line.split() for line in launch.lines if line.split()[1].startswith("/dev")]
    assert len(below) > 1
    assert all(fields[3].split(",")[0] == "ro" for fields in below)


def test_bind_that_is_not_recursive_leaves_submounts_out(driver: Driver, payload_rootfs: Path) -> None:
    """Without recursion only the one mount is cloned."""
    gather = (OpenTree(slot=3, source=HostPath("/dev"), recursive=False),)

    launch = driver.run(
        container(payload_rootfs, attach(3, "/dev"), gather=gather, end=run_payload("cat", "/proc/self/mounts"))
    )

    assert [line.split()[1] for line in launch.lines if line.split()[1].startswith("/dev")] == ["/dev"]


@pytest.mark.parametrize("name", ["noatime", "relatime"])
def test_access_times_of_a_bind_are_as_asked(driver: Driver, payload_rootfs: Path, name: str) -> None:
    """The old setting is replaced: the kernel refuses two at once. STRICTATIME shows as neither."""
    wanted = {"noatime": MountAttr.NOATIME, "relatime": MountAttr.STRICTATIME}[name]
    gather = (OpenTree(slot=3, source=HostPath("/usr"), recursive=False), SetMountAttr(slot=3, attributes=wanted))

    launch = driver.run(
        container(payload_rootfs, attach(3, "/srv"), gather=gather, end=run_payload("cat", "/proc/self/mounts"))
    )

    assert (name in mount_at(launch.lines, "/srv")) == (name == "noatime")


@pytest.mark.needs_tools("unshare")
@FORMS
def test_shared_mounts_of_the_host_are_no_obstacle(driver: Driver, payload_rootfs: Path, form: OverlayForm) -> None:
    """Where the host's mounts propagate, as systemd makes them, those of a container do not."""
    table = "cat /proc/self/mountinfo > before; %s; cat /proc/self/mountinfo > after"
    shell = ("sh", "-c", table % '"$@"', "sh")
    shared = Driver(driver.program, driver.directory, ("unshare", "--mount", "--propagation", "shared", *shell))
    gather = (
        NewFilesystem(slot=2, fstype="tmpfs"),
        SlotDir(slot=2, path="d", mode=0o755),
        OpenSubtree(slot=3, of=2, path="d"),
    )

    launch = shared.run((overlay(payload_rootfs, form=form), *gather, Pivot(slot=0), *run_payload("true")))

    assert launch.lines == []
    assert (driver.directory / "before").read_text() == (driver.directory / "after").read_text()
    assert " shared:" in (driver.directory / "before").read_text()


def test_entries_are_made_in_a_detached_file_system(driver: Driver, payload_rootfs: Path) -> None:
    """Directories, files, devices and symlinks get the modes they were asked for, whatever the umask."""
    gather = (
        NewFilesystem(slot=2, fstype="tmpfs"),
        SlotDir(slot=2, path="d", mode=0o1777),
        SlotFile(slot=2, path="d/f", mode=0o4711, contents=b"con\0tents"),
        SlotNode(slot=2, path="null", mode=0o666, major=1, minor=3),
        SlotNode(slot=2, path="far", mode=0o600, major=4000, minor=700000),
        SlotSymlink(slot=2, path="d/l", target="/proc/self/fd"),
    )
    paths = [f"/srv/{name}" for name in ("d", "d/f", "null", "far")]

    launch = driver.run(container(payload_rootfs, attach(2, "/srv"), gather=gather, end=run_payload("stat", *paths)))

    kinds = [line.split() for line in launch.lines]
    assert [kind[1] for kind in kinds] == ["1777", "4711", "0666", "0600"], kinds
    assert kinds[2][5] == "1:3"
    assert kinds[3][5] == "4000:700000"


def test_file_replaces_what_was_there_instead_of_writing_into_it(
    driver: Driver, payload_rootfs: Path, tmp_path: Path
) -> None:
    """A file of the image under the same name, hard link or symlink, keeps its contents."""
    layer = tmp_path / "layer"
    (layer / "etc").mkdir(parents=True)
    (layer / "etc" / "hosts").symlink_to("os-release")
    root = NewOverlay(
        slot=0,
        lowers=(HostPath(str(layer)), HostPath(str(payload_rootfs))),
        upper="upper",
        work="work",
        form=OverlayForm.FD,
    )
    write = SlotFile(slot=0, path="etc/hosts", mode=0o644, contents=b"ours\n")

    launch = driver.run((root, write, Pivot(slot=0), *run_payload("cat", "/etc/hosts", "/etc/os-release")))

    assert launch.lines[:2] == ["ours", "ID=payload"]


@pytest.mark.parametrize("climb", [False, True], ids=["absolute", "climbing"])
def test_entries_never_lead_to_the_host(driver: Driver, payload_rootfs: Path, tmp_path: Path, climb: bool) -> None:
    """Before the pivot the host's root is still ours: an image's symlinks resolve inside its slot all the same."""
    layer, victim = tmp_path / "layer", tmp_path / "victim"
    for directory in (layer, victim):
        directory.mkdir()
    (victim / "secret").write_text("secret")
    (layer / "out").symlink_to("../" * 20 + str(victim)[1:] if climb else victim)
    layers = (HostPath(str(layer)), HostPath(str(payload_rootfs)))
    root = NewOverlay(slot=0, lowers=layers, upper="upper", work="work", form=OverlayForm.FD)
    write = SlotFile(slot=0, path="out/planted", mode=0o644, contents=b"x")
    read = OpenSubtree(slot=3, of=0, path="out/secret")

    assert driver.run((root, write)).failure == (1, errno.ENOENT)
    assert driver.run((root, read)).failure == (1, errno.ENOENT)
    assert [entry.name for entry in victim.iterdir()] == ["secret"]


def test_subtree_is_a_mount_of_its_own_and_its_slot_stays_usable(any_kernel: Driver, payload_rootfs: Path) -> None:
    """An entry of a slot can be attached elsewhere, more than one of them, and the slot itself as well."""
    gather = (
        NewFilesystem(slot=2, fstype="tmpfs"),
        SlotFile(slot=2, path="a", mode=0o644, contents=b"A\n"),
        SlotFile(slot=2, path="b", mode=0o644, contents=b"B\n"),
        OpenSubtree(slot=3, of=2, path="a"),
        OpenSubtree(slot=4, of=2, path="b"),
        SlotFile(slot=2, path="c", mode=0o644, contents=b"C\n"),
    )
    inside = (attach(3, "/etc/passwd"), attach(4, "/etc/group"), attach(2, "/srv"))
    end = run_payload("cat", "/etc/passwd", "/etc/group", "/srv/a", "/srv/c")

    launch = any_kernel.run(container(payload_rootfs, *inside, gather=gather, end=end))

    assert launch.lines == ["A", "B", "A", "C"]


def test_old_way_to_a_subtree_never_touches_the_host_mount_table(old_kernel_program: Path, driver: Driver) -> None:
    """The way that needs an attached mount is refused without a mount namespace of our own."""
    steps = (
        NewFilesystem(slot=2, fstype="tmpfs"),
        SlotDir(slot=2, path="d", mode=0o755),
        OpenSubtree(slot=3, of=2, path="d"),
    )

    launch = Driver(old_kernel_program, driver.directory).run(steps, namespaces=Namespace.UTS)

    assert launch.failure == (2, errno.EPERM)


def test_sysctl_is_written_through_the_detached_proc(driver: Driver, payload_rootfs: Path) -> None:
    """WRITE_PROC reaches the sysctls of the new namespaces."""
    gather = (WriteProc(slot=1, path="sys/net/ipv4/ip_unprivileged_port_start", contents=b"7"),)
    end = run_payload("cat", "/proc/sys/net/ipv4/ip_unprivileged_port_start")

    assert driver.run(container(payload_rootfs, gather=gather, end=end)).lines == ["7"]


@pytest.mark.parametrize("path", ["self/comm", "../etc/passwd", "/sys/kernel/domainname", "net/dev"])
def test_proc_write_refuses_links_and_ways_out(driver: Driver, payload_rootfs: Path, path: str) -> None:
    """Symlinks, absolute paths and .. never lead to another file."""
    launch = driver.run(container(payload_rootfs, gather=(WriteProc(slot=1, path=path, contents=b"x"),)))

    assert launch.failure in {(2, errno.ELOOP), (2, errno.EXDEV)}


def test_proc_write_refuses_other_file_systems(driver: Driver, payload_rootfs: Path) -> None:
    """A slot that is not proc is no place for sysctls."""
    gather = (
        NewFilesystem(slot=2, fstype="tmpfs"),
        SlotFile(slot=2, path="f", mode=0o644),
        WriteProc(slot=2, path="f", contents=b"x"),
    )

    assert driver.run(container(payload_rootfs, gather=gather)).failure == (4, errno.EBADF)


def test_loopback_comes_up(driver: Driver, payload_rootfs: Path) -> None:
    """The new network namespace's lo is up after the step and down without."""
    end = run_payload("cat", "/proc/net/if_inet6")

    without = driver.run(container(payload_rootfs, end=end))
    with_step = driver.run(container(payload_rootfs, gather=(LoopbackUp(),), end=end))

    assert "00000000000000000000000000000001" not in without.stdout
    assert "00000000000000000000000000000001" in with_step.stdout


def test_slot_that_is_taken_or_empty_is_refused(driver: Driver, payload_rootfs: Path) -> None:
    """A slot is filled once, and used only when filled."""
    twice = (NewFilesystem(slot=2, fstype="tmpfs"), NewFilesystem(slot=2, fstype="tmpfs"))
    never = (SetMountAttr(slot=9, attributes=READ_ONLY),)

    assert driver.run(container(payload_rootfs, gather=twice)).failure == (3, errno.EBUSY)
    assert driver.run(container(payload_rootfs, gather=never)).failure == (2, errno.EBADF)


def test_unknown_attribute_is_refused(driver: Driver, payload_rootfs: Path) -> None:
    """A bit that this executor does not know is not ignored."""
    bad = (NewFilesystem(slot=2, fstype="tmpfs", attributes=MountAttr(0x8000)),)

    assert driver.run(container(payload_rootfs, gather=bad), namespaces=SIX).failure == (2, errno.EINVAL)
