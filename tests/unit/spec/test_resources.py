"""Limits of a container: what is accepted, what it becomes, what is refused."""

from __future__ import annotations

import pytest

from container_kit._spec.resources import ENGINE_DEVICE, UNLIMITED, Resources
from container_kit.errors import InvalidSpecError


def test_nothing_is_limited_by_default() -> None:
    """Every limit is left alone unless it is given."""
    default = Resources()

    assert default == Resources(memory=None, io_read_bps=())
    assert default.memory is default.pids is default.cpus is None


def test_sizes_are_numbers_or_text() -> None:
    """As in Docker: powers of 1024."""
    limits = Resources(memory="512m", memory_swap="1g", memory_high=1 << 28, memory_reservation="64 MiB")

    assert limits.memory == 512 << 20
    assert limits.memory_swap == 1 << 30
    assert limits.memory_high == 1 << 28
    assert limits.memory_reservation == 64 << 20


def test_cpus_are_a_number_or_text() -> None:
    """A fraction of one CPU and more."""
    assert Resources(cpus="1.5").cpus == 1.5
    assert Resources(cpus=2).cpus == 2.0


def test_minus_one_takes_a_limit_away() -> None:
    """Docker's word for no limit, as a number and as text."""
    limits = Resources(memory=-1, memory_swap="-1", cpus=-1, pids=-1, io_read_bps={"/dev/sda": -1})

    assert limits.memory == limits.memory_swap == limits.pids == UNLIMITED
    assert limits.cpus == UNLIMITED
    assert limits.io_read_bps == (("/dev/sda", UNLIMITED),)


def test_rates_are_for_a_device_each_or_for_the_engines_own() -> None:
    """One number is about where containers write."""
    limits = Resources(io_write_bps="10m", io_read_iops={"/dev/sda": 100, "/dev/sdb": "1k"})

    assert limits.io_write_bps == ((ENGINE_DEVICE, 10 << 20),)
    assert limits.io_read_iops == (("/dev/sda", 100), ("/dev/sdb", 1024))


def test_limits_laid_over_others_replace_only_what_they_set() -> None:
    """What `update` does to what was asked for first."""
    before = Resources(memory="64m", pids=10, hugetlb={"2MB": "4m"})

    after = before.overlaid(Resources(pids=20, oom_group=False))

    assert after == Resources(memory="64m", pids=20, hugetlb={"2MB": "4m"}, oom_group=False)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("memory", "5m"),
        ("memory", True),
        ("memory", "lots"),
        ("memory_high", -2),
        ("cpus", 0),
        ("cpus", 0.001),
        ("cpus", "1,5"),
        ("cpus", True),
        ("cpus", float("nan")),
        ("cpu_shares", 1),
        ("cpu_shares", 262145),
        ("cpuset_cpus", "0;1"),
        ("cpuset_cpus", "0-"),
        ("cpuset_mems", "all"),
        ("pids", 0),
        ("pids", -2),
        ("pids", "12"),
        ("io_weight", 9),
        ("io_weight", 1001),
        ("io_read_bps", {"sda": "1m"}),
        ("io_read_bps", {"/etc/passwd": "1m"}),
        ("io_write_iops", 0),
        ("hugetlb", {"2M": "4m"}),
        ("oom_score_adj", 1001),
        ("oom_score_adj", -1001),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(field: str, value: object) -> None:
    """The error says which limit it is about."""
    with pytest.raises(InvalidSpecError) as caught:
        Resources(**{field: value})  # type: ignore[arg-type]  # what callers without a type checker write

    assert field in str(caught.value)


def test_swap_without_memory_is_refused() -> None:
    """It counts both together, so it means nothing alone."""
    with pytest.raises(InvalidSpecError, match="memory and swap together"):
        Resources(memory_swap="1g")


def test_swap_below_memory_is_refused() -> None:
    """Both together cannot be less than one of them."""
    with pytest.raises(InvalidSpecError, match="cannot be less than memory"):
        Resources(memory="1g", memory_swap="512m")


def test_reservation_above_memory_is_refused() -> None:
    """What is left to it cannot be more than it may have."""
    with pytest.raises(InvalidSpecError, match="memory_reservation"):
        Resources(memory="1g", memory_reservation="2g")
