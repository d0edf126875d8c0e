"""Further Python interpreters that use the engine of a test: owners that die, strangers that come later."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import attrs

CHECKOUT = Path(__file__).parents[2]
LIMIT = 60.0

_PREAMBLE = """\
import os, signal, sys, threading
import container_kit as ck
from container_kit import wait
signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever runs the tests may ignore it
engine = ck.Engine(root={root!r}, runtime={runtime!r})
image = ck.Image.from_directory({image!r})
host = ck.Image.host()
"""


@attrs.define
class Interpreters:
    """Runs scripts in which `ck`, `wait`, `engine` (the test's), `image` (the payload) and `host` are defined."""

    root: str
    runtime: str
    image: str
    running: list[subprocess.Popen[str]]

    def run(self, script: str, *, env: dict[str, str] | None = None) -> str:
        """Run a script to its end and return what it printed; it must succeed."""
        done = subprocess.run(
            self.command(script), cwd=CHECKOUT, env=env, capture_output=True, text=True, timeout=LIMIT, check=False
        )
        assert 0 == done.returncode, done.stderr
        return done.stdout

    def start(self, script: str) -> subprocess.Popen[str]:
        """Start a script; what it prints comes over `stdout`. It is ended with the test."""
        process = subprocess.Popen(
            self.command(script), cwd=CHECKOUT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.running.append(process)
        return process

    def command(self, script: str) -> list[str]:
        """Return the command line for a script."""
        preamble = _PREAMBLE.format(root=self.root, runtime=self.runtime, image=self.image)
        return [sys.executable, "-c", preamble + dedent(script)]

    def close(self) -> None:
        """End what still runs."""
        for process in self.running:
            with process:
                process.kill()


def first_line(process: subprocess.Popen[str]) -> str:
    """Return the next line that a script prints."""
    assert process.stdout is not None
    line = process.stdout.readline().strip()
    assert line, "the script ended early"
    return line
