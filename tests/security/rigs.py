"""What the rows stand on: containers in one of the three modes, a canary that must not change, and races.

The modes: the host's root, root with a user namespace for each container, and a user; the last is the
same tests in another run (tests/host/run.py).
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import stat
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, TypeAlias, Unpack

import attrs

import container_kit as ck
from container_kit import ContainerOptions

UserNamespace: TypeAlias = Literal["host", "auto"]

SLEEP = ("sleep", "1000")
RENAME_EXCHANGE = 2  # renameat2(2)
AT_FDCWD = -100


@attrs.frozen
class Rig:
    """Makes containers of the payload in one mode. Options are those of `run` and `start`."""

    engine: ck.Engine
    image: ck.Image
    userns: UserNamespace

    def security(self, base: ck.Security | None = None) -> ck.Security:
        """Return a profile in this mode."""
        return attrs.evolve(base or ck.Security(), userns=self.userns)

    def run(
        self, *command: str, image: ck.Image | None = None, **options: Unpack[ContainerOptions]
    ) -> ck.Completed[str]:
        """Run a command of the payload."""
        options["security"] = self.security(options.get("security"))
        return ck.run(image or self.image, ["payload", *command], text=True, engine=self.engine, **options)

    def start(self, *command: str, image: ck.Image | None = None, **options: Unpack[ContainerOptions]) -> ck.Container:
        """Start a command of the payload; by default it sleeps."""
        options["security"] = self.security(options.get("security"))
        return ck.start(image or self.image, ["payload", *(command or SLEEP)], engine=self.engine, **options)

    def output(
        self, way: str, *command: str, image: ck.Image | None = None, **options: Unpack[ContainerOptions]
    ) -> str:
        """Return what a command prints that is run, or executed in a container that runs already."""
        if way == "run":
            return self.run(*command, image=image, **options).stdout
        return self.start(image=image, **options).exec(["payload", *command], text=True).stdout


# ── the canary ───────────────────────────────────────────────────────────────────────────────────


def make_canary(place: Path) -> Path:
    """Make a directory of the host that no container is told of, with what an intruder would like to change."""
    place.mkdir()
    (place / "hosts").write_text("canary")
    (place / "passwd").write_text("app:x:0:0::/:/bin/sh\n")
    (place / "empty").mkdir()
    (place / "link").symlink_to("hosts")
    (place / "setuid").write_bytes(b"#!/bin/true\n")
    (place / "setuid").chmod(0o4755)
    return place


def record(place: Path) -> dict[str, tuple[object, ...]]:
    """Return everything about a directory and what is below it; reading it changes nothing that is recorded."""
    return {str(path): _inode(path) for path in (place, *sorted(place.rglob("*")))}


def _inode(path: Path) -> tuple[object, ...]:
    info = path.lstat()
    is_file = stat.S_ISREG(info.st_mode)
    content = hashlib.sha256(path.read_bytes()).hexdigest() if is_file else ""
    xattrs = tuple(sorted(os.listxattr(path, follow_symlinks=False)))
    times = (info.st_mtime_ns, info.st_ctime_ns)
    return info.st_ino, info.st_mode, info.st_uid, info.st_gid, info.st_size, info.st_nlink, times, content, xattrs


def mount_table() -> list[str]:
    """Return the mounts that this process sees."""
    return Path("/proc/self/mountinfo").read_text().splitlines()


# ── races ────────────────────────────────────────────────────────────────────────────────────────


def exchange(first: Path, second: Path) -> None:
    """Exchange two names at once: neither is ever missing."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.renameat2(AT_FDCWD, os.fsencode(first), AT_FDCWD, os.fsencode(second), RENAME_EXCHANGE):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(first))


@contextmanager
def swapping(rig: Rig, share: Path, first: str, second: str) -> Generator[None]:
    """Let a container exchange two names in a directory that it shares with others, as fast as it can."""
    mounts = [ck.Mount.bind(share, "/share")]
    with rig.start("swap", f"/share/{first}", f"/share/{second}", mounts=mounts) as intruder:
        assert next(iter(intruder.logs(follow=True)), None) is not None
        yield
        assert "running" == intruder.status


def error_of(action: Callable[[], object]) -> ck.ContainerKitError | None:
    """Return the error of an action if it is one of ours, None when there is none; others go on."""
    try:
        action()
    except ck.ContainerKitError as error:
        return error
    return None


def is_refusal(error: ck.ContainerKitError | None) -> bool:
    """Say whether this is no error at all, or one that the host or what was asked for is to blame for."""
    return error is None or isinstance(error, OSError | ValueError)


def make_share(place: Path) -> Path:
    """Make a directory in which every container may rename."""
    place.mkdir()
    place.chmod(0o777)
    return place


# ── processes, seen from outside ─────────────────────────────────────────────────────────────────


def status_of(pid: int) -> dict[str, str]:
    """Return the fields of /proc/PID/status."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def fields(output: str) -> dict[str, str]:
    """Read lines of /proc/self/status that a payload printed."""
    return {name: value.strip() for name, _, value in (line.partition(":") for line in output.splitlines())}


def inside_ids(pid: int, kind: Literal["uid", "gid"]) -> set[int]:
    """Return the ids that a process has, as its own user namespace counts; read from outside."""
    outside = {int(number) for number in status_of(pid)[kind.capitalize()].split()}
    table = [[int(n) for n in line.split()] for line in Path(f"/proc/{pid}/{kind}_map").read_text().splitlines()]
    return {inner + one - outer for one in outside for inner, outer, size in table if outer <= one < outer + size}


def existing(*paths: str) -> list[str]:
    """Return those of the paths that this kernel has; what it lacks cannot be hidden."""
    return [path for path in paths if os.path.lexists(path)]
