"""Where a container's cgroup goes, and what its limits need there.

A container without limits goes where the engine's containers always go. One with limits needs a
directory whose groups can have the controllers: `cgroup_parent`, the top of the tree for root, else
the nearest cgroup above this process that its user may manage and that holds no processes itself.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Mapping

from container_kit._linux import block_devices, cgroup_tree
from container_kit._linux.cgroup_tree import Tree
from container_kit._plan.cgroup_writes import ControlGroup, compile_cgroup_writes, controllers_of, device_paths
from container_kit._runtime.missing_controllers import DELEGATE, UNIFIED, Missing, explain_missing, refusal
from container_kit._runtime.site import Site
from container_kit._spec.container_config import ContainerConfig, check_cgroup_path
from container_kit._spec.resources import ENGINE_DEVICE, Resources
from container_kit.errors import InvalidSpecError, UnsupportedHostError

_NO_LIMITS = Resources()


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
    tree, parent = _place_for(given, needed, resources)
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
    given, needed = _given_parent(site, config), controllers_of(config.resources)
    if needed:
        _place_for(given, needed, config.resources)
    find_devices(site, config.resources)


def find_missing(site: Site, config: ContainerConfig) -> tuple[Missing, ...]:
    """Return the controllers that a container's limits need and cannot have; nothing is changed.

    Raises:
        InvalidSpecError: `cgroup_parent` is not there.
    """
    return find_missing_below(_given_parent(site, config), controllers_of(config.resources))


def find_missing_below(given: str | None, needed: frozenset[str]) -> tuple[Missing, ...]:
    """Return which of these controllers cannot be had: by groups below a directory, or, for None, anywhere here."""
    tree = cgroup_tree.find_tree()
    if not needed or _find_place(tree, given, needed) is not None:
        return ()
    return explain_missing(tree, _directories(tree, given), needed, cgroup_tree.version_1_controllers())


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


def check_cpuset(parent: str, resources: Resources) -> None:
    """Raise unless the CPUs and memory nodes of the limits are there for groups below this directory.

    The kernel takes others as well and then uses the parent's: a limit that is none.

    Raises:
        UnsupportedHostError: some are not there.
    """
    for field, asked in (("cpus", resources.cpuset_cpus), ("mems", resources.cpuset_mems)):
        there = None if asked is None else _effective(parent, f"cpuset.{field}.effective")
        if asked is None or there is None or _is_within(asked, there):
            continue
        raise UnsupportedHostError(
            feature=f"cpuset_{field}={asked!r}", reason=f"there is only {there}", hint="name those that are there"
        )


def _given_parent(site: Site, config: ContainerConfig) -> str | None:
    return site.given_cgroup_parent if config.cgroup_parent is None else find_given_parent(config.cgroup_parent)


def _place_for(given: str | None, needed: frozenset[str], resources: Resources) -> tuple[Tree, str]:
    """Return the directory whose groups can keep the limits, and the tree it is in; raise if there is none."""
    tree = cgroup_tree.find_tree()
    parent = _find_place(tree, given, needed)
    if tree is None or parent is None:
        raise refusal(find_missing_below(given, needed))
    check_cpuset(parent, resources)
    return tree, parent


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
