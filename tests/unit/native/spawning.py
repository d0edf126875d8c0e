"""Programs started with spawned.c in the monitor's place: what they say, and callers in interpreters of their own."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

from container_kit._linux import shim
from tests.unit.native.harness import HERE

REPOSITORY = HERE.parents[2]
STDOUT = 4  # index of CK_FD_STDOUT among the monitor's descriptors


def spawn(fds: dict[int, int]) -> list[str]:
    """Spawn with these descriptors by index; return what the program said, once it ended as it should."""
    ours, theirs = os.pipe()
    chosen = {**fds, STDOUT: theirs}
    starting = shim.begin_monitor([chosen.get(i, -1) for i in range(shim.MONITOR_FDS)])
    os.close(theirs)
    with open(ours, encoding="utf-8") as file:
        said = file.read().splitlines()
    starting.end()
    _, status = os.waitpid(starting.pid, 0)
    os.close(starting.pidfd)
    assert os.waitstatus_to_exitcode(status) == 7
    return said


def run_script(script: str, spawned: Path) -> str:
    """Run a script in a fresh interpreter that can import the package; return its stdout or complain."""
    preamble = f"""
        import os, sys, resource
        sys.path.insert(0, {str(REPOSITORY)!r})
        from pathlib import Path
        from container_kit._linux import shim
        shim.MONITOR_PROGRAM = Path({str(spawned)!r})
    """
    text = textwrap.dedent(preamble) + textwrap.dedent(script)
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout
