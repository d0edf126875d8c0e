"""Controllers that limits need and a host does not give: why, and what to do about it, in plain words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import attrs

from container_kit._linux import cgroup_tree
from container_kit._linux.cgroup_tree import Obstacle, Tree, Why
from container_kit.errors import UnsupportedHostError

UNIFIED = "boot with systemd.unified_cgroup_hierarchy=1 on the kernel's command line"
DELEGATE = "run this in a cgroup of its own that is delegated: systemd-run --user --scope -p Delegate=yes …"
_SLICE = "systemctl edit user@.service, [Service] Delegate=cpu cpuset io memory pids, then log in again"


@attrs.frozen(kw_only=True)
class Missing:
    """A controller that containers cannot have here, why, and what to do about it."""

    controller: str
    reason: str
    remedy: str


def refusal(missing: tuple[Missing, ...]) -> UnsupportedHostError:
    """Return the error for limits that cannot be kept."""
    # What is said of several in the same words is said once.
    alike: dict[str, list[Missing]] = {}
    for one in missing:
        alike.setdefault(one.reason.replace(one.controller, "", 1), []).append(one)
    return UnsupportedHostError(
        feature=f"{_names(missing)} limits",
        reason="; ".join(same[0].reason.replace(same[0].controller, _names(same), 1) for same in alike.values()),
        hint="; ".join(
            same[0].remedy.replace(f"={same[0].controller}", f"={_names(same, ',')}") for same in alike.values()
        ),
    )


def explain_missing(
    tree: Tree | None, directories: Sequence[str], needed: frozenset[str], on_version_1: frozenset[str]
) -> tuple[Missing, ...]:
    """Say of each controller that no group below these directories can have it, where that is so, and why.

    Args:
        tree: where cgroup2 is mounted, if it is.
        directories: the places for containers' groups, the nearest one first.
        needed: the controllers.
        on_version_1: those that are bound to version 1.
    """
    if tree is None:
        return tuple(_without_tree(name, on_version_1) for name in sorted(needed))
    missing: list[Missing] = []
    for name in sorted(needed):
        obstacles = [cgroup_tree.find_obstacle(tree, directory, frozenset((name,))) for directory in directories]
        if not obstacles or None not in obstacles:
            missing.append(_explain(tree, name, obstacles[-1] if obstacles else None, on_version_1))
    return tuple(missing)


def _names(missing: Iterable[Missing], comma: str = ", ") -> str:
    return comma.join(one.controller for one in missing)


def _without_tree(name: str, on_version_1: frozenset[str]) -> Missing:
    if on_version_1:
        reason = f"the {name} controller is bound to cgroup version 1, and version 2 is not mounted (a version 1 host)"
        return Missing(controller=name, reason=reason, remedy=UNIFIED)
    reason = "no control groups can be seen here: cgroup2 is not mounted"
    return Missing(controller=name, reason=reason, remedy="mount -t cgroup2 none /sys/fs/cgroup")


def _explain(tree: Tree, name: str, obstacle: Obstacle | None, on_version_1: frozenset[str]) -> Missing:
    if name in on_version_1:
        reason = f"the {name} controller is bound to cgroup version 1 (a hybrid host)"
        return Missing(controller=name, reason=reason, remedy=f"{UNIFIED}, or with cgroup_no_v1=all")
    if obstacle is None:
        reason = f"the cgroup {cgroup_tree.own_cgroup()} is not delegated to this user"
        return Missing(controller=name, reason=reason, remedy=DELEGATE)
    reason, remedy = _explain_obstacle(tree, name, obstacle)
    return Missing(controller=name, reason=reason, remedy=remedy)


def _explain_obstacle(tree: Tree, name: str, obstacle: Obstacle) -> tuple[str, str]:
    directory = obstacle.directory
    match obstacle.why:
        case Why.ABSENT if cgroup_tree.is_top(directory):
            reason = f"the kernel does not offer the {name} controller"
            return reason, f"boot without cgroup_disable={name}, or use a kernel that is built with it"
        case Why.ABSENT:
            reason = f"the {name} controller was not given to {tree.mount}, the top of what can be seen here"
            return reason, "have it delegated by whoever runs this: Delegate=yes for its unit"
        case Why.PROCESSES:
            reason = f"{directory} holds processes itself, so groups below it cannot have the {name} controller"
            return reason, f"start this program one level down, in a child of {directory}; or {DELEGATE}"
        case Why.FORBIDDEN:
            return f"the {name} controller is not delegated to this user, but ends at {directory}", _SLICE
