"""Story: limits of containers: in their files from the start, changed while they run, kept for later runs.

Where controllers come from: the top of the tree, a given cgroup, what is delegated to a user.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import container_kit as ck
from container_kit import RestartPolicy, errors
from tests.e2e.patience import PATIENCE, eventually
from tests.e2e.worlds import CHECKOUT, run_in

pytestmark = [pytest.mark.guest, pytest.mark.needs_root, pytest.mark.needs_controllers("memory", "cpu", "pids", "io")]

TOP = Path("/sys/fs/cgroup")
MIB = 1 << 20
SLEEP = ["payload", "sleep", "1000"]
AS_USER = [sys.executable, str(CHECKOUT / "tests" / "host" / "as_user.py"), "cktest"]


def limits(engine: ck.Engine, box: ck.Container, *files: str) -> list[str]:
    """Return what files of a container's cgroup say."""
    group = engine.site.cgroup_of(box.id)
    assert group is not None
    return [Path(group, file).read_text().strip() for file in files]


@pytest.fixture
def parent() -> Iterator[Path]:
    """Give a cgroup below another one; neither has controllers to hand on."""
    outer = TOP / f"cktest-{os.getpid()}"
    inner = outer / "inner"
    inner.mkdir(parents=True)

    yield inner

    inner.rmdir()
    outer.rmdir()


def test_every_limit_is_in_its_file(engine: ck.Engine, image: ck.Image) -> None:
    """The engine's directory is on a disk, which a plain rate is about."""
    resources = ck.Resources(
        memory="64m",
        memory_swap="96m",
        memory_high="48m",
        memory_reservation="32m",
        oom_group=True,
        cpus=1.5,
        cpu_shares=512,
        pids=20,
        io_write_bps="10m",
        io_read_iops=500,
    )

    box = ck.start(image, SLEEP, resources=resources, engine=engine)

    assert [str(size * MIB) for size in (64, 32, 48, 32)] == limits(
        engine, box, "memory.max", "memory.swap.max", "memory.high", "memory.low"
    )
    assert ["1", "150000 100000", "59", "20"] == limits(
        engine, box, "memory.oom.group", "cpu.max", "cpu.weight", "pids.max"
    )
    (disk,) = limits(engine, box, "io.max")
    assert f"rbps=max wbps={10 * MIB} riops=500 wiops=max" == disk.split(" ", 1)[1]


def test_limits_change_while_it_runs_and_stay(engine: ck.Engine, image: ck.Image) -> None:
    """What is not given stays; -1 lifts; a restart by its policy, and a start by hand, begin with the last values."""
    files = ("memory.max", "memory.swap.max", "pids.max", "cpu.weight")
    box = ck.start(
        image,
        SLEEP,
        resources=ck.Resources(memory="64m", pids=20),
        restart=RestartPolicy.always(),
        detach=True,
        engine=engine,
    )

    box.update(resources=ck.Resources(memory="128m", pids=-1, cpu_shares=2))
    changed = limits(engine, box, *files)
    assert box.pid is not None
    os.kill(box.pid, signal.SIGKILL)
    eventually(lambda: box.inspect().restarts == 1 and box.status == "running", "a restart")
    restarted = limits(engine, box, *files)
    box.stop(timeout=0)
    box.update(resources=ck.Resources(pids=7))
    box.start()

    assert [str(128 * MIB), str(128 * MIB), "max", "1"] == changed == restarted
    assert [str(128 * MIB), str(128 * MIB), "7", "1"] == limits(engine, box, *files)
    assert ck.Resources(memory="128m", pids=7, cpu_shares=2) == box.inspect().config.resources


def test_a_container_can_get_its_first_limit_while_it_runs(engine: ck.Engine, image: ck.Image) -> None:
    """Also one that is paused; its processes feel it at once. What joins it for an exec counts until it is gone."""
    box = ck.start(image, SLEEP, detach=True, engine=engine)
    box.pause()

    box.update(resources=ck.Resources(pids=5))
    box.unpause()
    forks = box.exec(["payload", "forks", "9"], text=True).stdout

    assert ["5"] == limits(engine, box, "pids.max")
    assert 2 <= int(forks) <= 3


