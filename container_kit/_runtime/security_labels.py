"""What a process was to be labelled with, and whether it is: AppArmor's profile, SELinux's context.

The label is asked for before the exec and taken on by it (`_plan/process_files.py`). A module
that is missing, or a process that runs without its label, is an error: nobody who asked for
a profile shall believe that it holds when it does not (CVE-2025-65105).
"""

from __future__ import annotations

import errno

from container_kit._linux.security_modules import Labeler, is_present, read_label
from container_kit._plan.ops import ForkInit, ProcessFile
from container_kit._plan.plans import ExecPlan, LaunchPlan
from container_kit._plan.process_files import APPARMOR_EXEC, SELINUX_EXEC
from container_kit._spec.security import Security
from container_kit.errors import LaunchError, UnsupportedHostError

_FILES = {APPARMOR_EXEC: Labeler.APPARMOR, SELINUX_EXEC: Labeler.SELINUX}


def check_labels(security: Security) -> None:
    """Raise unless the host has the modules whose labels are asked for.

    Raises:
        UnsupportedHostError: names the module.
    """
    for labeler, label in ((Labeler.APPARMOR, security.apparmor), (Labeler.SELINUX, security.selinux)):
        if label is not None and not is_present(labeler):
            raise UnsupportedHostError(
                feature=f"{labeler.module} labels ({label!r} was asked for)",
                reason=f"the running kernel does not use {labeler.module}",
                hint=f"{boot_remedy(labeler)}, or leave {labeler.module.lower()}= out of Security",
            )


def boot_remedy(labeler: Labeler) -> str:
    """Return what to do where a kernel does not use a module."""
    return f"boot with lsm=…,{labeler.module.lower()} (security={labeler.module.lower()} on older kernels)"


def are_asked_for(plan: LaunchPlan | ExecPlan) -> bool:
    """Say whether there is anything to check after a start."""
    return any(isinstance(step, ProcessFile) and step.path in _FILES for step in plan.gather)


def check_started(plan: LaunchPlan | ExecPlan, pid: int) -> None:
    """Raise unless a process that has just started has the label of its plan; one that is over already is fine.

    Raises:
        LaunchError: it has another label; the caller ends it.
    """
    for step in plan.gather:
        if not isinstance(step, ProcessFile) or step.path not in _FILES:
            continue
        labeler, wanted = _FILES[step.path], step.contents.decode().removeprefix("exec ")
        found = read_label(labeler, _labelled(plan, pid))
        if found is not None and found != wanted:
            op = f"checking the {labeler.module} label: {wanted!r} was asked for, the process has {found!r}"
            raise LaunchError(step=0, total=0, op=op, errno=errno.EACCES)


def _labelled(plan: LaunchPlan | ExecPlan, pid: int) -> int:
    # What stays behind as init never executes anything, so its child has the label.
    if not any(isinstance(step, ForkInit) for step in plan.confine):
        return pid
    try:
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
            return int(file.read().split()[0])
    except (OSError, IndexError):
        return -1
