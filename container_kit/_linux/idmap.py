"""User namespaces for unprivileged users: which ids there are, and making one.

One namespace per process and map is made and then shared by all its containers: writing
the maps takes two set-user-ID programs (newuidmap(1), newgidmap(1)), which cost more than a
whole container. Without subordinate ids (subuid(5)) a single id is mapped.
Source: user_namespaces(7).
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess

from container_kit._linux import shim
from container_kit._spec.facts import IdMap, IdRange
from container_kit.errors import UnsupportedHostError

_SYSCTLS = (
    ("/proc/sys/user/max_user_namespaces", "0", "user.max_user_namespaces", "15000"),
    ("/proc/sys/kernel/unprivileged_userns_clone", "0", "kernel.unprivileged_userns_clone", "1"),
    (
        "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
        "1",
        "kernel.apparmor_restrict_unprivileged_userns",
        "0",
    ),
)


def find_id_map() -> IdMap:
    """Return the map that a user namespace of this user can have: its subordinate ids, or a single id."""
    uid, gid = os.geteuid(), os.getegid()
    if shutil.which("newuidmap") and shutil.which("newgidmap"):
        names = _own_names(uid)
        uids = _subordinate("/etc/subuid", names)
        gids = _subordinate("/etc/subgid", names)
        if uids is not None and gids is not None:
            return IdMap(
                uids=(IdRange(0, uid, 1), IdRange(1, uids[0], uids[1])),
                gids=(IdRange(0, gid, 1), IdRange(1, gids[0], gids[1])),
            )
    return IdMap(uids=single_range(uid), gids=single_range(gid))


def single_range(number: int) -> tuple[IdRange, ...]:
    """Return the map in which root is the one id there is."""
    return (IdRange(0, number, 1),)


def subordinate_ranges() -> tuple[tuple[int, int], ...]:
    """Return (first id, count) of everything that subuid(5) and subgid(5) give out, to whomever."""
    return (*_read_ranges("/etc/subuid", None), *_read_ranges("/etc/subgid", None))


def open_user_namespace(id_map: IdMap) -> int:
    """Make a user namespace with these maps and return a descriptor of it. The caller closes it.

    Raises:
        UnsupportedHostError: user namespaces are switched off here; the hint names the sysctl.
    """
    try:
        with shim.hold_user_namespace() as pid:
            _write_maps(pid, id_map)
            return os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    except OSError as err:
        reason, hint = _why_refused()
        raise UnsupportedHostError(
            feature="user namespaces", reason=reason or "refused", errno=err.errno, hint=hint
        ) from err


def _write_maps(pid: int, id_map: IdMap) -> None:
    if len(id_map.uids) == 1:
        _write(f"/proc/{pid}/setgroups", "deny")
        _write(f"/proc/{pid}/uid_map", _lines(id_map.uids))
        _write(f"/proc/{pid}/gid_map", _lines(id_map.gids))
        return
    for program, ranges in (("newuidmap", id_map.uids), ("newgidmap", id_map.gids)):
        numbers = [str(n) for r in ranges for n in (r.inside, r.outside, r.size)]
        done = subprocess.run([program, str(pid), *numbers], capture_output=True, text=True, check=False)
        if done.returncode:
            raise UnsupportedHostError(
                feature="subordinate ids",
                reason=f"{program} failed: {done.stderr.strip()}",
                hint=f"check this user's line in /etc/sub{program[3:6]} and that {program} is set-user-ID root",
            )


def _lines(ranges: tuple[IdRange, ...]) -> str:
    return "".join(f"{r.inside} {r.outside} {r.size}\n" for r in ranges)


def _write(path: str, text: str) -> None:
    with open(path, "w", encoding="ascii") as file:
        file.write(text)


def _own_names(uid: int) -> set[str]:
    names = {str(uid)}
    try:
        names.add(pwd.getpwuid(uid).pw_name)
    except KeyError:
        pass
    return names


def _subordinate(path: str, names: set[str]) -> tuple[int, int] | None:
    """Return (first id, count) of this user's largest range in a subuid(5) file."""
    return max(_read_ranges(path, names), key=lambda found: found[1], default=None)


def _read_ranges(path: str, names: set[str] | None) -> list[tuple[int, int]]:
    """Return (first id, count) of each range in a subuid(5) file, those of `names` or all."""
    try:
        with open(path, encoding="utf-8") as file:
            lines = [line.strip().split(":") for line in file.read().splitlines()]
    except OSError:
        return []
    return [
        (int(fields[1]), int(fields[2]))
        for fields in lines
        if len(fields) == 3
        and (names is None or fields[0] in names)
        and fields[1].isdigit()
        and fields[2].isdigit()
        and int(fields[2]) > 0
    ]


def _why_refused() -> tuple[str, str]:
    for path, off, name, on in _SYSCTLS:
        try:
            with open(path, encoding="ascii") as file:
                value = file.read().strip()
        except OSError:
            continue
        if value == off:
            return f"the sysctl {name} is {value}", f"as root: sysctl -w {name}={on}"
    return "", "run as root, or ask for user namespaces to be allowed here"
