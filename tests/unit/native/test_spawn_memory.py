"""Starting a monitor without waiting for its exec: it lives in the caller's memory until then (spawn.c, shim.py)."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from container_kit._linux import shim
from tests.unit.native.spawning import STDOUT, run_script, spawn

STACK_SIZE = 64 << 10


def stacks() -> int:
    """Return how many pieces of memory of the size of a spawned program's stack this process has."""
    lines = Path("/proc/self/maps").read_text(encoding="ascii").splitlines()
    ranges = [[int(end, 16) for end in line.split()[0].split("-")] for line in lines if len(line.split()) == 5]
    return sum((high - low) // STACK_SIZE for low, high in ranges)


def test_program_that_cannot_be_executed_says_so_at_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The start comes back; the process ends, and what execve(2) said is raised once, when the memory is given back."""
    garbage = tmp_path / "garbage"
    garbage.write_bytes(b"no program")
    monkeypatch.setattr(shim, "MONITOR_PROGRAM", garbage)
    monkeypatch.setattr(shim, "_programs", {})

    starting = shim.begin_monitor([])
    _, status = os.waitpid(starting.pid, 0)
    os.close(starting.pidfd)

    assert os.waitstatus_to_exitcode(status) == 127
    with pytest.raises(OSError, match=os.strerror(errno.ENOEXEC)):
        starting.end()
    starting.end()
    os.close(shim._open_program("ck-monitor"))


@pytest.mark.usefixtures("stand_in")
def test_memory_of_the_start_is_given_back() -> None:
    """Once the program has spoken, nothing of its start is left."""
    spawn({})
    before = stacks()

    for _ in range(100):
        spawn({})

    assert stacks() - before < 100  # the interpreter's own memory comes in such pieces, too


def test_threads_that_end_at_once_start_programs_that_go_on(spawned: Path) -> None:
    """Neither the end of the thread nor the descriptors it closes are of interest to what it started."""
    script = f"""
        import threading
        reader, writer = os.pipe()
        started = []

        def start():
            mine = os.dup(writer)
            started.append(shim.begin_monitor([-1] * {STDOUT} + [mine]))
            os.close(mine)

        for _ in range(50):
            thread = threading.Thread(target=start)
            thread.start()
            thread.join()
        os.close(writer)
        with open(reader) as file:
            print(sum(line.startswith("leader 1") for line in file))
        print(sum(os.waitstatus_to_exitcode(os.waitpid(one.pid, 0)[1]) == 7 for one in started))
        for one in started:
            one.end()
    """

    assert run_script(script, spawned) == "50\n50\n"


@pytest.mark.parametrize("end", ["os._exit(0)", "os.kill(os.getpid(), 9)", "os.execv('/bin/true', ['true'])"])
def test_caller_that_is_gone_takes_nothing_from_what_it_started(spawned: Path, end: str) -> None:
    """The memory lives as long as the program needs it, whatever becomes of who made it."""
    script = f"""
        reader, writer = os.pipe()
        for _ in range(20):
            if os.fork() == 0:
                shim.begin_monitor([-1] * {STDOUT} + [writer])
                {end}
            os.wait()
        os.close(writer)
        with open(reader) as file:
            print(sum(line.startswith("leader 1") for line in file))
    """

    assert run_script(script, spawned) == "20\n"


def test_forks_of_a_caller_that_starts_something_are_as_good_as_any(spawned: Path) -> None:
    """A fork in another thread copies memory in use; it may give its copy back and start programs itself."""
    script = f"""
        import threading
        reader, writer = os.pipe()
        shim._open_program("ck-monitor")

        def start():
            for _ in range(50):
                last.append(shim.begin_monitor([-1] * {STDOUT} + [writer]))

        last = []
        thread = threading.Thread(target=start)
        thread.start()
        children = []
        for _ in range(20):
            child = os.fork()
            if child == 0:
                for one in last:
                    one.end()
                mine = shim.begin_monitor([-1] * {STDOUT} + [writer])
                os.waitpid(mine.pid, 0)
                mine.end()
                os._exit(0)
            children.append(child)
        thread.join()
        os.close(writer)
        with open(reader) as file:
            print(sum(line.startswith("leader 1") for line in file))
        print({{os.waitpid(child, 0)[1] for child in children}})
    """

    assert run_script(script, spawned) == "70\n{0}\n"
