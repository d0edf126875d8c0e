"""Control groups: born in one's own, frozen and killed as a whole, gone afterwards (cgroup-v2.rst)."""

from __future__ import annotations

from pathlib import Path

import pytest

import container_kit as ck
from tests.e2e.patience import eventually

pytestmark = pytest.mark.needs_cgroup2


@pytest.fixture
def tree(engine: ck.Engine, image: ck.Image) -> ck.Container:
    """Give a container of four processes, three of them orphans in sessions of their own."""
    return ck.start(image, ["payload", "fork-tree", "3"], wait=ck.wait.log("ready").within(20), engine=engine)


def group_of(box: ck.Container, engine: ck.Engine) -> Path:
    """Return a container's cgroup directory."""
    path = engine.site.cgroup_of(box.id)
    assert path is not None
    return Path(path)


def test_every_process_is_in_the_containers_own_group(engine: ck.Engine, tree: ck.Container) -> None:
    """Also those that left session and parent; it is named after the id."""
    group = group_of(tree, engine)

    members = (group / "cgroup.procs").read_text().split()

    assert f"ck-{tree.id}" == group.name
    assert 4 == len(members)
    assert str(tree.pid) in members


def test_the_monitor_is_not_in_the_containers_group(engine: ck.Engine, tree: ck.Container) -> None:
    """Killing the group must not kill who tells about it."""
    own = Path("/proc/self/cgroup").read_text()
    monitor = Path(f"/proc/{tree.pid}/status").read_text().split("PPid:")[1].split()[0]

    assert own == Path(f"/proc/{monitor}/cgroup").read_text()
    assert tree.id not in own


def test_inside_the_group_looks_like_the_top(engine: ck.Engine, image: ck.Image) -> None:
    """A cgroup namespace hides where on the host it is."""
    seen = ck.run(image, ["payload", "cat", "/proc/self/cgroup"], text=True, engine=engine).stdout

    assert "0::/\n" in seen
    assert "ck-" not in seen


def test_pause_freezes_all_of_it(engine: ck.Engine, tree: ck.Container) -> None:
    """The kernel says so; unpause undoes it."""
    events = group_of(tree, engine) / "cgroup.events"

    tree.pause()
    frozen = "frozen 1" in events.read_text()
    tree.unpause()

    assert frozen
    assert "frozen 0" in events.read_text()


@pytest.mark.parametrize("paused", [False, True])
def test_kill_ends_all_of_it(engine: ck.Engine, tree: ck.Container, paused: bool) -> None:
    """Frozen or not, orphans included, and the group goes with the last process."""
    group = group_of(tree, engine)
    members = [Path("/proc", pid) for pid in (group / "cgroup.procs").read_text().split()]
    if paused:
        tree.pause()

    tree.kill()

    assert 137 == tree.wait(timeout=10)
    eventually(lambda: not group.exists(), "the end of the group")
    assert [] == [process for process in members if process.exists()]


def test_groups_that_a_container_makes_below_its_own_go_with_it(engine: ck.Engine, tree: ck.Container) -> None:
    """However deep."""
    group = group_of(tree, engine)
    deep = group / "a" / "b" / "c"
    deep.mkdir(parents=True)

    tree.remove(force=True)

    assert not group.exists()


def test_a_group_of_another_name_is_never_touched(engine: ck.Engine, tree: ck.Container) -> None:
    """Opening the engine and removing containers leave a neighbour alone."""
    neighbour = group_of(tree, engine).with_name(f"ck-neighbour-{tree.short_id}")
    neighbour.mkdir()
    try:
        tree.remove(force=True)
        engine.check(repair=True)

        assert neighbour.exists()
    finally:
        neighbour.rmdir()
