"""Where controllers can be had: the rules of cgroup-v2.rst on directories with the files that a tree has."""

from __future__ import annotations

from pathlib import Path

import pytest

from container_kit._linux.cgroup_tree import Tree, Why, enable_controllers, find_obstacle, has_processes, is_top
from container_kit._runtime.missing_controllers import explain_missing, refusal

BOTH = frozenset(("memory", "pids"))


def make_group(place: Path, *, offered: str, enabled: str = "", pids: str = "", top: bool = False) -> Path:
    """Make a directory that looks like a cgroup."""
    place.mkdir(exist_ok=True)
    (place / "cgroup.controllers").write_text(offered)
    (place / "cgroup.subtree_control").write_text(enabled)
    (place / "cgroup.procs").write_text(pids)
    if not top:
        (place / "cgroup.type").write_text("domain\n")
    return place


@pytest.fixture
def top(tmp_path: Path) -> Path:
    """Give the top of a tree that has processes, memory and pids, and hands on pids."""
    return make_group(tmp_path, offered="cpu memory pids", enabled="pids", pids="1\n", top=True)


def why(top: Path, directory: Path, *wanted: str) -> tuple[str, Why] | None:
    """Return where and why controllers cannot be enabled."""
    obstacle = find_obstacle(Tree(str(top), "/"), str(directory), frozenset(wanted))
    return None if obstacle is None else (obstacle.directory, obstacle.why)


def test_the_top_may_have_processes(top: Path) -> None:
    """It is the only one that may, and it is told by having no type."""
    assert is_top(str(top))
    assert has_processes(str(top))
    assert why(top, top, "memory") is None


def test_what_the_top_does_not_have_is_nowhere(top: Path) -> None:
    """A controller that is bound to version 1, for example."""
    below = make_group(top / "a", offered="pids")

    assert (str(top), Why.ABSENT) == why(top, below, "io")


def test_a_group_with_processes_cannot_hand_on(top: Path) -> None:
    """No internal processes; one that has handed on before may."""
    busy = make_group(top / "busy", offered="pids", pids="7\n")
    ready = make_group(top / "ready", offered="pids", enabled="pids")

    assert (str(busy), Why.PROCESSES) == why(top, busy, "pids")
    assert why(top, ready, "pids") is None


def test_what_is_offered_above_is_handed_down(top: Path) -> None:
    """Level by level from the first that has it; only what is missing is written, and nothing is taken away."""
    middle = make_group(top / "m", offered="pids", enabled="pids")
    low = make_group(middle / "l", offered="pids")

    obstacle = why(top, low, "memory", "pids")
    enable_controllers(Tree(str(top), "/"), str(low), BOTH)

    assert obstacle is None
    written = [(place / "cgroup.subtree_control").read_text() for place in (top, middle, low)]
    assert ["+memory", "+memory", "+memory +pids"] == written


def test_a_process_on_the_way_is_the_obstacle(top: Path) -> None:
    """Wherever it is between the directory and the top."""
    middle = make_group(top / "m", offered="pids", pids="7\n")
    low = make_group(middle / "l", offered="")

    assert (str(middle), Why.PROCESSES) == why(top, low, "pids")


@pytest.mark.parametrize(
    ("path", "directory"),
    [("/", "/mnt"), ("/a/b", "/mnt/a/b"), ("/../other", None)],
)
def test_a_cgroup_has_a_directory_where_the_mount_shows_it(path: str, directory: str | None) -> None:
    """Another namespace's cgroups begin with dots."""
    assert directory == Tree("/mnt", "/").directory_of(path)


@pytest.mark.parametrize(("path", "directory"), [("/box/a", "/mnt/a"), ("/box", "/mnt"), ("/boxer", None)])
def test_a_mount_may_show_a_part_of_the_tree(path: str, directory: str | None) -> None:
    """As in a container without a cgroup namespace."""
    assert directory == Tree("/mnt", "/box").directory_of(path)


def test_reasons_are_plain_words(top: Path) -> None:
    """Each kind of obstacle has a reason that names the controller, and a remedy."""
    busy = make_group(top / "busy", offered="pids", pids="7\n")
    wanted = frozenset(("io", "pids", "hugetlb"))

    found = {
        one.controller: one
        for one in explain_missing(Tree(str(top), "/"), [str(busy)], wanted, on_version_1=frozenset(("io",)))
    }

    assert "hybrid" in found["io"].reason
    assert "cgroup_no_v1=all" in found["io"].remedy
    assert f"{busy} holds processes itself" in found["pids"].reason
    assert "one level down" in found["pids"].remedy
    assert "the kernel does not offer the hugetlb controller" == found["hugetlb"].reason
    assert "cgroup_disable=hugetlb" in found["hugetlb"].remedy


def test_a_user_without_a_group_is_told_so(top: Path) -> None:
    """No directory may be managed; what is true of several controllers is said once."""
    missing = explain_missing(Tree(str(top), "/"), [], BOTH, frozenset())

    error = refusal(missing)

    assert "memory, pids limits" == error.feature
    assert error.reason.endswith("is not delegated to this user")
    assert 1 == error.reason.count("is not delegated")
    assert "Delegate=yes" in (error.hint or "")
