"""Ctrl-C while the library works: KeyboardInterrupt comes out, and nothing of what was under way is left."""

from __future__ import annotations

import signal
import subprocess

import pytest

import container_kit as ck
from container_kit._linux import processes
from tests.e2e.interpreters import Interpreters, first_line
from tests.e2e.patience import PATIENCE, eventually

# What is interrupted, in a process of its own; `box` runs, `ready()` is to be called right before.
WAYS = {
    "run": "ck.run(image, ['payload', 'sleep', '1000'], engine=engine)",
    "run with input": "ck.run(image, ['payload', 'sleep', '1000'], input=b'x' * (1 << 20), engine=engine)",
    "start, waiting": "ck.start(image, ['payload', 'sleep', '1000'], wait=wait.log('never'), engine=engine)",
    "exec": "box.exec(['payload', 'sleep', '1000'])",
    "wait": "box.wait()",
    "logs": "list(box.logs(follow=True))",
    "stop": "box.stop(timeout=500)",
}
SCRIPT = """
from tests.e2e.patience import eventually
box = ck.start(image, ["payload", "ignore-term"], name="box", detach=True, wait=wait.log("ready").within(20),
               engine=engine)
interrupted = threading.Event()
try:
    print(os.getpid(), flush=True)
    {action}
except KeyboardInterrupt:
    eventually(lambda: len(box.top()) == 1, "the interrupted command is gone")
    processes = [process.command for process in box.top()]
    print("interrupted", box.status, len(ck.Container.list(all=True, engine=engine)), processes, flush=True)
    sys.stdin.readline()
"""


@pytest.mark.parametrize("way", WAYS)
def test_an_interrupt_leaves_nothing_of_what_was_under_way(
    engine: ck.Engine, interpreters: Interpreters, way: str
) -> None:
    """The container that ran before runs on, the one that was being run is gone, and so are processes of exec."""
    caller = interpreters.start(SCRIPT.format(action=WAYS[way]))
    pid = int(first_line(caller))
    await_asleep(pid)

    caller.send_signal(signal.SIGINT)

    assert "interrupted running 1 ['payload ignore-term']" == first_line(caller)
    end(caller)


def await_asleep(pid: int) -> None:
    """Wait until the caller waits for something that takes long: it has used no CPU for a while."""
    used: list[int] = []

    def is_quiet() -> bool:
        stat = processes.read_stat(pid)
        assert stat is not None
        used.append(int(stat[11]) + int(stat[12]))
        # 60 looks, 5 ms apart, without a tick of CPU time; following a log costs some now and then.
        return len(used) > 60 and used[-1] - used[-60] <= 1

    eventually(is_quiet, "the caller to wait")


def end(caller: subprocess.Popen[str]) -> None:
    """Let the caller go on to its end."""
    caller.communicate("\n", timeout=PATIENCE)
    assert 0 == caller.returncode


def test_a_burst_of_interrupts_during_runs_leaves_nothing(engine: ck.Engine, interpreters: Interpreters) -> None:
    """Whichever moment of a launch or a clean-up each of two hundred hits.

    Between the end of a call and the assignment of what it returns nobody owns a monitor: one that is hit there ends by
    itself, and is a zombie until its starter ends. In more than one of two hundred it would be another defect.
    """
    caller = interpreters.start("""
        import time
        interrupts = 0
        signal.signal(signal.SIGALRM, signal.default_int_handler)
        def seconds():
            began = time.monotonic()
            ck.run(image, ["payload", "true"], engine=engine)
            return time.monotonic() - began
        lasts = min(seconds() for _ in range(4))
        for attempt in range(200):
            try:
                signal.setitimer(signal.ITIMER_REAL, lasts * attempt / 200 + 0.0001)
                ck.run(image, ["payload", "true"], engine=engine)
                signal.setitimer(signal.ITIMER_REAL, 0)
            except KeyboardInterrupt:
                interrupts += 1
        engine.check(repair=True)
        home = engine.site.home
        left = os.listdir(home.containers) + os.listdir(home.runtime) + ck.Container.list(all=True, engine=engine)
        unreaped = open(f"/proc/self/task/{os.getpid()}/children").read().split()  # monitors, not waited for
        print(interrupts > 5, len(unreaped), len(os.listdir("/proc/self/fd")), left, flush=True)
    """)

    fired, unreaped, descriptors, left = first_line(caller).split(" ", 3)

    assert ("True", "[]") == (fired, left)
    assert int(unreaped) <= 1
    assert int(descriptors) < 30
