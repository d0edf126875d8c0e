"""Names of what is temporary: they say whose it is, so that what a dead process left can be told and removed.

`.tmp-` is being made, `.trash-` is being deleted; pid and start time of the process follow. What
has its final name is complete.
"""

from __future__ import annotations

import os
import re

from container_kit._linux import processes
from container_kit._linux.processes import ProcessId
from container_kit._spec.paths import HostPath

_NAME = re.compile(r"\.(?:tmp|trash)-([0-9]+)\.([0-9]+)\.[0-9a-f]+")


def scratch_path(directory: HostPath, *, is_trash: bool = False) -> HostPath:
    """Return a new path in `directory` for something of this process; nothing is made."""
    own = processes.own_process_id()
    kind = "trash" if is_trash else "tmp"
    return HostPath(f"{directory}/.{kind}-{own.pid}.{own.start_time}.{os.urandom(6).hex()}")


def is_abandoned(name: str) -> bool:
    """Say whether a name is one of `scratch_path` whose process is gone."""
    match = _NAME.fullmatch(name)
    return match is not None and not processes.is_alive(ProcessId(int(match[1]), int(match[2])))
