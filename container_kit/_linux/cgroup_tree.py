"""The tree of control groups as this process sees it: which controllers there are, and where it may make groups.

Only `enable_controllers` changes anything, and it only adds: what others have enabled stays. The
calling process is never moved. Rules and file names are those of the kernel's cgroup-v2.rst
("Controlling Controllers", "No Internal Process Constraint", "Delegation"), cgroups(7).
"""

from __future__ import annotations

import enum
import errno
import os
from collections.abc import Iterator

import attrs

from container_kit._linux import cgroup, shim


@attrs.frozen
class Tree:
    """A mount of cgroup2: where it is, and which cgroup it shows as its top."""

    mount: str
    top: str

    def directory_of(self, path: str) -> str | None:
        """Return the directory of a cgroup that is named as in /proc/self/cgroup, if this mount shows it."""
        top = self.top.rstrip("/")
        if "/../" in f"{path}/" or not (path == top or path.startswith(f"{top}/")):
            return None
        return self.mount + path[len(top) :].rstrip("/")


class Why(enum.Enum):
    """What keeps a controller from the groups below a directory."""

    ABSENT = "the top of the tree does not have it"
    PROCESSES = "the directory holds processes itself"
    FORBIDDEN = "the directory may not be changed by this user"


@attrs.frozen
class Obstacle:
    """Where and why controllers cannot be enabled."""

    directory: str
    why: Why


def find_tree() -> Tree | None:
    """Return where cgroup2 is mounted (the shortest path), or None.

    A mount whose top is outside of this process's cgroup namespace does not count: the kernel lets
    no process of ours into its groups (cgroup_namespaces(7), the mount option nsdelegate).
    """
    found: list[Tree] = []
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            left, _, right = line.partition(" - ")
            words = left.split(" ")
            if right.startswith("cgroup2 ") and not f"{words[3]}/".startswith("/../"):
                found.append(Tree(mount=_unescape(words[4]), top=_unescape(words[3])))
    return min(found, key=lambda tree: len(tree.mount), default=None)


def own_cgroup() -> str | None:
    """Return this process's cgroup2 path as the kernel tells it, e.g. `/user.slice/…`, or None."""
    with open("/proc/self/cgroup", encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            if line.startswith("0::"):
                return line[3:].rstrip("\n")
    return None


def version_1_controllers() -> frozenset[str]:
    """Return the controllers that are bound to a version 1 tree, by their names in version 2."""
    names: set[str] = set()
    with open("/proc/self/cgroup", encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            number, controllers, _ = line.split(":", 2)
            if number != "0":
                names.update("io" if word == "blkio" else word for word in controllers.split(",") if "=" not in word)
    return frozenset(names)


def find_parent() -> tuple[str | None, str]:
    """Return (a directory where containers without limits go, "") or (None, the reason why there is none)."""
    tree = find_tree()
    if tree is None:
        return None, "cgroup2 is not mounted"
    for directory in _nearest(tree):
        if is_writable(directory):
            return directory, ""
    return None, f"the cgroup {own_cgroup()} is not delegated to this user"


def find_candidates(tree: Tree) -> list[str]:
    """Return the directories whose groups this process may manage: the top, or its own and those above."""
    if os.geteuid() == 0 and can_enable_in(tree.mount):
        return [tree.mount]
    own = own_cgroup()
    directory = None if own is None else tree.directory_of(own)
    found: list[str] = []
    while directory is not None and can_enable_in(directory):
        found.append(directory)
        directory = None if directory == tree.mount else os.path.dirname(directory)
    return found


def open_beneath(tree: Tree, path: str) -> str:
    """Return the directory of a cgroup below the mount; nothing else is reached by any path.

    Raises:
        OSError: it does not exist (ENOENT), or the path leads through a symlink (ELOOP) or out (EXDEV).
    """
    relative = path.strip("/")
    mount = os.open(tree.mount, os.O_PATH | os.O_DIRECTORY)
    try:
        flags = os.O_PATH | os.O_DIRECTORY
        os.close(shim.openat2(mount, relative, flags, beneath=True, no_symlinks=True, no_xdev=True))
    finally:
        os.close(mount)
    return f"{tree.mount}/{relative}"


def find_obstacle(tree: Tree, directory: str, wanted: frozenset[str]) -> Obstacle | None:
    """Return what keeps these controllers from the groups below a directory; None: `enable_controllers` will do."""
    lacking = wanted - enabled_controllers(directory)
    if not lacking:
        return None
    absent = lacking - offered_controllers(directory)
    if absent:
        if directory == tree.mount:
            return Obstacle(directory, Why.ABSENT)
        above = find_obstacle(tree, os.path.dirname(directory), absent)
        if above is not None:
            return above
    if not can_enable_in(directory):
        return Obstacle(directory, Why.FORBIDDEN)
    if not is_top(directory) and has_processes(directory):
        return Obstacle(directory, Why.PROCESSES)
    return None


def enable_controllers(tree: Tree, directory: str, wanted: frozenset[str]) -> None:
    """Give these controllers to the groups below a directory, and to the directory itself first where it lacks them.

    Raises:
        CgroupError: the kernel refused.
    """
    lacking = wanted - enabled_controllers(directory)
    if not lacking:
        return
    absent = lacking - offered_controllers(directory)
    if absent and directory != tree.mount:
        enable_controllers(tree, os.path.dirname(directory), absent)
    cgroup.write(directory, "cgroup.subtree_control", " ".join(f"+{name}" for name in sorted(lacking)))


def offered_controllers(directory: str) -> frozenset[str]:
    """Return the controllers that a cgroup has."""
    return _words(f"{directory}/cgroup.controllers")


def enabled_controllers(directory: str) -> frozenset[str]:
    """Return the controllers that the groups below a cgroup have."""
    return _words(f"{directory}/cgroup.subtree_control")


def can_enable_in(directory: str) -> bool:
    """Say whether this process may make groups below the directory and give them controllers."""
    return is_writable(directory) and os.access(f"{directory}/cgroup.subtree_control", os.W_OK)


def is_writable(directory: str) -> bool:
    """Say whether this process may make groups below the directory and put processes there."""
    return os.access(directory, os.W_OK) and os.access(f"{directory}/cgroup.procs", os.W_OK)


def is_top(directory: str) -> bool:
    """Say whether this is the top of the host's whole tree, the only cgroup that may have processes and controllers."""
    return not os.path.exists(f"{directory}/cgroup.type")


def has_processes(directory: str) -> bool:
    """Say whether processes are in this very cgroup."""
    try:
        with open(f"{directory}/cgroup.procs", "rb") as file:
            return bool(file.read(1))
    except OSError as err:
        if err.errno == errno.EOPNOTSUPP:  # a group of threads
            return True
        raise


def can_enter(tree: Tree, directory: str) -> bool:
    """Say whether this process may move its children there: it must be able to write to the common ancestor."""
    own = own_cgroup()
    ours = None if own is None else tree.directory_of(own)
    if os.geteuid() == 0 or ours is None:
        return True
    return os.access(f"{os.path.commonpath((ours, directory))}/cgroup.procs", os.W_OK)


def _nearest(tree: Tree) -> Iterator[str]:
    if os.geteuid() == 0:
        yield tree.mount
    own = own_cgroup()
    directory = None if own is None else tree.directory_of(own)
    if directory is not None:
        yield directory


def _words(path: str) -> frozenset[str]:
    try:
        with open(path, encoding="ascii") as file:
            return frozenset(file.read().split())
    except OSError:
        return frozenset()


def _unescape(text: str) -> str:
    return text.encode().decode("unicode_escape")
