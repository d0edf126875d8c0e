"""What `Engine.capabilities` says of control groups: which kind of host this is, and which limits it can keep."""

from __future__ import annotations

from collections.abc import Iterator

from container_kit._linux import cgroup_tree
from container_kit._runtime.cgroup_places import find_missing_below
from container_kit._runtime.missing_controllers import DELEGATE, UNIFIED
from container_kit._runtime.site import Site
from container_kit._spec.capability import Capability

_CONTROLLERS = ("cpu", "cpuset", "hugetlb", "io", "memory", "pids")
_GROUPS = "control groups (pause, kill of process trees)"
_LAYOUT = "control group version"


def find_cgroup_capabilities(site: Site) -> Iterator[Capability]:
    """Look at the host's control groups; each answer comes with a reason and a remedy."""
    yield _layout()
    yield _groups(site)
    for controller in _CONTROLLERS:
        yield _limits(site, controller)


def _layout() -> Capability:
    tree, on_version_1 = cgroup_tree.find_tree(), sorted(cgroup_tree.version_1_controllers())
    if tree is not None and not on_version_1:
        return Capability(name=_LAYOUT, available=True, reason=f"unified: version 2 alone, at {tree.mount}")
    if tree is not None:
        reason = f"hybrid: version 2 at {tree.mount}, but version 1 has {', '.join(on_version_1)}"
    elif on_version_1:
        reason = f"version 1 alone, with {', '.join(on_version_1)}"
    else:
        reason = "no control groups can be seen here"
    return Capability(name=_LAYOUT, available=False, reason=reason, remedy=UNIFIED)


def _groups(site: Site) -> Capability:
    if site.cgroup_parent is not None:
        return Capability(name=_GROUPS, available=True, reason=f"below {site.cgroup_parent}")
    return Capability(name=_GROUPS, available=False, reason=site.no_cgroup_reason, remedy=f"run as root, or {DELEGATE}")


def _limits(site: Site, controller: str) -> Capability:
    name, missing = f"{controller} limits", find_missing_below(site.given_cgroup_parent, frozenset((controller,)))
    if not missing:
        return Capability(name=name, available=True, reason="the controller is there")
    return Capability(name=name, available=False, reason=missing[0].reason, remedy=missing[0].remedy)
