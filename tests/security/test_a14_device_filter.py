"""A14: devices are an allow-list that the kernel holds, whatever mounts and nodes a container makes for itself.

These containers may do what the default ones may not: mount file systems without `nodev`,
and make nodes. Nothing but the device filter of their cgroup keeps the host's devices from them.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

import container_kit as ck
from container_kit._plan.device_filter import device_filter_of
from tests.device_programs import attach

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_cgroup2, pytest.mark.needs_device_filters]

POWERFUL = ck.Security(cap_add=["SYS_ADMIN", "MKNOD", "DAC_READ_SEARCH"], seccomp="unconfined")

# devices.txt: kmsg, tty1, fuse, loop-control, input, mapper; the disks loop0 and sda; one that is nobody's
NOBODY = (60, 1)
OTHERS = "c:1:11 c:4:1 c:10:229 c:10:237 c:13:64 c:242:0 b:7:0 b:8:0 c:60:1"
MAKE = f"""
mkdir -p /m && mount -t tmpfs none /m
for device in {OTHERS}; do
    mknod /m/$device $(echo $device | tr : ' ') || echo "no node: $device"
done
mknod /m/null c 1 3
"""
LOOK = """
true 3<>/m/null && echo null
for node in /m/*:*; do
    true 3<$node && echo "read: $node"
    true 3>>$node && echo "written: $node"
done
exit 0
"""
REFUSED = "Operation not permitted"


def refusals(done: ck.Completed[str]) -> int:
    """Return how many times a device was refused, having seen that none was not."""
    assert "null\n" == done.stdout
    assert len(done.stderr.splitlines()) == done.stderr.count(REFUSED)
    return done.stderr.count(REFUSED)


ALL_REFUSED = 2 * len(OTHERS.split())


def test_A14_no_other_device_can_be_opened_by_a_container_that_mounts_and_makes_nodes(
    engine: ck.Engine, host: ck.Image
) -> None:
    """EPERM for each, char and block, read and write; null is there to show that it is not the mount."""
    done = ck.run(host, ["sh", "-c", MAKE + LOOK], security=POWERFUL, engine=engine, text=True)

    assert ALL_REFUSED == refusals(done)


@pytest.mark.guest
@pytest.mark.needs_controllers("pids")
def test_A14_new_limits_leave_the_filter_as_it_is(engine: ck.Engine, host: ck.Image) -> None:
    """They are files of the same cgroup."""
    box = ck.start(host, ["sleep", "99"], security=POWERFUL, engine=engine)

    box.update(resources=ck.Resources(pids=100))
    done = box.exec(["sh", "-c", MAKE + LOOK], text=True)

    assert ALL_REFUSED == refusals(done)


def test_A14_an_exec_is_held_by_the_same_filter_and_so_is_a_container_that_was_started_again(
    engine: ck.Engine, host: ck.Image
) -> None:
    """Each start is in a cgroup that was made for it."""
    box = ck.start(host, ["sleep", "99"], security=POWERFUL, engine=engine, detach=True)
    at_first = box.exec(["sh", "-c", MAKE + LOOK], text=True)
    box.restart(timeout=0)
    after_restart = box.exec(["sh", "-c", MAKE + LOOK], text=True)
    box.stop(timeout=0)
    box.start()
    after_start = box.exec(["sh", "-c", MAKE + LOOK], text=True)

    assert [ALL_REFUSED] * 3 == [refusals(done) for done in (at_first, after_restart, after_start)]


def test_A14_a_restart_by_the_monitor_is_held(engine: ck.Engine, host: ck.Image) -> None:
    """Its second run says what it met, in a cgroup that was made for it."""
    script = f"{MAKE} if test -e /second; then {LOOK} fi; touch /second; exit 1"
    box = ck.start(host, ["sh", "-c", script], security=POWERFUL, restart="on-failure:1", engine=engine, detach=True)

    status = box.wait()
    log = str(list(box.logs()))

    assert 0 == status
    assert ALL_REFUSED == log.count(REFUSED)
    assert "read:" not in log
    assert "written:" not in log


def test_A14_a_cgroup_made_inside_does_not_widen(engine: ck.Engine, host: ck.Image) -> None:
    """The container mounts the cgroup tree for itself, makes a group below its own and goes there."""
    move = "mkdir -p /c && mount -t cgroup2 none /c && mkdir /c/inner && echo 0 > /c/inner/cgroup.procs || exit 9\n"

    done = ck.run(host, ["sh", "-c", MAKE + move + LOOK], security=POWERFUL, engine=engine, text=True)

    assert ALL_REFUSED == refusals(done)


def test_A14_a_device_that_was_given_is_the_only_one_more(engine: ck.Engine, host: ck.Image, tmp_path: Path) -> None:
    """By its number and not by its name: every node of it can be opened, in the way that was allowed."""
    os.mknod(tmp_path / "node", 0o666 | stat.S_IFCHR, os.makedev(*NOBODY))
    devices = [f"{tmp_path}/node:/dev/node:r"]

    done = ck.run(host, ["sh", "-c", MAKE + LOOK], security=POWERFUL, devices=devices, engine=engine, text=True)

    assert ALL_REFUSED - 1 == done.stderr.count(REFUSED)
    assert 1 == done.stderr.count("No such device or address")


def test_A14_a_group_that_an_earlier_monitor_left_is_no_obstacle(engine: ck.Engine, host: ck.Image) -> None:
    """It has the filter already; whatever it has besides can only take away more."""
    box = ck.Container.create(host, ["sh", "-c", MAKE + LOOK], security=POWERFUL, engine=engine, detach=True)
    group = Path(f"{engine.site.cgroup_parent}/ck-{box.id}")
    group.mkdir()
    program = engine.site.device_filters.open(device_filter_of(()))
    attach(program, group)
    os.close(program)

    box.start()
    status = box.wait()
    log = str(list(box.logs()))

    assert 0 == status
    assert ALL_REFUSED == log.count(REFUSED)
