"""A28: a container ends up in a cgroup that is not its own (CVE-2023-6476, CVE-2025-47291)."""

from __future__ import annotations

from pathlib import Path

import pytest

import container_kit as ck
from container_kit import errors
from tests.security.rigs import Rig, is_refusal

REFUSED = (
    "..", "/..", "../x", "a/../../x", "a/..", "/a/./b", ".", "", "/", "a//b", "a" * 256, "a/" + "b" * 256, "a\nb",
    "a\0b",
)  # fmt: skip


def test_A28_a_parent_that_leads_elsewhere_is_refused(rig: Rig) -> None:
    """Climbing, empty and overlong parts."""
    for path in REFUSED:
        with pytest.raises(errors.InvalidSpecError) as caught:
            rig.run("true", cgroup_parent=path)

        assert "cgroup_parent" == caught.value.field, path


def test_A28_a_parent_that_is_no_group_is_an_error(rig: Rig) -> None:
    """It is neither made nor silently left out."""
    for path in ("no-such-group", "/no-such-group/below", "cgroup.procs", "tasks/cgroup.procs"):
        with pytest.raises(errors.ContainerKitError) as caught:
            rig.run("true", cgroup_parent=path)
        assert is_refusal(caught.value), path

    assert [] == ck.Container.list(all=True, engine=rig.engine)


def cgroup_of(pid: int) -> str:
    """Return a process's cgroup v2 path."""
    lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    return next(line[3:] for line in lines if line.startswith("0::"))


@pytest.mark.needs_cgroup2
def test_A28_everything_of_a_container_is_in_its_own_group(rig: Rig) -> None:
    """Its init, and what is executed, from the first instruction on: its name is in the path that the host sees."""
    box, other = rig.start(), rig.start()
    assert box.pid is not None
    assert other.pid is not None

    with box.spawn(["payload", "sleep", "1000"]):
        executed = [process.pid for process in box.top()]
        paths = {cgroup_of(pid) for pid in executed}

    assert len(executed) == 2
    assert all(f"/ck-{box.id}" in path for path in paths)
    assert f"/ck-{other.id}" in cgroup_of(other.pid)


@pytest.mark.needs_cgroup2
def test_A28_a_container_is_born_in_its_group(rig: Rig) -> None:
    """The first thing it can see is that it is at the root of its own group."""
    first = [line for line in rig.run("cat", "/proc/self/cgroup").stdout.splitlines() if line.startswith("0::")]

    assert ["0::/"] == first
