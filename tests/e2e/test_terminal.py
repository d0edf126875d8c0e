"""Story: sit at a real terminal and work in a container.

A script that calls `interact()` runs in a session of its own with a pseudo-terminal as its
controlling terminal (pty(7)); the test holds the other end, as a terminal window would.
"""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
from collections.abc import Iterator

import attrs
import pytest

import container_kit as ck
from tests.e2e.interpreters import CHECKOUT, Interpreters
from tests.e2e.patience import PATIENCE, eventually

# Makes the terminal the controlling one, and says at the end whether it is as it was.
SCRIPT = """
import fcntl, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
before = termios.tcgetattr(0)
box = ck.Container.get("web", engine=engine)
try:
    {body}
finally:
    print("restored" if termios.tcgetattr(0) == before else "CHANGED", flush=True)
"""
SHELL = """with box.spawn(["/bin/sh", "-i"], env={"PS1": "$ "}, tty=True) as process:
        print("ended with", process.interact(), flush=True)"""
ATTACH = """with box.attach(stdin=True) as client:
        print("ended with", client.interact(), flush=True)"""


@attrs.define
class Terminal:
    """The window: what is typed goes in, what is shown comes out."""

    master: int
    shown: str = ""

    def type(self, text: str) -> None:
        """Press keys."""
        os.write(self.master, text.encode())

    def expect(self, pattern: str) -> str:
        """Wait until something is shown; what came before it is forgotten, what matched is returned."""
        deadline = time.monotonic() + PATIENCE
        while (found := re.search(pattern, self.shown)) is None:
            left = deadline - time.monotonic()
            if not select.select([self.master], [], [], max(0.0, left))[0]:
                raise AssertionError(f"{pattern!r} was not shown, only {self.shown!r}")
            self.shown += os.read(self.master, 1 << 16).decode("utf-8", "replace")
        self.shown = self.shown[found.end() :]
        return found.group()

    def resize(self, rows: int, columns: int) -> None:
        """Drag the corner of the window."""
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


@attrs.define
class Desk:
    """Starts scripts at a terminal."""

    interpreters: Interpreters
    terminal: Terminal
    slave: int

    def sit_down(self, body: str) -> subprocess.Popen[bytes]:
        """Run a script in a session of its own whose terminal is ours."""
        environment = {name: value for name, value in os.environ.items() if name not in ("LINES", "COLUMNS")}
        process = subprocess.Popen(
            self.interpreters.command(SCRIPT.replace("{body}", body)),
            cwd=CHECKOUT,
            env=environment,
            stdin=self.slave,
            stdout=self.slave,
            stderr=self.slave,
            start_new_session=True,
        )
        self.interpreters.running.append(process)  # type: ignore[arg-type]  # only ever ended there
        return process


@pytest.fixture
def desk(interpreters: Interpreters) -> Iterator[Desk]:
    """Give a terminal of 24 rows and 80 columns."""
    master, slave = pty.openpty()
    terminal = Terminal(master)
    terminal.resize(24, 80)

    yield Desk(interpreters, terminal, slave)

    os.close(slave)
    os.close(master)


@pytest.fixture
def box(engine: ck.Engine, host: ck.Image) -> ck.Container:
    """Give a container with a shell in it, that does nothing."""
    return ck.start(host, ["sleep", "1000"], name="web", engine=engine)


def test_a_shell_can_be_worked_in(desk: Desk, box: ck.Container) -> None:
    """What is typed is executed; the exit code comes back and the terminal is as it was."""
    process = desk.sit_down(SHELL)

    desk.terminal.expect(r"\$ ")
    desk.terminal.type("echo $((40 + 2)) of $(hostname)\r")
    desk.terminal.expect(rf"\n42 of {box.short_id}\r\n")
    desk.terminal.type("exit 7\r")

    desk.terminal.expect("ended with 7")
    desk.terminal.expect("restored")
    assert 0 == process.wait(PATIENCE)


def test_ctrl_c_interrupts_the_command_and_not_the_caller(desk: Desk, box: ck.Container) -> None:
    """Neither Python nor the shell in the container is hit."""
    process = desk.sit_down(SHELL)
    desk.terminal.expect(r"\$ ")

    desk.terminal.type("sleep 1000; echo slept with $?\r")
    eventually(lambda: "sleep 1000" in [one.command for one in box.top()][1:], "the command runs")
    desk.terminal.type("\x03")

    desk.terminal.expect(r"\$ ")
    desk.terminal.type("echo still $((40 + 2))\r")
    desk.terminal.expect("still 42")
    desk.terminal.type("exit\r")
    desk.terminal.expect("restored")
    assert 0 == process.wait(PATIENCE)