def test_an_update_that_is_refused_changes_nothing(engine: ck.Engine, image: ck.Image) -> None:
    """Neither the files nor what is recorded: here the second of two limits cannot be kept."""
    box = ck.start(image, SLEEP, resources=ck.Resources(pids=20), detach=True, engine=engine)

    with pytest.raises(errors.UnsupportedHostError) as caught:
        box.update(resources=ck.Resources(pids=5, io_weight=100))

    assert "io.weight" == caught.value.feature
    assert ["20"] == limits(engine, box, "pids.max")
    assert ck.Resources(pids=20) == box.inspect().config.resources


def test_a_limit_that_cannot_be_kept_starts_nothing(engine: ck.Engine, image: ck.Image) -> None:
    """A controller that the kernel has not is named before anything is made; so is a file of one that it has."""
    with pytest.raises(errors.UnsupportedHostError) as no_controller:
        ck.start(image, SLEEP, resources=ck.Resources(cpuset_cpus="0", pids=5), engine=engine)
    with pytest.raises(errors.UnsupportedHostError) as no_file:
        ck.start(image, SLEEP, resources=ck.Resources(io_weight=100), engine=engine)

    assert ("cpuset limits", "io.weight") == (no_controller.value.feature, no_file.value.feature)
    assert "the kernel does not offer the cpuset controller" == no_controller.value.reason
    assert [] == ck.Container.list(all=True, engine=engine)


def test_a_given_cgroup_holds_the_container(engine: ck.Engine, image: ck.Image, parent: Path) -> None:
    """Controllers are enabled on the way down to it, where limits need them; without limits none is."""
    path = str(parent.relative_to(TOP))

    with ck.start(image, SLEEP, cgroup_parent=path, engine=engine) as plain:
        before = (parent / "cgroup.subtree_control").read_text().split()
        place = engine.site.cgroup_of(plain.id)
    with ck.start(image, SLEEP, cgroup_parent=path, resources=ck.Resources(pids=5), engine=engine) as limited:
        pids = limits(engine, limited, "pids.max")
        after = (parent / "cgroup.subtree_control").read_text().split()

    assert str(parent / f"ck-{plain.id}") == place
    assert ([], ["pids"], ["5"]) == (before, after, pids)


def test_an_engine_can_have_a_cgroup(tmp_path: Path, image: ck.Image, parent: Path) -> None:
    """Whoever opens its directory later finds its containers all the same."""
    path = f"/{parent.relative_to(TOP)}"
    with ck.Engine(tmp_path / "s", runtime=str(tmp_path / "r"), cgroup_parent=path) as engine:
        box = ck.start(image, SLEEP, detach=True, resources=ck.Resources(pids=5), engine=engine)
        place = engine.site.cgroup_of(box.id)

    with ck.Engine(tmp_path / "s", runtime=str(tmp_path / "r")) as other:
        again = ck.Container.get(box.id, engine=other)
        again.pause()
        found, status = other.site.cgroup_of(box.id), again.status
        again.remove(force=True)

    assert (str(parent / f"ck-{box.id}"), "paused") == (found, status)
    assert found == place


def test_a_cgroup_that_holds_processes_cannot_hold_limits(engine: ck.Engine, image: ck.Image, parent: Path) -> None:
    """The kernel's rule of no internal processes, in plain words; nobody is moved."""
    path = str(parent.relative_to(TOP))
    occupant = ck.start(image, SLEEP, engine=engine)
    (parent / "cgroup.procs").write_text(str(occupant.pid))

    with pytest.raises(errors.UnsupportedHostError) as caught:
        ck.run(image, ["payload", "true"], cgroup_parent=path, resources=ck.Resources(pids=5), engine=engine)

    assert "pids limits" == caught.value.feature
    assert f"{parent} holds processes itself" in caught.value.reason
    assert str(occupant.pid) == (parent / "cgroup.procs").read_text().strip()
    occupant.remove(force=True)


def test_a_group_that_ends_as_a_whole_tells_everybody(engine: ck.Engine, image: ck.Image) -> None:
    """With `oom_group` one process that asks for too much takes all others along, and each is told why."""
    limit = ck.Resources(memory="16m", memory_swap="16m", oom_group=True)
    box = ck.start(image, SLEEP, resources=limit, detach=True, engine=engine)

    with box.spawn(SLEEP) as bystander:
        bomb = box.exec(["payload", "memory", "64"], timeout=PATIENCE)
        code = bystander.wait(timeout=PATIENCE)

    assert (137, True, 137) == (bomb.returncode, bomb.oom_killed, code)
    assert (137, True) == (box.wait(timeout=PATIENCE), box.inspect().oom_killed)


