"""Limits in the kernel's words: Docker's units by the published formulas, files as cgroup-v2.rst has them."""

from __future__ import annotations

import pytest

from container_kit._plan.cgroup_writes import (
    ControlGroup,
    compile_cgroup_update,
    compile_cgroup_writes,
    controllers_of,
    cpu_weight,
    device_paths,
    flat,
    io_weight,
)
from container_kit._plan.wire import Reader
from container_kit._spec.resources import Resources
from container_kit.errors import InvalidSpecError

DISKS = {"": "8:0", "/dev/sda": "8:0", "/dev/sdb": "8:16"}


@pytest.mark.parametrize(
    ("shares", "weight"),
    [(2, 1), (3, 2), (512, 59), (1024, 100), (2000, 170), (2048, 174), (10240, 639), (262144, 10000)],
)
def test_cpu_shares_become_a_weight(shares: int, weight: int) -> None:
    """The quadratic formula of crun 1.23 and runc 1.3.2: smallest, usual and largest value meet."""
    assert weight == cpu_weight(shares)


@pytest.mark.parametrize(("docker", "kernel"), [(10, 1), (11, 11), (100, 910), (500, 4950), (1000, 10000)])
def test_io_weights_are_spread_over_the_kernels_range(docker: int, kernel: int) -> None:
    """1 + (w - 10) * 9999 / 990, as in runc."""
    assert kernel == io_weight(docker)


@pytest.mark.parametrize(
    ("resources", "writes"),
    [
        (Resources(), ()),
        (Resources(oom_score_adj=500), ()),
        (Resources(memory="64m"), (("?memory.swap.max", "67108864"), ("memory.max", "67108864"))),
        (
            Resources(memory="64m", memory_swap="96m"),
            (("memory.swap.max", "33554432"), ("memory.max", "67108864")),
        ),
        (Resources(memory="64m", memory_swap="64m"), (("memory.swap.max", "0"), ("memory.max", "67108864"))),
        (Resources(memory="64m", memory_swap=-1), (("memory.max", "67108864"),)),
        (Resources(memory_high="32m"), (("memory.high", "33554432"),)),
        (Resources(memory_reservation="32m"), (("memory.low", "33554432"),)),
        (Resources(oom_group=True), (("memory.oom.group", "1"),)),
        (Resources(cpus=1.5), (("cpu.max", "150000 100000"),)),
        (Resources(cpus="0.01"), (("cpu.max", "1000 100000"),)),
        (Resources(cpu_shares=512), (("cpu.weight", "59"),)),
        (Resources(cpuset_cpus="0-2,7", cpuset_mems="0"), (("cpuset.cpus", "0-2,7"), ("cpuset.mems", "0"))),
        (Resources(pids=20), (("pids.max", "20"),)),
        (Resources(io_write_bps="10m"), (("io.max", "8:0 wbps=10485760"),)),
        (
            Resources(io_read_iops={"/dev/sda": 7, "/dev/sdb": 8}),
            (("io.max", "8:0 riops=7"), ("io.max", "8:16 riops=8")),
        ),
        (Resources(io_weight=500), (("io.weight", "default 4950"),)),
        (
            Resources(hugetlb={"2MB": "64m"}),
            (("hugetlb.2MB.max", "67108864"), ("?hugetlb.2MB.rsvd.max", "67108864")),
        ),
    ],
)
def test_every_limit_is_written_into_its_file(resources: Resources, writes: tuple[tuple[str, str], ...]) -> None:
    """Swap without a word of it is as much as memory, as in Docker, and only where the kernel counts it."""
    assert writes == compile_cgroup_writes(resources, DISKS)


def test_no_limit_is_not_written_into_a_new_group() -> None:
    """It has none; so a controller that is missing does not matter either."""
    lifted = Resources(
        memory=-1, memory_high=-1, memory_reservation=-1, cpus=-1, pids=-1, io_write_bps=-1, oom_group=False
    )

    assert () == compile_cgroup_writes(lifted, DISKS)
    assert frozenset() == controllers_of(lifted)


def test_two_paths_of_one_disk_must_agree() -> None:
    """The last one would win silently."""
    with pytest.raises(InvalidSpecError, match="8:0"):
        compile_cgroup_writes(Resources(io_write_bps={"": "1m", "/dev/sda": "2m"}), DISKS)


def test_controllers_are_those_whose_files_are_written() -> None:
    """Each field needs one of them."""
    everything = Resources(memory="64m", cpus=1, cpuset_cpus="0", pids=5, io_weight=10, hugetlb={"2MB": 0})

    assert {"memory", "cpu", "cpuset", "pids", "io", "hugetlb"} == controllers_of(everything)


def test_devices_are_named_once() -> None:
    """Whoever resolves them asks for each path once."""
    resources = Resources(io_read_bps="1m", io_write_bps={"/dev/sda": 5}, io_write_iops=7)

    assert ("", "/dev/sda") == device_paths(resources)


def test_an_update_writes_what_changes_and_knows_the_way_back() -> None:
    """What only the old limits name is lifted; what stays is not written again."""
    before = Resources(memory="64m", memory_swap=-1, pids=7, io_read_bps="1m")
    after = before.overlaid(Resources(memory="128m", cpus=2, pids=-1, io_read_bps={"/dev/sdb": "2m"}))

    update = compile_cgroup_update(before, after, DISKS)

    assert {
        "memory.max": ("134217728", "67108864"),
        "cpu.max": ("200000 100000", "max 100000"),
        "pids.max": ("max", "7"),
        "8:16": ("8:16 rbps=2097152", "8:16 rbps=max"),
        "8:0": ("8:0 rbps=max", "8:0 rbps=1048576"),
    } == {
        (new.split(" ")[0] if file == "io.max" else file): (new, old)
        for (file, new), (_, old) in zip(update.now, update.undo, strict=True)
    }
    assert compile_cgroup_writes(after, DISKS) == update.later


def test_an_update_travels_as_three_lists() -> None:
    """CK_LIMITS_FORMAT in ckit.h."""
    update = compile_cgroup_update(Resources(pids=3), Resources(pids=4, cpus=1), DISKS)
    reader = Reader(update.encode())

    lists = [reader.take("S") for _ in range(3)]

    assert [flat(update.now), flat(update.undo), flat(update.later)] == lists
    assert reader.at_end


def test_a_groups_directory_is_below_its_parent() -> None:
    """As the monitor makes it."""
    assert "/sys/fs/cgroup/a/ck-1" == ControlGroup(parent="/sys/fs/cgroup/a", name="ck-1").path
