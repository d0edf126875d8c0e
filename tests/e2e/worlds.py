"""Another world for a script: fewer rights, hidden file systems, limits. Made with unshare(1), gone with the script."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from textwrap import dedent
from typing import Any

CHECKOUT = Path(__file__).parents[2]
LIMIT = 120.0

# An id that no account of the host has, so that nobody's subordinate ids are looked up.
STRANGER = 54321
# Whoever runs the tests becomes a user without rights, who still may read what it could before.
AS_STRANGER = ["unshare", "--user", f"--map-user={STRANGER}", f"--map-group={STRANGER}", "--keep-caps"]

_PREAMBLE = """\
import json, os, resource, sys
import container_kit as ck
from container_kit import errors
place, rootfs = sys.argv[1:3]
image = ck.Image.from_directory(rootfs)
def describe(error):
    fields = {name: getattr(error, name, None) for name in ("feature", "reason", "errno", "hint", "path", "status")}
    return {"type": type(error).__name__, "typed": isinstance(error, ck.ContainerKitError), **fields}
def attempt(action):
    try:
        action()
    except Exception as error:
        return describe(error)
    return None
def open_engine():
    return ck.Engine(place + "/s", runtime=place + "/r")
"""


def run_in(world: list[str], script: str, place: Path, rootfs: Path, *, setup: str = "true") -> Any:
    """Run a script in a world and return what it printed as JSON.

    Args:
        world: the command that makes the world.
        script: `ck`, `errors`, `image`, `open_engine()` and `attempt()` are defined in it.
        place: a directory for the script's engine.
        rootfs: what `image` is made of.
        setup: shell commands that finish the world.
    """
    python = [sys.executable, "-c", _PREAMBLE + dedent(script), str(place), str(rootfs)]
    command = [*world, "sh", "-ec", f'{setup}\nexec "$@"', "world", *python]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, timeout=LIMIT, check=False)
    assert 0 == done.returncode, done.stderr
    return json.loads(done.stdout)
