"""Story: what the documentation shows works as it is shown."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NEEDS = {"02_python_sandbox": [pytest.mark.needs_subids]}  # it runs as another user
FILES = sorted((ROOT / "examples").glob("*.py"))
EXAMPLES = [pytest.param(path, id=path.stem, marks=NEEDS.get(path.stem, [])) for path in FILES]


def run(script: str | Path, place: Path) -> subprocess.CompletedProcess[str]:
    """Run a script, or the text of one, with a fresh default engine."""
    command = [sys.executable, str(script)] if isinstance(script, Path) else [sys.executable, "-c", script]
    environment = os.environ | {"CONTAINER_KIT_ROOT": str(place / "s")}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_runs(example: Path, tmp_path: Path) -> None:
    """To its end, showing something and complaining about nothing."""
    done = run(example, tmp_path)

    assert (0, "") == (done.returncode, done.stderr)
    assert done.stdout


# What each trick of examples/09_untrusted_code.py is to get; the kernel words some of it in more than one way.
REFUSALS = {
    "fork bomb": "Resource temporarily unavailable|ended: out of its time",
    "memory bomb": "ended: out of its memory",
    "disk filler": "No space left on device",
    "output flood": "ended: out of its time, output cut",
    "timeout dodger": "ended: out of its time",
    "network caller": "Network is unreachable",
    "kernel's crypto sockets": "Operation not permitted|Address family not supported",
    "host's passwords": "No such file or directory",
    "kernel's memory": "nothing to read|No such file",
    "host's core pattern": "Read-only file system|No such file",
    "reboot by sysrq": "Read-only file system|No such file",
    "mount": "Operation not permitted",
    "a namespace of its own": "Operation not permitted",
    "the host's disk": "Operation not permitted",
    "another user's rights": "Operation not permitted|Invalid argument",
    "another program": "Read-only file system|Permission denied",
}


@pytest.mark.guest
@pytest.mark.needs_controllers("memory", "pids")
def test_untrusted_code_gets_nothing(tmp_path: Path) -> None:
    """Each trick of the example ends as it should, in a host that can hold all of the profile."""
    done = run(ROOT / "examples" / "09_untrusted_code.py", tmp_path)

    lines = done.stdout.splitlines()
    assert (0, "", len(REFUSALS)) == (done.returncode, done.stderr, len(lines))
    for line, (trick, refusal) in zip(lines, REFUSALS.items(), strict=True):
        assert re.match(rf"{trick} .*({refusal})", line), line


def test_the_first_program_of_the_readme_runs(tmp_path: Path) -> None:
    """The block as it stands, with the output that its comments promise."""
    (program,) = re.findall("```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)

    done = run(program, tmp_path)

    assert (0, "") == (done.returncode, done.stderr)
    assert re.search(r"^0 hello from [0-9a-f]{12}$", done.stdout, re.MULTILINE)
    assert "['ready']" in done.stdout
