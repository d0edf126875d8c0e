"""A monitor that is killed or stopped under a running container: what is said, and that every verb works at once."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager

import pytest

import container_kit as ck
from container_kit import wait
from container_kit._linux import processes
from container_kit._linux.processes import ProcessId
from container_kit._runtime.state_file import read_state
from tests.e2e.interpreters import Interpreters, first_line

SOON = 8.0  # a stop that nobody heeds takes ten
TRAP = ["payload", "trap", "HUP"]


def monitor_of(box: ck.Container, engine: ck.Engine) -> ProcessId:
    """Return the identity of a container's monitor."""
    state = read_state(engine.site.home.state_file(box.id))
    assert state is not None
    return state.monitor


def start(engine: ck.Engine, image: ck.Image, *, detach: bool = True) -> ck.Container:
    """Start a container that says ready and then waits."""
    return ck.start(image, TRAP, detach=detach, wait=wait.log("ready").within(20), engine=engine)


def kill_monitor(box: ck.Container, engine: ck.Engine) -> ProcessId:
    """Kill the monitor; return what was the container's init."""
    state = read_state(engine.site.home.state_file(box.id))
    assert state is not None
    assert state.init is not None
    assert processes.signal_process(state.monitor)
    assert processes.wait_gone(state.monitor, SOON)
    return state.init


VERBS: dict[str, Callable[[ck.Container], object]] = {
    "status": lambda box: box.status,
    "stop": lambda box: box.stop(),
    "wait": lambda box: box.wait(timeout=SOON),
    "logs": lambda box: list(box.logs()),
    "logs, followed": lambda box: list(box.logs(follow=True)),
    "inspect": lambda box: box.inspect(),
    "remove": lambda box: box.remove(force=True),
    "start": lambda box: box.start(),
    "rename": lambda box: box.rename("renamed"),
    "list": lambda box: ck.Container.list(all=True, engine=box._engine),
}


@pytest.mark.parametrize("verb", VERBS)
def test_after_the_monitors_death_every_verb_works_at_the_first_call(
    engine: ck.Engine, image: ck.Image, verb: str
) -> None:
    """The container ended with its monitor; nobody has to repair anything first, and no process is left."""
    box = start(engine, image)
    init = kill_monitor(box, engine)
    began = time.monotonic()

    VERBS[verb](box)

    assert time.monotonic() - began < SOON
    assert processes.wait_gone(init, SOON)


def test_after_the_monitors_death_a_detached_container_is_exited(engine: ck.Engine, image: ck.Image) -> None:
    """137: nobody saw how it ended; what it said until then is kept."""
    box = start(engine, image)

    kill_monitor(box, engine)

    assert ("exited", 137) == (box.status, box.exit_code)
    assert ["ready"] == [line.text for line in box.logs()]


def test_after_the_monitors_death_an_owned_container_can_be_used_to_the_end(engine: ck.Engine, image: ck.Image) -> None:
    """Its owner lives and holds the object: exited, and gone when removed."""
    box = start(engine, image, detach=False)

    kill_monitor(box, engine)

    assert ("exited", 137) == (box.status, box.wait(timeout=SOON))
    box.remove()
    assert [] == ck.Container.list(all=True, engine=engine)


def test_a_wait_under_way_ends_with_the_monitor(engine: ck.Engine, image: ck.Image, interpreters: Interpreters) -> None:
    """Another process waits for the container; it is told."""
    box = start(engine, image)
    waiting = interpreters.start(f"""
        box = ck.Container.get({box.id!r}, engine=engine)
        print(box.status, flush=True)
        print(box.wait(), flush=True)
    """)
    assert "running" == first_line(waiting)

    kill_monitor(box, engine)

    assert "137" == first_line(waiting)


def test_an_exec_under_way_ends_with_the_monitor(engine: ck.Engine, image: ck.Image) -> None:
    """Its process dies with the container, and its caller is told."""
    box = start(engine, image)
    with box.spawn(["payload", "sleep", "1000"]) as process:
        kill_monitor(box, engine)

        assert 137 == process.wait(timeout=SOON)


@contextmanager
def stopped(process: ProcessId) -> Generator[None]:
    """Stop a process with SIGSTOP for a while."""
    processes.signal_process(process, signal.SIGSTOP)
    try:
        yield
    finally:
        processes.signal_process(process, signal.SIGCONT)