USERS_STORY = """
from container_kit import Resources
own = open("/proc/self/cgroup").read().split("0::")[1].strip()
answer = {"own": own}
with open_engine() as engine:
    answer["missing"] = [one.name for one in engine.capabilities() if one.name.endswith(" limits") and not one]
    with ck.start(image, ["payload", "sleep", "1000"], engine=engine) as plain:
        answer["plain"] = engine.site.cgroup_of(plain.id).rpartition("/")[0]
        answer["first limit"] = attempt(lambda: plain.update(resources=Resources(pids=4)))
    with ck.start(image, ["payload", "sleep", "1000"], resources=Resources(pids=5, memory="64m"), engine=engine) as box:
        group = engine.site.cgroup_of(box.id)
        answer["limited"] = group.rpartition("/")[0]
        box.update(resources=Resources(memory="32m"))
        answer["files"] = [open(f"{group}/{file}").read().strip() for file in ("pids.max", "memory.max")]
    bomb = ck.run(image, ["payload", "memory", "64"], resources=Resources(memory="8m"), engine=engine)
    answer["bomb"] = [bomb.returncode, bomb.oom_killed]
    answer["after"] = open("/proc/self/cgroup").read().split("0::")[1].strip()
print(json.dumps(answer))
"""


@pytest.mark.needs_tools("newuidmap")
def test_a_user_has_what_is_delegated_to_it(tmp_path: Path, payload_rootfs: Path) -> None:
    """Limited containers go to the nearest cgroup without processes of its own; the program stays where it is."""
    tmp_path.chmod(0o777)

    answer: dict[str, Any] = run_in(AS_USER, USERS_STORY, tmp_path, payload_rootfs)

    own, refused = answer["own"], answer["first limit"]
    assert ["cpuset limits", "hugetlb limits"] == answer["missing"]
    assert (f"{TOP}{own}", f"{TOP}{os.path.dirname(own)}") == (answer["plain"], answer["limited"])
    assert ["5", str(32 * MIB)] == answer["files"]
    assert [137, True] == answer["bomb"]
    assert own == answer["after"]
    assert "UnsupportedHostError" == refused["type"]
    assert "holds processes itself" in refused["reason"]
    assert "stop() it" in refused["hint"]


NESTED_STORY = """
from container_kit import Resources
def start_limited():
    return ck.start(image, ["payload", "sleep", "1000"], resources=Resources(pids=5), engine=engine)
with open_engine() as engine:
    answer = {"refused": attempt(start_limited)}
    os.mkdir("/sys/fs/cgroup/main")
    with open("/sys/fs/cgroup/cgroup.procs") as all, open("/sys/fs/cgroup/main/cgroup.procs", "w") as main:
        for pid in all:
            main.write(pid)
            main.flush()
    with start_limited() as box:
        answer["group"] = engine.site.cgroup_of(box.id).removesuffix(box.id)
        answer["pids"] = open(engine.site.cgroup_of(box.id) + "/pids.max").read().strip()
print(json.dumps(answer))
"""


def test_inside_a_container_its_own_subtree_will_do(tmp_path: Path, payload_rootfs: Path) -> None:
    """It sees its cgroup as the top; once its processes are one level down, its containers can have limits."""
    box = TOP / f"cktest-box-{os.getpid()}"
    box.mkdir()
    world = ["sh", "-ec", f'echo $$ > {box}/cgroup.procs; exec unshare --cgroup --mount "$@"', "box"]
    own_view = "umount /sys/fs/cgroup; mount -t cgroup2 none /sys/fs/cgroup"

    answer: dict[str, Any] = run_in(world, NESTED_STORY, tmp_path, payload_rootfs, setup=own_view)

    (box / "main").rmdir()
    box.rmdir()
    assert "/sys/fs/cgroup holds processes itself" in answer["refused"]["reason"]
    assert "one level down" in answer["refused"]["hint"]
    assert {"group": "/sys/fs/cgroup/ck-", "pids": "5"} == {key: answer[key] for key in ("group", "pids")}
