"""Where the contenders compete: one fresh file system for the state of all, one root file system, the floor's program.

On ext4, creating files costs more where many inodes were deleted in the last minutes, and every contender would be
measured on that instead: hence a fresh one on a loop device, or tmpfs where there are no loop devices.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from pathlib import Path
from typing import Any

import attrs

CHECKOUT = Path(__file__).resolve().parents[1]
HERE = Path(__file__).resolve().parent
USER = "cktest"
DISK_BYTES = 8 << 30
COMMANDS = ("sh", "true", "sleep", "cat", "ls", "echo", "mkdir", "rm")


@attrs.frozen(kw_only=True)
class Lab:
    """The prepared place."""

    place: Path
    filesystem: str

    @property
    def rootfs(self) -> Path:
        """The root file system all containers get."""
        return self.place / "fs" / "rootfs"

    @property
    def limit(self) -> Path:
        """The program that measures the floor."""
        return self.place / "limit"

    def state(self, name: str, owner: str | None = None) -> tuple[Path, Path]:
        """Make and return two directories for a contender: on the fresh file system, and on tmpfs."""
        user = pwd.getpwnam(owner) if owner else None
        made = (self.place / "fs" / name, self.place / "run" / name)
        for directory in made:
            directory.mkdir(mode=0o711)
            if user:
                os.chown(directory, user.pw_uid, user.pw_gid)
        return made


def call(*command: str | Path) -> None:
    """Run a command that must succeed."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    if done.returncode:
        raise RuntimeError(f"{command[0]} failed: {done.stderr.strip()[-400:]}")


def prepare_lab(place: Path) -> Lab:
    """Mount and fill everything below a directory. In a mount namespace of our own: nothing needs unmounting."""
    place.chmod(0o755)
    filesystem = _mount_disk(place)
    (place / "run").mkdir()
    call("mount", "-t", "tmpfs", "-o", "mode=755", "run", place / "run")
    lab = Lab(place=place, filesystem=filesystem)
    call("cc", "-O2", "-Wall", "-o", lab.limit, HERE / "limit.c")
    _make_rootfs(lab.rootfs)
    return lab


def _mount_disk(place: Path) -> str:
    target = place / "fs"
    target.mkdir()
    image = place / "disk.img"
    try:
        with open(image, "wb") as file:
            file.truncate(DISK_BYTES)
        call("mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0", image)
        call("mount", "-o", "loop", image, target)
    except (RuntimeError, OSError) as err:
        call("mount", "-t", "tmpfs", "-o", "mode=755", "fs", target)
        return f"tmpfs (no ext4 on a loop device: {err})"
    target.chmod(0o755)
    return "fresh ext4 on a loop device"


def _make_rootfs(root: Path) -> None:
    busybox = shutil.which("busybox")
    if busybox is None:
        raise RuntimeError("busybox is missing: install busybox-static")
    for name in ("bin", "dev", "proc", "sys", "tmp", "etc", "root", "var", "run"):
        (root / name).mkdir(parents=True)
    shutil.copy(busybox, root / "bin" / "busybox")
    for name in COMMANDS:
        (root / "bin" / name).symlink_to("busybox")


def describe_machine() -> dict[str, Any]:
    """Return what numbers depend on."""
    cpu = next((x.split(":")[1].strip() for x in _lines("/proc/cpuinfo") if x.startswith("model name")), "unknown")
    memory = next((int(x.split()[1]) >> 20 for x in _lines("/proc/meminfo") if x.startswith("MemTotal")), 0)
    return {
        "cpu": cpu,
        "cpus": len(os.sched_getaffinity(0)),
        "memory_gib": memory,
        "kernel": os.uname().release,
        "load": os.getloadavg()[0],
        "commit": _commit(),
    }


def _lines(path: str) -> list[str]:
    return Path(path).read_text(encoding="utf-8").splitlines()


def _commit() -> str:
    command = ["git", "-C", str(CHECKOUT), "describe", "--always", "--dirty"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    except OSError:
        return ""
