"""Connect the caller's terminal to a process in a container: raw mode, window size, detach keys.

What `docker attach` and `docker exec -it` do. Everything about the caller's terminal is
put back however this ends.
"""

from __future__ import annotations

import os
import select
import sys
import termios
import tty
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from container_kit.errors import InvalidSpecError

if TYPE_CHECKING:
    from container_kit.process import Process

_CHUNK = 1 << 14
_RESIZE_SECONDS = 0.2


def parse_detach_keys(text: str) -> bytes:
    """Return the bytes of Docker's notation: `ctrl-p,ctrl-q`, `a`, `ctrl-@`; empty text: no detaching."""
    keys = bytearray()
    for word in filter(None, text.split(",")):
        name = word.removeprefix("ctrl-")
        if len(name) != 1 or not (word == name or name in "abcdefghijklmnopqrstuvwxyz@[\\]^_"):
            raise InvalidSpecError(field="detach_keys", value=text, reason="must be keys like a or ctrl-p, with commas")
        keys.append(ord(name) if word == name else ord(name.upper()) & 0x1F)
    return bytes(keys)


class KeyScanner:
    """Passes typed bytes on, except for the detach sequence."""

    def __init__(self, sequence: bytes) -> None:
        self._sequence = sequence
        self._matched = 0

    def feed(self, data: bytes) -> tuple[bytes, bool]:
        """Return (what to pass on, whether the whole sequence was typed)."""
        out = bytearray()
        for byte in data:
            if self._sequence and byte == self._sequence[self._matched]:
                self._matched += 1
                if self._matched == len(self._sequence):
                    return bytes(out), True
                continue
            out += self._sequence[: self._matched]  # a beginning that did not go on belongs to the process
            self._matched = 1 if self._sequence and byte == self._sequence[0] else 0
            if not self._matched:
                out.append(byte)
        return bytes(out), False


def interact(process: Process, detach_keys: str) -> int | None:
    """See `Process.interact`."""
    scanner = KeyScanner(parse_detach_keys(detach_keys))
    with _raw_terminal(sys.stdin.fileno()):
        return _copy(process, scanner, _size_follower(process))


def _copy(process: Process, scanner: KeyScanner, follow_size: Callable[[], None]) -> int | None:
    keyboard, screens = sys.stdin.fileno(), _screens(process)
    poller = select.poll()
    for fd in (keyboard, *screens):
        poller.register(fd, select.POLLIN)
    while screens:
        follow_size()
        ready = [fd for fd, _ in poller.poll(_RESIZE_SECONDS * 1000)]
        for output in [fd for fd in ready if fd in screens]:
            if not _pass_on(output, screens[output]):
                poller.unregister(output)
                del screens[output]
        if keyboard in ready:
            typed = _read(keyboard)
            data, detach = scanner.feed(typed)
            if not (typed and _type(process, data)):
                poller.unregister(keyboard)
                process.close_stdin()
            if detach:
                return None
        if not ready and (code := process.returncode) is not None:
            return code
    return process.wait()


def _screens(process: Process) -> dict[int, int]:
    """Return where each of the process's outputs is shown."""
    pairs = ((process.stdout, sys.stdout), (process.stderr, sys.stderr))
    return {output.fileno(): screen.fileno() for output, screen in pairs if output is not None}


def _pass_on(source: int, target: int) -> bool:
    data = _read(source)
    left = memoryview(data)
    while left:
        left = left[os.write(target, left) :]
    return bool(data)


def _read(fd: int) -> bytes:
    try:
        return os.read(fd, _CHUNK)
    except OSError:
        return b""  # EIO: the terminal's other end is gone (pty(7))


def _type(process: Process, data: bytes) -> bool:
    """Pass keys on; False when the process does not take any more."""
    try:
        if process.stdin is not None and data:
            process.stdin.write(data)
    except BrokenPipeError:
        return False
    return True


def _size_follower(process: Process) -> Callable[[], None]:
    # Polled, not by SIGWINCH: a library installs no signal handlers.
    last: list[os.terminal_size] = []

    def follow() -> None:
        try:
            size = os.get_terminal_size(sys.stdin.fileno())
        except OSError:
            return  # not a terminal
        if last != [size]:
            last[:] = [size]
            process.resize(size.lines, size.columns)

    return follow


@contextmanager
def _raw_terminal(fd: int) -> Generator[None]:
    if not os.isatty(fd):
        yield
        return
    before = termios.tcgetattr(fd)
    try:
        tty.setraw(fd, termios.TCSADRAIN)  # what was typed ahead is kept
        yield
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, before)
