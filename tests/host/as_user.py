#!/usr/bin/env python3
"""as_user.py USER COMMAND…: runs COMMAND as an unprivileged user who may make containers, and returns its status.

Needs root. The user gets what a login session would give: a runtime directory, a cgroup of its own (delegated the way
cgroup-v2.rst, "Delegation", says), no ambient privileges, no terminal. Checkout and interpreter stay at the same
paths; when a directory above them is closed to the user, they are shown through a private mount namespace.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
DELEGATED = ("cgroup.procs", "cgroup.subtree_control", "cgroup.threads")


def find_cgroup2() -> Path | None:
    """Return this process's own cgroup v2 directory, if one can make groups there."""
    mounts = [line.split() for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    top = next((fields[4] for fields in mounts if fields[fields.index("-") + 1] == "cgroup2"), None)
    own = next((line[3:] for line in Path("/proc/self/cgroup").read_text().splitlines() if line.startswith("0::")), "/")
    return Path(top, own.lstrip("/")) if top else None


def delegate(user: pwd.struct_passwd) -> Path | None:
    """Make a cgroup and give it to the user; return it, or None where there is no writable tree."""
    parent = find_cgroup2()
    if parent is None:
        return None
    group = parent / f"{user.pw_name}-delegated-{os.getpid()}"
    try:
        group.mkdir()
        # The processes go one level down, so that controllers can be enabled for their siblings.
        (group / "tests").mkdir()
        for place in (group, group / "tests"):
            os.chown(place, user.pw_uid, user.pw_gid)
            for name in DELEGATED:
                os.chown(place / name, user.pw_uid, user.pw_gid)
    except OSError as err:
        print(f"as_user: no delegated cgroup: {err}", file=sys.stderr)
        remove_group(group)
        return None
    return group


def remove_group(group: Path) -> None:
    """End what is left in a cgroup, then remove it and those below it; what cannot be removed is told."""
    deadline = time.monotonic() + 5
    while group.exists():
        try:
            (group / "cgroup.kill").write_text("1")
            for place, _, _ in os.walk(group, topdown=False):
                os.rmdir(place)
        except OSError as err:
            if time.monotonic() > deadline:
                print(f"as_user: {err}", file=sys.stderr)
                return
            time.sleep(0.05)


def closed_directories(user: pwd.struct_passwd) -> dict[Path, list[Path]]:
    """Return directories the user cannot pass on the way to what it must read, and what lies below each."""
    found: dict[Path, list[Path]] = {}
    for needed in {CHECKOUT, Path(sys.base_prefix).resolve(), Path(sys.prefix)}:
        for parent in reversed(needed.parents):
            state = parent.stat()
            if not state.st_mode & 0o001 and state.st_uid != user.pw_uid:
                found.setdefault(parent, []).append(needed)
                break
    return found


def view_script(closed: dict[Path, list[Path]]) -> str:
    """Return shell commands that open the closed directories in a mount namespace of our own."""
    lines = ["set -e", "hold=$(mktemp -d)"]
    wanted = sorted({needed for below in closed.values() for needed in below})
    lines += ['mount -t tmpfs -o mode=755 hold "$hold"']
    for number, needed in enumerate(wanted):
        lines += [f'mkdir "$hold/{number}"', f"mount --rbind '{needed}' \"$hold/{number}\""]
    lines += [f"mount -t tmpfs -o mode=755 view '{directory}'" for directory in closed]
    for number, needed in enumerate(wanted):
        lines += [f"mkdir -p '{needed}'", f"mount --rbind \"$hold/{number}\" '{needed}'"]
    return "\n".join([*lines, 'umount -R -l "$hold"', 'rmdir "$hold"', 'exec "$@"'])


def command_line(user: pwd.struct_passwd, group: Path | None, command: list[str]) -> list[str]:
    """Return the command that changes into the user's place and runs `command` there."""
    enter = f"echo $$ > '{group}/tests/cgroup.procs'\n" if group else ""
    closed = closed_directories(user)
    prefix = ["unshare", "--mount", "--propagation", "private"] if closed else []
    ids = ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--init-groups"]
    shell = enter + (view_script(closed) if closed else 'exec "$@"')
    return [*prefix, "sh", "-c", shell, "as_user", *ids, "--inh-caps=-all", "--", *command]


def main() -> int:
    """Run the command."""
    user = pwd.getpwnam(sys.argv[1])
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # so that all is undone
    runtime = tempfile.mkdtemp(prefix="ckr", dir="/run")
    os.chown(runtime, user.pw_uid, user.pw_gid)
    group = delegate(user)
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("XDG_", "PYTEST_", "SUDO_"))
    }
    own = {"HOME": user.pw_dir, "USER": user.pw_name, "LOGNAME": user.pw_name, "XDG_RUNTIME_DIR": runtime}
    try:
        command = command_line(user, group, sys.argv[2:])
        return subprocess.run(command, env=environment | own, check=False).returncode
    finally:
        shutil.rmtree(runtime, ignore_errors=True)
        if group is not None:
            remove_group(group)


if __name__ == "__main__":
    sys.exit(main())
