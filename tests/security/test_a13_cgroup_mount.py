"""A13: the host's cgroup tree is writable in the container (CVE-2023-25809)."""

from __future__ import annotations

import pytest

from tests.probes import own_cgroup
from tests.security.rigs import Rig

CGROUP = "/sys/fs/cgroup"
PLACES = ("cgroup.procs", "cgroup.subtree_control", "cgroup.freeze", "cgroup.kill", "memory.max", "new")


def test_A13_the_container_sees_only_its_own_group(rig: Rig) -> None:
    """Its cgroup namespace begins at its own group: it is the root of what it sees."""
    seen = rig.run("cat", "/proc/self/cgroup").stdout

    assert "0::/\n" == "".join(line + "\n" for line in seen.splitlines() if line.startswith("0::"))


@pytest.mark.parametrize("way", ["run", "exec"])
def test_A13_nothing_below_the_cgroup_mount_can_be_written(rig: Rig, way: str) -> None:
    """The mount is read-only: neither files nor directories, not even of its own group."""
    box = rig.start()

    def attempt(*command: str) -> str:
        if way == "exec":
            return box.exec(["payload", *command], text=True).stdout
        return rig.run(*command).stdout

    options = [line.split()[5] for line in attempt("mounts").splitlines() if line.split()[4] == CGROUP]
    answers = {attempt("open", mode, f"{CGROUP}/{name}") for name in PLACES for mode in ("w", "c")}
    made = {box.exec(["payload", "mkdir", f"{CGROUP}/{name}"]).returncode for name in ("new", "../new")}

    assert options
    assert all("ro" in one.split(",") for one in options)
    assert answers <= {"EROFS\n", "EACCES\n", "ENOENT\n", "EEXIST\n"}
    assert {1} == made


@pytest.mark.needs_cgroup2
def test_A13_no_group_outside_of_its_own_is_shown(rig: Rig) -> None:
    """The mount's root is the container's group: the groups beside it are not there."""
    box = rig.start()
    group = own_cgroup()

    listed = box.exec(["payload", "ls", CGROUP], text=True).stdout.split()

    assert group is not None
    assert "cgroup.procs" in listed
    assert not [name for name in listed if name.startswith("ck-")]
    assert "cgroup.type" in listed  # which the root of the tree does not have
