"""Who the process is and what it may do (ops_confine.c)."""

from __future__ import annotations

import errno
import os
import struct
from pathlib import Path

import pytest

from container_kit._plan.ops import (
    BoundingSet,
    Capabilities,
    Chdir,
    Gid,
    Groups,
    Hostname,
    NewOverlay,
    NoNewPrivs,
    Pivot,
    Rlimit,
    Seccomp,
    Step,
    Uid,
    Umask,
)
from container_kit._spec.facts import OverlayForm
from container_kit._spec.paths import ContainerPath, HostPath
from tests.unit.native.harness import Driver, Launch, attach, container, proc, run_payload

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_overlay]

CAP_CHOWN, CAP_KILL, CAP_NET_BIND_SERVICE = 1 << 0, 1 << 5, 1 << 10
SETS = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")


def run(driver: Driver, rootfs: Path, steps: tuple[Step, ...], *command: str) -> Launch:
    """Run a command of the payload after these steps."""
    return driver.run(container(rootfs, *steps, end=run_payload(*command)))


def status(launch: Launch) -> dict[str, str]:
    """Return the fields of /proc/self/status."""
    return dict(line.split(":\t", 1) for line in launch.lines if ":\t" in line)


def capability_sets(launch: Launch) -> dict[str, int]:
    """Return the five sets as numbers."""
    return {name: int(status(launch)[name], 16) for name in SETS}


def test_host_and_domain_name(driver: Driver, payload_rootfs: Path) -> None:
    """Both are set; an empty domain name leaves what is there."""
    files = ("cat", "/proc/sys/kernel/hostname", "/proc/sys/kernel/domainname")

    both = run(driver, payload_rootfs, (Hostname(hostname="box", domainname="dom"),), *files)
    host = run(driver, payload_rootfs, (Hostname(hostname="box"),), *files)

    assert both.lines == ["box", "dom"]
    assert host.lines == ["box", "(none)"]


def test_resource_limits(driver: Driver, payload_rootfs: Path) -> None:
    """Soft and hard limit arrive as 64-bit numbers; all ones is infinity."""
    steps = (Rlimit(resource=7, soft=100, hard=200), Rlimit(resource=4, soft=0, hard=2**64 - 1))

    limits = {
        line[:25].strip(): line[25:].split()[:2]
        for line in run(driver, payload_rootfs, steps, "cat", "/proc/self/limits").lines
    }

    assert limits["Max open files"] == ["100", "200"]
    assert limits["Max core file size"] == ["0", "unlimited"]


def test_identity_is_set_as_a_whole(driver: Driver, payload_rootfs: Path) -> None:
    """Real, effective, saved and file system ids and the supplementary groups are those of the plan."""
    steps = (Groups(gids=struct.pack("=3I", 1000, 2000, 29)), Gid(gid=1000), Uid(uid=1001))

    fields = status(run(driver, payload_rootfs, steps, "cat", "/proc/self/status"))

    assert fields["Uid"].split() == ["1001"] * 4
    assert fields["Gid"].split() == ["1000"] * 4
    assert fields["Groups"].split() == ["29", "1000", "2000"]


