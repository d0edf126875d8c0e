"""A9: what is meant for procfs is written into the container's idea of it.

CVE-2019-16884, CVE-2019-19921, CVE-2023-27561, CVE-2023-28642, CVE-2025-52881.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import container_kit as ck
from container_kit import errors
from tests.security.rigs import Rig, error_of, make_share, record, status_of, swapping

KERNEL_PLACES = ("proc", "dev", "sys")
STARTS = 15
SYSCTLS = {"net.ipv4.ip_default_ttl": "42", "kernel.msgmax": "4242"}


def replace_by_link(path: Path, target: str) -> None:
    """Put a symlink in the place of a directory."""
    shutil.rmtree(path)
    path.symlink_to(target)


@pytest.mark.parametrize("target", ["{canary}", "/tmp", "../../../../tmp", "loop"])
@pytest.mark.parametrize("name", KERNEL_PLACES)
def test_A9_a_symlink_in_place_of_a_kernel_file_system_is_refused(
    rig: Rig, own_rootfs: Path, own_image: ck.Image, canary: Path, name: str, target: str
) -> None:
    """/proc, /dev and /sys must be ordinary directories (CVE-2019-19921, CVE-2026-41579)."""
    replace_by_link(own_rootfs / name, name if target == "loop" else target.format(canary=canary))
    before = record(canary)

    with pytest.raises(errors.InvalidMountError) as caught:
        rig.run("true", image=own_image)

    assert ("mount target", f"/{name}") == (caught.value.field, caught.value.value)
    assert "ordinary directories" in (caught.value.hint or "")
    assert before == record(canary)


@pytest.mark.parametrize("name", KERNEL_PLACES)
def test_A9_a_file_in_place_of_a_kernel_file_system_is_refused(
    rig: Rig, own_rootfs: Path, own_image: ck.Image, name: str
) -> None:
    """The same error as for a symlink."""
    shutil.rmtree(own_rootfs / name)
    (own_rootfs / name).write_text("no directory")

    with pytest.raises(errors.InvalidMountError) as caught:
        rig.run("true", image=own_image)

    assert f"/{name}" == caught.value.value


@pytest.mark.parametrize(
    "target",
    ["/proc", "/sys", "/dev", "/", "/proc/sys", "/proc/self/attr", "/proc/thread-self", "/proc/1/oom_score_adj"],
)
def test_A9_a_mount_onto_a_kernel_file_system_is_refused(rig: Rig, canary: Path, target: str) -> None:
    """Neither a directory nor a file of the caller's takes the place of what is written to."""
    before = record(canary)

    makers: list[Callable[[], ck.Mount]] = [lambda: ck.Mount.bind(canary, target), lambda: ck.Mount.tmpfs(target)]
    for make in makers:
        with pytest.raises(errors.InvalidMountError) as caught:
            rig.run("true", mounts=[make()])
        assert target == caught.value.value

    assert before == record(canary)


def test_A9_a_forged_proc_is_covered_by_the_real_one(rig: Rig, own_rootfs: Path, own_image: ck.Image) -> None:
    """Files that the image has below /proc and /sys are neither read nor written."""
    for name in ("sys/net/ipv4/ip_default_ttl", "self/oom_score_adj", "sys/kernel/msgmax"):
        (own_rootfs / "proc" / name).parent.mkdir(parents=True, exist_ok=True)
        (own_rootfs / "proc" / name).write_text("forged")
    before = record(own_rootfs / "proc")

    seen = rig.run(
        "cat", *(f"/proc/sys/{name.replace('.', '/')}" for name in SYSCTLS), image=own_image, sysctls=SYSCTLS
    )

    assert list(SYSCTLS.values()) == seen.stdout.split()
    assert before == record(own_rootfs / "proc")


def test_A9_what_is_written_while_proc_is_swapped_is_in_force(rig: Rig, own_rootfs: Path) -> None:
    """The settings are read back from a container whose image's /proc turns into a symlink and back."""
    own_rootfs.chmod(0o777)
    make_share(own_rootfs / "other")
    (own_rootfs / "away").symlink_to("/tmp")
    image = ck.Image.from_directory(own_rootfs)
    seen: list[str] = []

    with swapping(rig, own_rootfs, "proc", "away"):
        for _ in range(STARTS):
            error = error_of(
                lambda: seen.append(rig.run("sysctl", "net.ipv4.ip_default_ttl", image=image, sysctls=SYSCTLS).stdout)
            )
            assert error is None or (isinstance(error, errors.InvalidMountError) and "/proc" == error.value)

    assert set(seen) <= {"42\n"}


@pytest.mark.parametrize("field", ["NoNewPrivs", "Seccomp", "CapEff", "CapBnd"])
def test_A9_what_was_asked_for_is_read_back_from_outside(rig: Rig, field: str) -> None:
    """The kernel says of the container's init what its plan said."""
    security = ck.Security(cap_drop=["ALL"], cap_add=["CHOWN", "KILL"])
    box = rig.start(security=security)
    assert box.pid is not None

    seen = status_of(box.pid)[field]

    expected = {"NoNewPrivs": "1", "Seccomp": "2", "CapEff": f"{0x21:016x}", "CapBnd": f"{0x21:016x}"}
    assert expected[field] == seen


def test_A9_an_oom_score_is_written_to_the_process_itself(rig: Rig) -> None:
    """Raising it needs no privilege; it is read from outside, and exec'd processes have it too."""
    box = rig.start(resources=ck.Resources(oom_score_adj=500))

    executed = box.exec(["payload", "cat", "/proc/self/oom_score_adj"], text=True).stdout

    assert "500" == Path(f"/proc/{box.pid}/oom_score_adj").read_text().strip()
    assert "500\n" == executed
