"""Story: a container whose PID 1 has been cloned and is not at its command yet: nobody is let into it.

Until its root is its own, what enters its namespaces is in the host's tree. A frozen cgroup, and
then SIGSTOP, keeps it there.
"""

from __future__ import annotations

import os
import signal
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

import container_kit as ck
from container_kit import errors
from container_kit._linux import cgroup, cgroup_tree
from container_kit._runtime.state_file import read_state
from tests.e2e.patience import PATIENCE, eventually

pytestmark = pytest.mark.needs_cgroup2


@pytest.fixture
def parent(engine: ck.Engine) -> Iterator[Path]:
    """Give a cgroup in which containers can be."""
    assert engine.site.cgroup_parent is not None
    place = Path(engine.site.cgroup_parent, f"cktest-{uuid.uuid4().hex}")
    place.mkdir()

    yield place

    cgroup.remove(str(place))


@pytest.fixture
def box(engine: ck.Engine, image: ck.Image, parent: Path) -> Iterator[ck.Container]:
    """Give a container in it that is started again whenever it ends."""
    tree = cgroup_tree.find_tree()
    assert tree is not None
    path = next(
        path
        for path in (f"/{parent.relative_to(above)}" for above in parent.parents)
        if tree.directory_of(path) == str(parent)
    )
    made = ck.Container.create(
        image,
        ["payload", "sleep", "1000"],
        restart=ck.RestartPolicy.always(),
        cgroup_parent=path,
        detach=True,
        engine=engine,
    )

    yield made

    made.remove(force=True)


@pytest.mark.parametrize("run", ["first", "next"])
def test_files_are_reached_when_it_has_its_root(engine: ck.Engine, box: ck.Container, parent: Path, run: str) -> None:
    """Who writes waits, and the file is in the container; not on the host."""
    name = f"/tmp/ck-{uuid.uuid4().hex}"  # a directory in the image and on every host
    writer = threading.Thread(target=lambda: box.path(name).write_text("x"))
    starter = threading.Thread(target=box.start)
    if run == "next":
        box.start()
    cgroup.freeze(str(parent), frozen=True)
    if run == "first":
        starter.start()
    else:
        os.kill(box.pid or 0, signal.SIGKILL)
    eventually(lambda: launching(engine, box) > 0, "its PID 1 is there")
    init = launching(engine, box)
    os.kill(init, signal.SIGSTOP)  # it holds as well, and does not count as paused
    cgroup.freeze(str(parent), frozen=False)

    with pytest.raises(errors.InvalidTransitionError) as caught:
        box.exec(["payload", "true"])
    writer.start()
    writer.join(0.2)
    waits = writer.is_alive()
    os.kill(init, signal.SIGCONT)
    for thread in (writer, starter)[: 1 if run == "next" else 2]:
        thread.join(PATIENCE)

    assert (True, False) == (waits, Path(name).exists())
    assert "being started" == caught.value.status
    assert b"x" == box.exec(["payload", "cat", name]).stdout


def test_one_that_is_killed_stays_dead(engine: ck.Engine, box: ck.Container, parent: Path) -> None:
    """Whoever starts it learns that it failed; it is not tried in another way."""
    errors_seen: list[BaseException] = []

    def start() -> None:
        try:
            box.start()
        except errors.ContainerKitError as err:
            errors_seen.append(err)

    starter = threading.Thread(target=start)
    cgroup.freeze(str(parent), frozen=True)
    starter.start()
    eventually(lambda: launching(engine, box) > 0, "its PID 1 is there")

    box.kill()
    starter.join(PATIENCE)
    cgroup.freeze(str(parent), frozen=False)

    assert [errors.LaunchError] == [type(err) for err in errors_seen]
    assert box.status in ("created", "exited")
    assert not engine.site.enters_cgroups


def launching(engine: ck.Engine, box: ck.Container) -> int:
    """Return the container's PID 1 if it has not executed its command; else 0."""
    state = read_state(engine.site.home.state_file(box.id))
    return state.init.pid if state is not None and state.init is not None and not state.launched else 0
