"""Control groups, version 2: what the files of one do.

Not a resource model: values to write come from `_plan`; where groups may be made is in `cgroup_tree`. The
tree of a hybrid host (cgroup2 mounted beside version 1 controllers) freezes and kills just as well.
Source: the kernel's cgroup-v2.rst, cgroups(7).
"""

from __future__ import annotations

import errno
import os
import time

from container_kit.errors import CgroupError

GONE = (errno.ENOENT, errno.ENODEV)  # how the kernel refuses what concerns a cgroup that was removed


def exists(path: str) -> bool:
    """Say whether the cgroup is there."""
    return os.path.isdir(path)


def write(path: str, file: str, value: str) -> None:
    """Write one control file.

    Raises:
        CgroupError: the kernel refused, or the cgroup is gone.
    """
    try:
        fd = os.open(f"{path}/{file}", os.O_WRONLY)
    except OSError as err:
        raise _refused(path, file, value, err.errno) from err
    try:
        os.write(fd, value.encode())
    except OSError as err:
        raise _refused(path, file, value, err.errno) from err
    finally:
        os.close(fd)


def read_values(path: str, file: str) -> dict[str, int]:
    """Read a flat-keyed file such as cgroup.events or cpu.stat; a missing one is empty."""
    try:
        with open(f"{path}/{file}", encoding="ascii") as opened:
            pairs = (line.split() for line in opened)
            return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdigit()}
    except OSError:
        return {}


def freeze(path: str, *, frozen: bool, timeout: float = 10.0) -> None:
    """Freeze or thaw every process in the cgroup and wait until the kernel says it is so.

    Raises:
        CgroupError: refused, not done within `timeout` seconds (ETIMEDOUT), or the cgroup is gone (`GONE`).
    """
    value = "1" if frozen else "0"
    write(path, "cgroup.freeze", value)
    deadline = time.monotonic() + timeout
    while read_values(path, "cgroup.events").get("frozen") != int(frozen):
        if not os.path.exists(f"{path}/cgroup.events"):
            raise _refused(path, "cgroup.freeze", value, errno.ENODEV)
        if time.monotonic() > deadline:
            raise _refused(path, "cgroup.freeze", value, errno.ETIMEDOUT)
        time.sleep(0.001)


def is_freezing(path: str) -> bool:
    """Say whether somebody wants the cgroup frozen, whether or not all of it is by now."""
    try:
        with open(f"{path}/cgroup.freeze", encoding="ascii") as file:
            return file.read().strip() == "1"
    except OSError:
        return False


def is_frozen(path: str) -> bool:
    """Say whether the cgroup is frozen."""
    return read_values(path, "cgroup.events").get("frozen") == 1


def kill(path: str) -> None:
    """End every process in the cgroup and below (cgroup.kill, Linux 5.14); a missing cgroup is fine."""
    try:
        write(path, "cgroup.kill", "1")
    except CgroupError as err:
        if err.errno not in GONE:
            raise


def pids(path: str) -> list[int]:
    """Return the processes in the cgroup and below it."""
    found: list[int] = []
    for directory, _, _ in os.walk(path):
        try:
            with open(f"{directory}/cgroup.procs", encoding="ascii") as file:
                found.extend(int(line) for line in file)
        except OSError:
            continue
    return sorted(found)


def remove(path: str, timeout: float = 2.0) -> None:
    """Kill what is left in the cgroup and remove it with its children; a missing one is fine.

    Raises:
        CgroupError: it is still busy after `timeout` seconds.
    """
    if not exists(path):
        return
    kill(path)
    deadline = time.monotonic() + timeout
    while True:
        try:
            for directory, _, _ in os.walk(path, topdown=False):
                os.rmdir(directory)
        except FileNotFoundError:
            if not exists(path):
                return  # else another process removes its children, too: look again
        except OSError as err:
            if err.errno != errno.EBUSY or time.monotonic() > deadline:
                raise CgroupError(attempted=f"cannot remove the control group {path}", errno=err.errno) from err
            time.sleep(0.001)
        else:
            return


def _refused(path: str, file: str, value: str, number: int | None) -> CgroupError:
    hint = "has its container ended?" if file == "cgroup.freeze" and number in GONE else None
    return CgroupError(attempted=f"cannot write {value!r} to {path}/{file}", errno=number, hint=hint)
