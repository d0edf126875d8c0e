"""Story: the limits and readings that only a complete cgroup v2 has: CPUs by number, huge pages, pressure."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import container_kit as ck
from container_kit import errors
from tests.e2e.patience import PATIENCE, eventually

pytestmark = [
    pytest.mark.guest_full,
    pytest.mark.needs_root,
    pytest.mark.needs_controllers("cpu", "cpuset", "hugetlb", "memory"),
]

MIB = 1 << 20


def test_a_container_runs_on_the_cpus_it_was_given(engine: ck.Engine, image: ck.Image) -> None:
    """The kernel says so inside; a change counts at once."""
    box = ck.start(
        image, ["payload", "sleep", "1000"], resources=ck.Resources(cpuset_cpus="1"), detach=True, engine=engine
    )
    cpus = ["payload", "read", "/proc/self/status"]

    first = box.exec(cpus, text=True, check=True).stdout
    box.update(resources=ck.Resources(cpuset_cpus="0"))
    second = box.exec(cpus, text=True, check=True).stdout

    assert "Cpus_allowed_list:\t1\n" in first
    assert "Cpus_allowed_list:\t0\n" in second


def test_cpus_that_are_not_there_are_refused_by_an_update_as_by_a_start(engine: ck.Engine, image: ck.Image) -> None:
    """The kernel would take one that the cgroup above lacks, and let the container run on all that this has."""
    parent = Path(f"/sys/fs/cgroup/cktest-{os.getpid()}")
    parent.mkdir()
    (parent / "cpuset.cpus").write_text("0")
    limits, command = ck.Resources(cpuset_cpus="0"), ["payload", "sleep", "1000"]

    with ck.start(image, command, resources=limits, cgroup_parent=parent.name, engine=engine) as box:
        with pytest.raises(errors.UnsupportedHostError) as refused:
            box.update(resources=ck.Resources(cpuset_cpus="1"))
        kept = box.inspect().config.resources.cpuset_cpus
    parent.rmdir()

    assert ("cpuset_cpus='1'", "there is only 0", "0") == (refused.value.feature, refused.value.reason, kept)


def test_huge_pages_are_limited_by_their_size(engine: ck.Engine, image: ck.Image) -> None:
    """Docker's `hugetlb` becomes the file of that page size."""
    limits = ck.Resources(hugetlb={"2MB": "4m"})
    box = ck.start(image, ["payload", "sleep", "1000"], resources=limits, detach=True, engine=engine)

    group = engine.site.cgroup_of(box.id)

    assert group is not None
    assert str(4 * MIB) == Path(group, "hugetlb.2MB.max").read_text().strip()


def test_pressure_tells_what_was_waited_for(engine: ck.Engine, image: ck.Image) -> None:
    """A hog with a tenth of a CPU waits for it; a sleeper does not; both are told in percent and seconds."""
    hog = ck.start(image, ["payload", "spin"], resources=ck.Resources(cpus=0.1), detach=True, engine=engine)
    eventually(lambda: (hog.stats().cpu_throttled_periods or 0) > 3, "a throttled hog", within=PATIENCE)

    seen = hog.stats()

    assert seen.cpu_pressure is not None
    assert seen.cpu_pressure.some.total_seconds > 0
    assert (True, True) == (seen.memory_pressure is not None, seen.io_pressure is not None)
