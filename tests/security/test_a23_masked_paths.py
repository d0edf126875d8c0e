"""A23: files of the kernel that tell of the host (GHSA-jq35-85cj-fj4p, GHSA-7ww5-4wqc-m92c, GHSA-6fw5-f8r9-fgfm)."""

from __future__ import annotations

import glob
import os

import pytest

from tests.security.rigs import Rig, existing

# The union of what Docker, containerd and Podman hide, written down a second time.
MASKED = (
    "/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
    "/proc/sched_debug", "/proc/scsi", "/proc/timer_list", "/proc/timer_stats", "/sys/devices/virtual/powercap",
    "/sys/firmware", "/sys/fs/selinux",
)  # fmt: skip
THERMAL = "/sys/devices/system/cpu/cpu*/thermal_throttle"
READ_ONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
WRITES = (
    "/proc/sys/kernel/hostname", "/proc/sys/kernel/core_pattern", "/proc/sys/vm/panic_on_oom", "/proc/sysrq-trigger",
    "/proc/sys/fs/binfmt_misc/register", "/proc/irq/default_smp_affinity", "/sys/power/state",
    "/sys/kernel/uevent_helper",
)  # fmt: skip


def masked_here() -> list[str]:
    """Return what there is to hide on this host."""
    return [*existing(*MASKED), *sorted(glob.glob(THERMAL))]


def portrait(output: str) -> dict[str, str]:
    """Return what `payload portrait` says of paths."""
    lines = (line.removeprefix("path ").partition("=") for line in output.splitlines() if line.startswith("path "))
    return {path: found for path, _, found in lines}


@pytest.mark.parametrize("way", ["run", "exec"])
def test_A23_every_masked_path_is_empty_and_cannot_be_written(rig: Rig, way: str) -> None:
    """Files are the null device, directories are empty and read-only; by run and by exec."""
    paths = masked_here()
    assert paths

    seen = portrait(rig.output(way, "portrait", *paths))

    expected = {path: "empty, read-only" if os.path.isdir(path) else "empty, null device" for path in paths}
    assert expected == seen


@pytest.mark.parametrize("way", ["run", "exec"])
def test_A23_kernel_settings_are_read_only(rig: Rig, way: str) -> None:
    """Even for root inside: what is not namespaced would change the host."""
    box = rig.start()
    paths = existing(*WRITES)
    assert paths

    answers = {
        path: (
            box.exec(["payload", "open", "w", path], text=True) if way == "exec" else rig.run("open", "w", path)
        ).stdout
        for path in paths
    }

    # Who is not the host's root has no right to them anyway.
    allowed = (
        {"EROFS\n", "ENOENT\n"} if os.geteuid() == 0 and rig.userns == "host" else {"EROFS\n", "EACCES\n", "ENOENT\n"}
    )
    assert set(answers.values()) <= allowed, answers


def test_A23_read_only_paths_are_mounts_that_refuse_writing(rig: Rig) -> None:
    """The mount table of the container says so, for those that the kernel has."""
    lines = [line.split() for line in rig.run("mounts").stdout.splitlines()]

    options = {line[4]: line[5].split(",") for line in lines}

    for path in existing(*READ_ONLY):
        assert "ro" in options[path], path


def test_A23_what_is_hidden_stays_hidden_when_it_is_reached_by_another_name(rig: Rig) -> None:
    """/proc/1/root and symlinks lead to the same mounts."""
    box = rig.start()
    (path, *_) = existing("/proc/keys", "/proc/timer_list", "/proc/interrupts")
    box.exec(["payload", "symlink", path, "/tmp/link"], check=True)

    ways = ["/tmp/link", f"/proc/1/root{path}", f"/proc/self/root{path}", f"/proc/self/cwd{path}"]

    assert "" == box.exec(["payload", "cat", *ways], text=True).stdout
