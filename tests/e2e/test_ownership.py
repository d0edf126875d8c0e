"""Story: a container lives as long as the process that started it, however that ends."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

import container_kit as ck
from container_kit import wait
from tests.e2e.interpreters import Interpreters, first_line
from tests.e2e.patience import PATIENCE, ends_within, eventually

START = """
box = ck.start(image, ["payload", "fork-tree", "2"], wait=wait.log("ready"), engine=engine)
print(box.pid, box.id, flush=True)
"""


def test_containers_are_gone_once_their_owner_is_killed(engine: ck.Engine, interpreters: Interpreters) -> None:
    """SIGKILL gives the owner no time to say anything; its container and files go all the same."""
    owner = interpreters.start(START + "signal.pause()")
    pid, container_id = first_line(owner).split()
    init = os.pidfd_open(int(pid))
    files = Path(engine.root, "containers", container_id)
    was_there = files.exists()

    owner.kill()

    assert ends_within(init, PATIENCE)
    eventually(lambda: not files.exists(), "its files are gone")
    eventually(lambda: [] == ck.Container.list(all=True, engine=engine), "it is not listed")
    assert was_there


@pytest.mark.parametrize(
    "ending",
    ["", "sys.exit(3)", "raise RuntimeError('boom')", "os._exit(0)", "os.kill(os.getpid(), signal.SIGTERM)"],
    ids=["end", "exit", "exception", "_exit", "sigterm"],
)
def test_containers_end_with_their_interpreter(engine: ck.Engine, interpreters: Interpreters, ending: str) -> None:
    """Whether or not Python gets to clean up."""
    owner = interpreters.start(START + "sys.stdin.readline()\n" + ending)
    pid, container_id = first_line(owner).split()
    init = os.pidfd_open(int(pid))

    owner.communicate("go\n", timeout=30)

    assert ends_within(init, PATIENCE)
    eventually(lambda: not Path(engine.root, "containers", container_id).exists(), "its files are gone")
    eventually(lambda: [] == ck.Container.list(all=True, engine=engine), "it is not listed")


def test_a_child_that_the_owner_forked_does_not_keep_containers_alive(
    engine: ck.Engine, interpreters: Interpreters
) -> None:
    """The child has copies of all descriptors, but it is not the owner."""
    fork = """
    child = os.fork()
    if child == 0:
        signal.pause()
    print(child, flush=True)
    signal.pause()
    """
    owner = interpreters.start(START + "\n".join(line[4:] for line in fork.splitlines()))
    pid, _ = first_line(owner).split()
    child = int(first_line(owner))
    init = os.pidfd_open(int(pid))

    owner.kill()

    try:
        assert ends_within(init, PATIENCE)
    finally:
        os.kill(child, 9)


def test_closing_the_engine_ends_what_it_owns(engine: ck.Engine, image: ck.Image, tmp_path: Path) -> None:
    """Owned containers are gone when close() returns; detached ones live on and another engine finds them."""
    with ck.Engine(engine.root, runtime=str(tmp_path / "r")) as short_lived:
        owned = ck.start(image, ["payload", "sleep", "1000"], engine=short_lived)
        detached = ck.start(image, ["payload", "sleep", "1000"], detach=True, engine=short_lived)
        init = os.pidfd_open(owned.pid or 0)

    assert ends_within(init, 0)
    assert [detached.id] == [box.id for box in ck.Container.list(all=True, engine=engine)]


def test_a_container_outlives_the_thread_that_started_it(engine: ck.Engine, image: ck.Image) -> None:
    """Parent-death signals are a matter of threads (prctl(2)); ownership is one of processes."""
    started: list[ck.Container] = []
    command = ["payload", "sleep", "1000"]
    thread = threading.Thread(target=lambda: started.append(ck.start(image, command, engine=engine)))

    thread.start()
    thread.join()

    box = started[0]
    with pytest.raises(TimeoutError):
        box.wait(timeout=0.3)
    assert b"alive\n" == box.exec(["payload", "echo", "alive"]).stdout


def test_an_exec_process_ends_with_the_caller_that_started_it(
    engine: ck.Engine, image: ck.Image, interpreters: Interpreters
) -> None:
    """A stranger dies in the middle of an exec: the container goes on, the command and its children do not."""
    box = ck.start(image, ["payload", "sleep", "1000"], name="web", engine=engine)
    stranger = interpreters.start(
        """
        process = ck.Container.get("web", engine=engine).spawn(["payload", "fork-tree", "3"])
        print(process.stdout.read(5).decode(), flush=True)
        signal.pause()
        """
    )
    ready = first_line(stranger)
    during = len(box.top())

    stranger.kill()

    assert ("ready", 5) == (ready, during)
    eventually(lambda: ["payload sleep 1000"] == [process.command for process in box.top()], "only the container's own")


def test_another_process_may_use_an_owned_container(
    engine: ck.Engine, image: ck.Image, interpreters: Interpreters
) -> None:
    """It sees it, works in it and stops it; the owner learns how it ended."""
    box = ck.start(image, ["payload", "trap", "HUP"], name="web", wait=wait.log("ready"), engine=engine)

    output = interpreters.run(
        """
        box, = ck.Container.list(engine=engine)
        print(box.name, box.status, box.exec(["payload", "echo", "hi"], text=True).stdout.strip())
        box.stop(timeout=30)
        """
    )

    assert "web running hi\n" == output
    assert 15 == box.wait(timeout=10)


def test_who_starts_a_container_again_becomes_its_owner(
    engine: ck.Engine, image: ck.Image, interpreters: Interpreters
) -> None:
    """The earlier owner may still remove it by force, and does not take its earlier end for the present one."""
    box = ck.start(image, ["payload", "trap", "HUP"], name="web", wait=wait.log("ready"), engine=engine)
    box.stop()
    stranger = interpreters.start(
        """
        box = ck.Container.get("web", engine=engine)
        box.start()
        print(box.pid, flush=True)
        signal.pause()
        """
    )
    init = os.pidfd_open(int(first_line(stranger)))

    with pytest.raises(TimeoutError):
        box.wait(timeout=0.2)
    box.remove(force=True)

    assert ends_within(init, 0)
    assert [] == ck.Container.list(all=True, engine=engine)
