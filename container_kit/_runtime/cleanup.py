"""Remove what a container left on disk and in the runtime directory. Idempotent.

The removal runs in a monitor of its own, which joins the user namespace first: rootless
containers leave files of subordinate ids, which only that namespace's root can remove.
"""

from __future__ import annotations

import os

from container_kit._linux import cgroup
from container_kit._plan.encode import encode_request
from container_kit._plan.flags import Namespace
from container_kit._plan.plans import ProbePlan
from container_kit._plan.settings import MonitorFlag, MonitorSettings
from container_kit._runtime.messages import ExitFlag
from container_kit._runtime.site import Site
from container_kit._runtime.spawn import spawn_monitor
from container_kit._spec.paths import HostPath
from container_kit.errors import HostError

_NOTHING = ProbePlan(namespaces=Namespace(0), gather=())


def remove_files(site: Site, container_id: str) -> None:
    """Remove a container's directories and its cgroup; whatever still runs in the cgroup is killed.

    Raises:
        HostError: something could not be removed; it can be tried again.
    """
    path = site.cgroup_of(container_id)
    if path is not None:
        cgroup.remove(path)
    remove_runtime_files(site, container_id)
    directory = site.home.container_dir(container_id)
    if not os.path.lexists(directory):
        return
    settings = MonitorSettings(
        flags=MonitorFlag.REMOVE_ONLY,
        owner_pid=os.getpid(),
        namespaces=Namespace(0),
        container_dir=directory,
        runtime_dir=HostPath(site.home.container_runtime_dir(container_id)),
    )
    supervision = spawn_monitor(encode_request(settings, _NOTHING), user_namespace=site.user_namespace())
    supervision.go()
    answer = supervision.await_exited(None)
    supervision.let_go()
    if answer is None or not answer.flags & ExitFlag.CLEAN:
        raise HostError(
            attempted=f"cannot remove {directory}",
            errno=answer.error if answer else None,
            hint="is something of it in use? try again with remove(force=True), or Engine.check(repair=True)",
        )


def remove_runtime_files(site: Site, container_id: str) -> None:
    """Remove a container's runtime directory, which only holds files of ours."""
    directory = site.home.container_runtime_dir(container_id)
    try:
        names = os.listdir(directory)
    except FileNotFoundError:
        return
    for name in names:
        try:
            os.unlink(f"{directory}/{name}")
        except FileNotFoundError:
            continue
    try:
        os.rmdir(directory)
    except FileNotFoundError:
        pass
