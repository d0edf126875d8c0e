"""What a process writes about itself before it joins anything: files of the host's /proc/self.

How soon it is ended when memory is short (oom_score_adj, proc(5)), and the label that its
exec takes on (AppArmor's `exec` file, SELinux's exec context). The host's /proc is still
there in the gather phase, so nothing of a container can stand in for these files. A further
process is a child of the monitor and inherits nothing from the container: it writes the same.
"""

from __future__ import annotations

from container_kit._plan.ops import ProcessFile
from container_kit._spec.container_config import ContainerConfig

OOM_SCORE_ADJ = "oom_score_adj"
APPARMOR_EXEC = "attr/apparmor/exec"
SELINUX_EXEC = "attr/exec"


def process_files(config: ContainerConfig) -> tuple[ProcessFile, ...]:
    """Return the steps for what a config asks for; mostly none."""
    adjustment, security = config.resources.oom_score_adj, config.security
    steps: list[ProcessFile] = []
    if adjustment is not None:
        steps.append(ProcessFile(path=OOM_SCORE_ADJ, contents=str(adjustment).encode()))
    if security.apparmor is not None:
        steps.append(ProcessFile(path=APPARMOR_EXEC, contents=f"exec {security.apparmor}".encode()))
    if security.selinux is not None:
        steps.append(ProcessFile(path=SELINUX_EXEC, contents=security.selinux.encode()))
    return tuple(steps)
