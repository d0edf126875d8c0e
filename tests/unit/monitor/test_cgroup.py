"""The container's cgroup: made and filled before init, gone afterwards. cgroup-v2.rst."""

from __future__ import annotations

import os

import pytest

from tests.unit.monitor import wire
from tests.unit.monitor.harness import Bench, payload_processes, wait_for

pytestmark = pytest.mark.needs_root


def test_init_starts_in_its_cgroup(cgroup_bench: Bench) -> None:
    """The cgroup has init and the values asked for, and it is removed at the end though the container stays."""
    monitor, init = cgroup_bench.run("sleep", cgroup_writes=("cgroup.max.depth", "7", "cgroup.max.descendants", "70"))
    group = cgroup_bench.cgroup()
    members = (group / "cgroup.procs").read_text().split()
    limits = [(group / f"cgroup.max.{what}").read_text() for what in ("depth", "descendants")]

    monitor.connect().ask(wire.SIGNAL, value=9)
    monitor.wait()

    assert [str(init)] == members
    assert ["7\n", "70\n"] == limits
    assert not group.exists()


def test_a_write_that_fails_is_counted(cgroup_bench: Bench) -> None:
    """The detail says which write failed, from 1; the cgroup is removed again."""
    writes = ("cgroup.max.depth", "7", "cgroup.max.depth", "many")
    monitor = cgroup_bench.launch("sleep", flags=wire.LOG | wire.REMOVE, cgroup_writes=writes)

    monitor.owner.send(wire.GO)
    failed = monitor.owner.expect(wire.FAILED)

    assert (wire.STEP_CGROUP, 22, 2) == (failed.step, failed.error, failed.detail)
    assert not cgroup_bench.cgroup().exists()


def test_everything_in_the_cgroup_ends_with_the_container(cgroup_bench: Bench) -> None:
    """Without a pid namespace, what init leaves running is found by its cgroup."""
    monitor, init = cgroup_bench.run("tree", "3", namespaces=wire.NS_MOUNT, flags=wire.LOG | wire.REMOVE)
    wait_for(lambda: len(payload_processes()) == 4, "the tree has grown")

    os.kill(init, 9)
    exited = monitor.owner.expect(wire.EXITED)

    assert (9, wire.EXIT_CLEAN) == (exited.value, exited.flags)
    assert set() == payload_processes()
    assert not cgroup_bench.cgroup().exists()


def test_cgroups_below_are_removed_however_deep(cgroup_bench: Bench) -> None:
    """A container that made a deep tree of cgroups leaves none of them."""
    monitor, _ = cgroup_bench.run("sleep", flags=wire.LOG | wire.REMOVE)
    group = cgroup_bench.cgroup()
    group.joinpath(*["d"] * 30).mkdir(parents=True)
    for name in "abc":
        (group / "d" / name / "x").mkdir(parents=True)

    monitor.connect().ask(wire.SIGNAL, value=9)
    exited = monitor.owner.expect(wire.EXITED)

    assert exited.flags & wire.EXIT_CLEAN
    assert not group.exists()


def test_a_cgroup_left_by_a_dead_monitor_is_used_again(cgroup_bench: Bench) -> None:
    """An empty cgroup of the same name is no error."""
    cgroup_bench.cgroup().mkdir()

    monitor, init = cgroup_bench.run("sleep")

    assert [str(init)] == (cgroup_bench.cgroup() / "cgroup.procs").read_text().split()
    assert "running" == monitor.state()["phase"]
