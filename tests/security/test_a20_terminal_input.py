"""A20: a container types into the terminal of its caller (TIOCSTI, CVE-2017-5226)."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import termios
import tty
from collections.abc import Iterator
from pathlib import Path

import pytest

import container_kit as ck
from tests.security.rigs import Rig


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    """Give the two ends of a terminal in raw mode: what is typed can be counted at once."""
    master, slave = pty.openpty()
    tty.setraw(slave)

    yield master, slave

    os.close(master)
    os.close(slave)


def waiting(fd: int) -> int:
    """Return how many bytes have been typed and not read (FIONREAD)."""
    return int(struct.unpack("i", fcntl.ioctl(fd, termios.FIONREAD, bytes(4)))[0])


def session_of(pid: int) -> tuple[int, int]:
    """Return session and controlling terminal of a process (proc_pid_stat(5), fields 6 and 7)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[3]), int(fields[4])


def test_A20_a_terminal_that_is_only_stdin_cannot_be_typed_into(rig: Rig, terminal: tuple[int, int]) -> None:
    """It is not the process's controlling terminal: the session is another, and its input queue stays empty."""
    _, slave = terminal
    box = rig.start(security=ck.Security(seccomp=ck.SeccompMode.UNCONFINED, cap_add=["SYS_TTY_CONFIG"]))

    with box.spawn(["payload", "tiocsti", "-", "x"], stdin=slave, stdout=ck.PIPE) as process:
        assert process.stdout is not None
        by_stdin = process.stdout.read().decode()
    with box.spawn(["payload", "tiocsti", "/dev/tty", "x"], stdin=slave, stdout=ck.PIPE) as process:
        assert process.stdout is not None
        by_name = process.stdout.read().decode()

    assert by_stdin in ("EPERM\n", "EIO\n")
    assert by_name in ("ENXIO\n", "EIO\n")
    assert 0 == waiting(slave)


@pytest.mark.parametrize("with_init", [False, True], ids=["plain", "with init"])
def test_A20_a_containers_session_is_its_own_and_has_no_terminal(rig: Rig, with_init: bool) -> None:
    """For the command and what is executed later."""
    box = rig.start(init=with_init)
    assert box.pid is not None

    executed = box.exec(["payload", "cat", "/proc/self/stat"], text=True).stdout.rpartition(")")[2].split()

    assert (box.pid, 0) == session_of(box.pid) or with_init
    assert os.getsid(0) != session_of(box.pid)[0]
    assert "0" == executed[4]


def test_A20_an_interactive_process_types_into_its_own_terminal_only(rig: Rig, terminal: tuple[int, int]) -> None:
    """With tty=True there is a terminal of the container's own; the caller's sees nothing of it."""
    _, slave = terminal
    box = rig.start()

    with box.spawn(["payload", "tiocsti", "/dev/tty", "x"], tty=True) as process:
        shown = b"".join(event.data for event in process.events() if isinstance(event, ck.Stdout)).decode()

    assert any(answer in shown for answer in ("ok", "EIO", "EPERM"))
    assert 0 == waiting(slave)