def test_jobs_are_stopped_and_continued(desk: Desk, box: ck.Container) -> None:
    """Ctrl-Z stops the foreground job; the shell lists and continues it."""
    desk.sit_down(SHELL)
    desk.terminal.expect(r"\$ ")

    desk.terminal.type("cat\r")
    eventually(lambda: "cat" in [one.command for one in box.top()], "the command runs")
    desk.terminal.type("\x1a")
    desk.terminal.expect(r"\$ ")
    desk.terminal.type("jobs\r")
    desk.terminal.expect(r"\[1\].*Stopped.*cat")
    desk.terminal.type("fg\r")
    desk.terminal.expect(r"cat\r\n")
    desk.terminal.type("once more\r")
    desk.terminal.expect(r"once more\r\nonce more\r\n")
    desk.terminal.type("\x04")
    desk.terminal.expect(r"\$ ")
    desk.terminal.type("exit 3\r")

    desk.terminal.expect("ended with 3")


def test_the_window_size_follows(desk: Desk, box: ck.Container) -> None:
    """At the start and at every change."""
    desk.terminal.resize(31, 101)
    desk.sit_down(SHELL)
    desk.terminal.expect(r"\$ ")

    desk.terminal.type("stty size\r")
    desk.terminal.expect(r"\n31 101\r\n")
    desk.terminal.resize(42, 123)
    desk.terminal.type("until [ \"$(stty size)\" = '42 123' ]; do :; done; echo follow$((0))ed\r")
    desk.terminal.expect("follow0ed")
    desk.terminal.type("exit\r")

    desk.terminal.expect("restored")


def test_the_detach_keys_leave_the_container_running(desk: Desk, engine: ck.Engine, host: ck.Image) -> None:
    """Ctrl-P Ctrl-Q gives the terminal back; a Ctrl-P that goes on otherwise belongs to the process."""
    script = ck.shell("stty -echo; echo ready; while read line; do echo got $line; done")
    box = ck.start(host, script, name="web", tty=True, stdin=True, wait=ck.wait.log("ready"), engine=engine)

    first = desk.sit_down(ATTACH)
    desk.terminal.type("one\r")
    desk.terminal.expect(r"got one\r\n")
    desk.terminal.type("\x10\x11")
    desk.terminal.expect("ended with None")
    desk.terminal.expect("restored")
    first.wait(PATIENCE)
    second = desk.sit_down(ATTACH)
    desk.terminal.type("tw\x10o\r")
    desk.terminal.expect("got tw\x10o\r\n")
    desk.terminal.type("\x10\x11")
    desk.terminal.expect("restored")

    assert 0 == second.wait(PATIENCE)
    assert "running" == box.status


def test_the_end_of_the_container_gives_the_terminal_back(desk: Desk, engine: ck.Engine, host: ck.Image) -> None:
    """Though nobody typed anything."""
    box = ck.start(
        host,
        ck.shell("echo ready; exec cat"),
        name="web",
        tty=True,
        stdin=True,
        wait=ck.wait.log("ready"),
        engine=engine,
    )
    process = desk.sit_down(ATTACH)
    desk.terminal.type("here\r")
    desk.terminal.expect("here\r\nhere\r\n")

    box.kill()

    desk.terminal.expect("ended with 137")
    desk.terminal.expect("restored")
    assert 0 == process.wait(PATIENCE)


def test_an_interrupted_caller_gives_the_terminal_back(desk: Desk, box: ck.Container) -> None:
    """A signal from elsewhere ends interact() with an exception; the terminal is not left raw."""
    process = desk.sit_down(SHELL)
    desk.terminal.expect(r"\$ ")

    process.send_signal(2)

    desk.terminal.expect("restored")
    desk.terminal.expect("KeyboardInterrupt")
    assert process.wait(PATIENCE) in (1, -2)
    eventually(lambda: ["sleep 1000"] == [one.command for one in box.top()], "the shell is gone")


def test_without_a_terminal_input_may_end(interpreters: Interpreters, box: ck.Container) -> None:
    """interact() with a pipe as stdin passes its end on, and takes no CPU time while waiting."""
    output = interpreters.run(
        """
        import time
        box = ck.Container.get("web", engine=engine)
        with open("/dev/null") as nothing:
            os.dup2(nothing.fileno(), 0)
        with box.spawn(["sh", "-c", "cat; echo end of input; sleep 0.5; exit 4"], stdin=ck.PIPE) as process:
            before = time.process_time()
            code = process.interact()
            print("busy" if time.process_time() - before > 0.2 else "idle", code)
        """
    )

    assert ["end of input", "idle 4"] == output.splitlines()