def test_user_without_capabilities_step_has_none(driver: Driver, payload_rootfs: Path) -> None:
    """Capabilities kept across the change of user do not survive the exec (CVE-2018-10856)."""
    sets = capability_sets(run(driver, payload_rootfs, (Uid(uid=1000),), "cat", "/proc/self/status"))

    assert [sets[name] for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")] == [0, 0, 0, 0]


def test_root_has_what_the_bounding_set_leaves(driver: Driver, payload_rootfs: Path) -> None:
    """Effective, permitted and bounding set are the mask; inheritable and ambient are empty."""
    mask = CAP_CHOWN | CAP_KILL

    sets = capability_sets(
        run(
            driver,
            payload_rootfs,
            (BoundingSet(capabilities=mask), Capabilities(effective=mask)),
            "cat",
            "/proc/self/status",
        )
    )

    assert sets == {"CapInh": 0, "CapPrm": mask, "CapEff": mask, "CapBnd": mask, "CapAmb": 0}


def test_ambient_capabilities_reach_a_user(driver: Driver, payload_rootfs: Path) -> None:
    """A capability in the ambient set is effective after the exec by a user; the others are gone."""
    keep = CAP_NET_BIND_SERVICE
    steps = (Uid(uid=1000), Capabilities(effective=keep | CAP_KILL, ambient=keep))

    sets = capability_sets(run(driver, payload_rootfs, steps, "cat", "/proc/self/status"))

    assert [sets[name] for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")] == [keep] * 4


def test_ambient_without_effective_is_refused(driver: Driver, payload_rootfs: Path) -> None:
    """What a process does not have it cannot hand on."""
    launch = run(driver, payload_rootfs, (Capabilities(effective=CAP_KILL, ambient=CAP_CHOWN),), "true")

    assert launch.failure == (4, errno.EPERM)


@pytest.mark.parametrize("step", [Uid(uid=2**32 - 1), Gid(gid=2**32 - 1), Groups(gids=b"12345")])
def test_ids_that_are_none_are_refused(driver: Driver, payload_rootfs: Path, step: Step) -> None:
    """-1 means "leave it" to the kernel; a plan that says it is wrong. So is half a group."""
    assert run(driver, payload_rootfs, (step,), "true").failure == (4, errno.EINVAL)


def test_no_new_privs(driver: Driver, payload_rootfs: Path) -> None:
    """The bit is set by the step and by nothing else."""
    without = run(driver, payload_rootfs, (), "cat", "/proc/self/status")
    with_step = run(driver, payload_rootfs, (NoNewPrivs(),), "cat", "/proc/self/status")

    assert (status(without)["NoNewPrivs"], status(with_step)["NoNewPrivs"]) == ("0", "1")


def filter_syscall(number: int, error: int) -> bytes:
    """Return a BPF program that refuses one system call."""
    load, jump_equal, give = 0x20, 0x15, 0x06
    refuse, allow = 0x00050000 | error, 0x7FFF0000
    program = [(load, 0, 0, 0), (jump_equal, 0, 1, number), (give, 0, 0, refuse), (give, 0, 0, allow)]
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in program)


def test_seccomp_filter_is_in_force(driver: Driver, payload_rootfs: Path) -> None:
    """The program of the plan decides about the payload's system calls."""
    number = {"x86_64": 258, "aarch64": 34}[os.uname().machine]  # mkdirat(2)
    steps = (NoNewPrivs(), Seccomp(program=filter_syscall(number, errno.EXDEV)))

    launch = run(driver, payload_rootfs, steps, "syscall", str(number), "-1", "0", "0")

    assert "EXDEV" in launch.stdout


FILTER = filter_syscall(0xFFFF, errno.EXDEV)


@pytest.mark.parametrize(
    "program",
    [
        pytest.param(b"", id="empty"),
        pytest.param(FILTER + b"1234", id="cut"),
        pytest.param(FILTER + bytes(8 * 65_536), id="as many instructions as wrap to a few"),
    ],
)
def test_seccomp_program_of_a_wrong_size_is_refused(driver: Driver, payload_rootfs: Path, program: bytes) -> None:
    """An empty, a cut and an oversize program are errors, never a shorter filter or none."""
    assert run(driver, payload_rootfs, (Seccomp(program=program),), "true").failure == (4, errno.EINVAL)


def test_umask_is_the_last_word(driver: Driver, payload_rootfs: Path) -> None:
    """Directories are made with exact modes; the payload starts with the umask of the plan."""
    assert run(driver, payload_rootfs, (Umask(mask=0o027),), "umask").lines[0].endswith("027")


def test_working_directory(driver: Driver, payload_rootfs: Path) -> None:
    """CHDIR goes where it is told, through symlinks inside the root."""
    assert run(driver, payload_rootfs, (Chdir(path=ContainerPath("/etc/../home/app")),), "pwd").lines == ["/home/app"]


@pytest.mark.parametrize(
    "path", ["/proc/self/fd/3", "/proc/self/cwd", "/proc/thread-self/fd/3", "/proc/1/root", "/link", "/parent/etc"]
)
def test_working_directory_through_magic_links_is_refused(
    driver: Driver, payload_rootfs: Path, tmp_path: Path, path: str
) -> None:
    """No way leads out by a descriptor that somebody left open (CVE-2024-21626)."""
    layer = tmp_path / "layer"
    layer.mkdir()
    (layer / "link").symlink_to("/proc/self/fd/3")
    (layer / "parent").symlink_to("/proc/1/root")
    layers = (HostPath(str(layer)), HostPath(str(payload_rootfs)))
    root = NewOverlay(slot=0, lowers=layers, upper="upper", work="work", form=OverlayForm.FD)
    steps = (root, proc(), Pivot(slot=0), attach(1, "/proc"), Chdir(path=ContainerPath(path)), *run_payload("pwd"))

    assert driver.run(steps).failure == (4, errno.ELOOP)


@pytest.mark.parametrize(("path", "error"), [("/etc/passwd", errno.ENOTDIR), ("/no/such", errno.ENOENT)])
def test_working_directory_must_be_one(driver: Driver, payload_rootfs: Path, path: str, error: int) -> None:
    """A file or nothing at all is an error."""
    assert run(driver, payload_rootfs, (Chdir(path=ContainerPath(path)),), "pwd").failure == (4, error)
