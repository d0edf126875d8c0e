"""`update` while a container comes and goes: what is recorded is what the next run has."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import container_kit as ck
from container_kit import RestartPolicy
from container_kit._linux import processes
from container_kit._runtime.state_file import read_state
from tests.e2e.patience import PATIENCE, eventually

SLEEP = ["payload", "sleep", "1000"]


def has_monitor() -> bool:
    """Say whether there is a monitor among this process's children."""
    children = [pid for task in Path("/proc/self/task").iterdir() for pid in read(task / "children").split()]
    return any(read(Path(f"/proc/{pid.decode()}/cmdline")) == b"ck-monitor\0" for pid in children)


def read(file: Path) -> bytes:
    """Return what a file of /proc says; nothing when its process or thread has just ended."""
    try:
        return file.read_bytes()
    except OSError:
        return b""


def test_an_update_during_a_start_holds_for_the_run_that_starts(engine: ck.Engine, image: ck.Image) -> None:
    """The monitor has its request and the start is not recorded yet: it begins anew with what is now asked for."""
    box = ck.Container.create(image, ["payload", "exit", "3"], detach=True, engine=engine)

    with ThreadPoolExecutor(1) as pool:
        with engine.site.database.transaction():  # the start waits for this to end
            starting = pool.submit(box.start)
            eventually(has_monitor, "a monitor with the old config")
            box.update(restart=RestartPolicy.on_failure(2))
        starting.result()

    assert (3, 2) == (box.wait(timeout=20), box.inspect().restarts)


def test_an_update_after_the_end_of_a_run_holds_for_the_next_one(engine: ck.Engine, image: ck.Image) -> None:
    """Init has ended, its monitor does not know it yet and would start it again by the old policy."""
    box = ck.start(image, SLEEP, detach=True, restart=RestartPolicy.always(), engine=engine)
    state = read_state(engine.site.home.state_file(box.id))
    assert state is not None
    assert state.init is not None
    os.kill(state.monitor.pid, signal.SIGSTOP)
    os.kill(state.init.pid, signal.SIGKILL)
    assert processes.wait_gone(state.init, PATIENCE)

    box.update(restart=RestartPolicy())
    eventually(lambda: box.pid is not None or box.status == "exited", "the end, or another run")
    if (pid := box.pid) is not None:
        os.kill(pid, signal.SIGKILL)

    assert 137 == box.wait(timeout=20)