def test_a_stopped_monitor_keeps_nobody_from_asking(engine: ck.Engine, image: ck.Image) -> None:
    """Status, logs and inspect come from the kernel and from files."""
    box = start(engine, image)

    with stopped(monitor_of(box, engine)):
        began = time.monotonic()
        status, lines, pid = box.status, [line.text for line in box.logs()], box.pid
        box.inspect()

        assert time.monotonic() - began < SOON
        assert ("running", ["ready"]) == (status, lines)
        assert pid is not None


@pytest.mark.slow
def test_a_container_with_a_stopped_monitor_can_be_stopped(engine: ck.Engine, image: ck.Image) -> None:
    """After the stop's own time and a little patience it is ended without the monitor."""
    box = start(engine, image)
    with stopped(monitor_of(box, engine)):
        box.stop(timeout=0.1)

    assert "exited" == box.status


@pytest.mark.slow
@pytest.mark.parametrize("detach", [True, False], ids=["detached", "owned"])
def test_a_container_with_a_stopped_monitor_can_be_removed(engine: ck.Engine, image: ck.Image, detach: bool) -> None:
    """By force, at the first call, also by its owner."""
    box = start(engine, image, detach=detach)
    with stopped(monitor_of(box, engine)):
        box.remove(force=True)

    assert [] == ck.Container.list(all=True, engine=engine)


def test_an_init_that_ends_while_its_monitor_is_stopped_is_told_later(engine: ck.Engine, image: ck.Image) -> None:
    """The exit status waits for the monitor, and no zombie is left."""
    box = start(engine, image)
    state = read_state(engine.site.home.state_file(box.id))
    assert state is not None
    assert state.init is not None
    with stopped(state.monitor):
        processes.signal_process(state.init, signal.SIGTERM)
        assert processes.wait_gone(state.init, SOON)

    assert signal.SIGTERM == box.wait(timeout=SOON)  # the payload exits with the number
    assert not os.path.exists(f"/proc/{state.init.pid}/root")


@pytest.mark.parametrize("detach", [True, False], ids=["detached", "owned"])
def test_monitor_and_caller_killed_together_leave_nothing_running(
    engine: ck.Engine, interpreters: Interpreters, detach: bool
) -> None:
    """The next look says exited, or, of an owned container, nothing at all; nothing of it runs."""
    caller = interpreters.start(f"""
        box = ck.start(image, ["payload", "sleep", "1000"], name="both", detach={detach}, engine=engine)
        print(box.pid, flush=True)
        threading.Event().wait()
    """)
    init = processes.read_process_id(int(first_line(caller)))
    assert init is not None
    monitor = monitor_of(ck.Container.get("both", engine=engine), engine)

    caller.kill()
    processes.signal_process(monitor)
    caller.wait()

    assert processes.wait_gone(init, SOON)
    with ck.Engine(engine.root, runtime=os.path.dirname(engine.site.home.runtime)) as again:
        left = ck.Container.list(all=True, engine=again)
        assert (["exited"] if detach else []) == [one.status for one in left]
        for one in left:
            one.remove()


@pytest.mark.slow
def test_an_owned_container_whose_owner_died_is_gone_once_the_engine_is_opened(
    engine: ck.Engine, image: ck.Image, interpreters: Interpreters
) -> None:
    """Even when its monitor was stopped and cannot see to it: the name is free, and nothing runs."""
    owner = interpreters.start("""
        box = ck.start(image, ["payload", "sleep", "1000"], name="orphan", engine=engine)
        print(box.pid, flush=True)
        threading.Event().wait()
    """)
    init = processes.read_process_id(int(first_line(owner)))
    assert init is not None
    monitor = monitor_of(ck.Container.get("orphan", engine=engine), engine)
    processes.signal_process(monitor, signal.SIGSTOP)
    owner.kill()
    owner.wait()

    with ck.Engine(engine.root, runtime=os.path.dirname(engine.site.home.runtime)) as again:
        assert [] == ck.Container.list(all=True, engine=again)
        ck.Container.create(image, ["payload", "true"], name="orphan", engine=again).remove()

    assert processes.wait_gone(init, SOON)
    assert processes.wait_gone(monitor, SOON)
