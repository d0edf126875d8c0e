"""Where a container's cgroup goes and what its limits need there; what a host lacks, in plain words.

A container without limits goes where the engine's containers always go. One with limits needs a
directory whose groups can have the controllers: `cgroup_parent`, the top of the tree for root, else
the nearest cgroup above this process that its user may manage and that holds no processes itself.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence

import attrs

from container_kit._linux import block_devices, cgroup_tree
from container_kit._linux.cgroup_tree import Obstacle, Tree, Why
from container_kit._plan.cgroup_writes import (
    ControlGroup,
    compile_cgroup_writes,
    controllers_of,
    device_paths,
)
from container_kit._runtime.site import Site
from container_kit._spec.container_config import ContainerConfig, check_cgroup_path
from container_kit._spec.resources import ENGINE_DEVICE, Resources
from container_kit.errors import InvalidSpecError, UnsupportedHostError

CONTROLLERS = ("cpu", "cpuset", "hugetlb", "io", "memory", "pids")

_NO_LIMITS = Resources()
UNIFIED = "boot with systemd.unified_cgroup_hierarchy=1 on the kernel's command line"
DELEGATE = "run this in a cgroup of its own that is delegated: systemd-run --user --scope -p Delegate=yes …"
_SLICE = "systemctl edit user@.service, [Service] Delegate=cpu cpuset io memory pids, then log in again"


@attrs.frozen(kw_only=True)
class Missing:
    """A controller that containers cannot have here, why, and what to do about it."""

    controller: str
    reason: str
    remedy: str


def choose_group(site: Site, container_id: str, config: ContainerConfig) -> ControlGroup | None:
    """Return the cgroup of a container that is about to be launched, and enable what its limits need.

    None where there are no cgroups for containers and none is needed. The group itself is not made.

    Raises:
        UnsupportedHostError: a controller is missing, or a limit cannot be what it says.
        InvalidSpecError: `cgroup_parent` or a device is not there.
        CgroupError: the kernel refused to enable a controller.
    """
    name, resources = f"ck-{container_id}", config.resources
    if config.cgroup_parent is None and resources == _NO_LIMITS:
        return None if site.cgroup_parent is None else ControlGroup(parent=site.cgroup_parent, name=name)
    needed = controllers_of(resources)
    given = _given_parent(site, config)
    if not needed:
        parent = given or site.cgroup_parent
        return None if parent is None else ControlGroup(parent=parent, name=name)
    tree = cgroup_tree.find_tree()
    parent = _find_place(tree, given, needed)
    if tree is None or parent is None:
        raise refusal(_find_missing(tree, given, needed))
    _check_cpuset(parent, resources)
    writes = compile_cgroup_writes(resources, find_devices(site, resources))
    cgroup_tree.enable_controllers(tree, parent, needed)
    return ControlGroup(parent=parent, name=name, writes=writes)


def check_limits(site: Site, config: ContainerConfig) -> None:
    """Raise what `choose_group` would raise, and change nothing.

    Raises:
        UnsupportedHostError, InvalidSpecError: as there.
    """
    if config.cgroup_parent is None and config.resources == _NO_LIMITS:
        return
    missing = missing_controllers(site, config)
    if missing:
        raise refusal(missing)
    find_devices(site, config.resources)


def missing_controllers(site: Site, config: ContainerConfig) -> tuple[Missing, ...]:
    """Return the controllers that a container's limits need and cannot have; nothing is changed.

    Raises:
        InvalidSpecError: `cgroup_parent` is not there.
    """
    given = _given_parent(site, config)
    return _find_missing(cgroup_tree.find_tree(), given, controllers_of(config.resources))


def missing_in(directory: str, needed: frozenset[str]) -> tuple[Missing, ...]:
    """Return which of these controllers the groups below this very directory cannot have."""
    return _find_missing(cgroup_tree.find_tree(), directory, needed)


def find_missing(site: Site, controllers: Iterable[str]) -> tuple[Missing, ...]:
    """Return which of these controllers containers of this engine cannot have."""
    tree, given = cgroup_tree.find_tree(), site.given_cgroup_parent
    found = (_find_missing(tree, given, frozenset((controller,))) for controller in controllers)
    return tuple(missing for each in found for missing in each)


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


def find_devices(site: Site, resources: Resources) -> Mapping[str, str]:
    """Return `major:minor` of the disk behind each device that the limits name.

    Raises:
        InvalidSpecError: there is no such block device.
        UnsupportedHostError: the engine's directory is on no disk.
    """
    return {path: _disk(site, path) for path in device_paths(resources)}


def find_given_parent(path: str) -> str:
    """Return the directory of the cgroup that `cgroup_parent` names.

    Raises:
        InvalidSpecError: there is none, or the path leads elsewhere.
        UnsupportedHostError: this process may not put containers there.
    """
    check_cgroup_path(path)
    tree = cgroup_tree.find_tree()
    if tree is None:
        raise UnsupportedHostError(feature="cgroup_parent", reason="cgroup2 is not mounted", hint=UNIFIED)
    try:
        directory = cgroup_tree.open_beneath(tree, path)
    except OSError as err:
        raise InvalidSpecError(
            field="cgroup_parent",
            value=path,
            reason=f"there is no such cgroup below {tree.mount}: {os.strerror(err.errno or 0).lower()}",
            hint="make it first; it is named as in /proc/self/cgroup",
        ) from err
    if not cgroup_tree.is_writable(directory) or not cgroup_tree.can_enter(tree, directory):
        raise UnsupportedHostError(
            feature=f"cgroup_parent={path!r}", reason="this user may not move processes there", hint=DELEGATE
        )
    return directory


def _names(missing: Iterable[Missing], comma: str = ", ") -> str:
    return comma.join(one.controller for one in missing)


def _given_parent(site: Site, config: ContainerConfig) -> str | None:
    return site.given_cgroup_parent if config.cgroup_parent is None else find_given_parent(config.cgroup_parent)


def _find_place(tree: Tree | None, given: str | None, needed: frozenset[str]) -> str | None:
    return next(
        (
            directory
            for directory in _directories(tree, given)
            if tree is not None and cgroup_tree.find_obstacle(tree, directory, needed) is None
        ),
        None,
    )


def _directories(tree: Tree | None, given: str | None) -> list[str]:
    if tree is None:
        return []
    return [given] if given is not None else cgroup_tree.find_candidates(tree)


def _find_missing(tree: Tree | None, given: str | None, needed: frozenset[str]) -> tuple[Missing, ...]:
    if not needed or _find_place(tree, given, needed) is not None:
        return ()
    on_version_1 = cgroup_tree.version_1_controllers()
    if tree is None:
        return tuple(_without_tree(name, on_version_1) for name in sorted(needed))
    return explain_missing(tree, _directories(tree, given), needed, on_version_1)


def explain_missing(
    tree: Tree, directories: Sequence[str], needed: frozenset[str], on_version_1: frozenset[str]
) -> tuple[Missing, ...]:
    """Say of each controller that no group below these directories can have it, where that is so, and why."""
    missing: list[Missing] = []
    for name in sorted(needed):
        obstacles = [cgroup_tree.find_obstacle(tree, directory, frozenset((name,))) for directory in directories]
        if not obstacles or None not in obstacles:
            missing.append(_explain(tree, name, obstacles[-1] if obstacles else None, on_version_1))
    return tuple(missing)


def _without_tree(name: str, on_version_1: frozenset[str]) -> Missing:
    if on_version_1:
        reason = f"the {name} controller is bound to cgroup version 1, and version 2 is not mounted (a version 1 host)"
        return Missing(controller=name, reason=reason, remedy=UNIFIED)
    reason = "no control groups can be seen here: cgroup2 is not mounted"
    return Missing(controller=name, reason=reason, remedy="mount -t cgroup2 none /sys/fs/cgroup")


def _explain(tree: Tree, name: str, obstacle: Obstacle | None, on_version_1: frozenset[str]) -> Missing:
    if name in on_version_1:
        reason = f"the {name} controller is bound to cgroup version 1 (a hybrid host)"
        return Missing(controller=name, reason=reason, remedy=f"{UNIFIED}, or with cgroup_no_v1={name}")
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


def _disk(site: Site, path: str) -> str:
    if path != ENGINE_DEVICE:
        try:
            return block_devices.disk_of(path)
        except OSError as err:
            reason = "is not a block device" if err.errno == errno.ENOTBLK else os.strerror(err.errno or 0).lower()
            raise InvalidSpecError(field="resources", value=path, reason=reason) from err
    disk = block_devices.disk_below(site.home.root)
    if disk is None:
        raise UnsupportedHostError(
            feature="io limits for the engine's directory",
            reason=f"no single disk holds {site.home.root}",
            hint="name the device: io_write_bps={'/dev/sda': '10m'}",
        )
    return disk


def _check_cpuset(parent: str, resources: Resources) -> None:
    # The kernel takes CPUs that are not there and then uses the parent's: a limit that is none.
    for field, asked in (("cpus", resources.cpuset_cpus), ("mems", resources.cpuset_mems)):
        there = None if asked is None else _effective(parent, f"cpuset.{field}.effective")
        if asked is None or there is None or _is_within(asked, there):
            continue
        raise UnsupportedHostError(
            feature=f"cpuset_{field}={asked!r}", reason=f"there is only {there}", hint="name those that are there"
        )


def _effective(directory: str, file: str) -> str | None:
    while not os.path.exists(f"{directory}/{file}"):
        above = os.path.dirname(directory)
        if not os.path.exists(f"{above}/cgroup.procs"):
            return None
        directory = above
    with open(f"{directory}/{file}", encoding="ascii") as opened:
        return opened.read().strip()


def _is_within(asked: str, there: str) -> bool:
    have = {number for first, last in _ranges(there) for number in range(first, last + 1)}
    return all(number in have for first, last in _ranges(asked) for number in range(first, last + 1))


def _ranges(text: str) -> Iterator[tuple[int, int]]:
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        yield int(first), int(last or first)
