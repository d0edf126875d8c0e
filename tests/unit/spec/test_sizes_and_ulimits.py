"""Sizes and resource limits."""

from __future__ import annotations

import resource

import pytest

from container_kit._spec.sizes import parse_size
from container_kit._spec.ulimits import UNLIMITED, Ulimit
from container_kit.errors import InvalidSpecError


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (0, 0),
        (1234, 1234),
        ("1234", 1234),
        ("64m", 64 << 20),
        ("64M", 64 << 20),
        ("64mb", 64 << 20),
        ("64 MiB", 64 << 20),
        (" 1.5g ", 3 << 29),
        ("2k", 2048),
        ("1t", 1 << 40),
        ("1p", 1 << 50),
        ("7b", 7),
    ],
)
def test_size_is_read_as_docker_reads_it(given: int | str, expected: int) -> None:
    """Units are powers of 1024, in either case, with or without `b` and `iB`."""
    assert expected == parse_size(given)


@pytest.mark.parametrize("given", ["", "m", "-1", -1, "1e3", "64x", "1.g", "1..5g", True, 2**63, "9000000000g", "٣m"])
def test_text_that_is_no_size_is_refused(given: int | str) -> None:
    """Negative, overflowing and misspelt sizes are errors, never zero."""
    with pytest.raises(InvalidSpecError):
        parse_size(given)


def test_hard_limit_is_the_soft_one_unless_given() -> None:
    """One number sets both."""
    assert Ulimit("nofile", 1024) == Ulimit("nofile", 1024, 1024)
    assert Ulimit("nofile", 1024, 2048).hard == 2048


def test_minus_one_means_unlimited() -> None:
    """As in getrlimit(2) and ulimit."""
    assert (UNLIMITED, UNLIMITED) == (Ulimit("core", -1).soft, Ulimit("core", -1).hard)


@pytest.mark.parametrize(
    ("name", "soft", "hard"),
    [("nofiles", 1, 1), ("nofile", 2, 1), ("nofile", -2, 1), ("nofile", -1, 5), ("nofile", 1, 2**64)],
)
def test_impossible_limit_is_refused(name: str, soft: int, hard: int) -> None:
    """Unknown names, negative numbers and soft limits above the hard one are errors."""
    with pytest.raises(InvalidSpecError, match="ulimits"):
        Ulimit(name, soft, hard)


def test_resource_numbers_are_those_of_the_running_kernel() -> None:
    """Python's own constants come from the system's headers."""
    names = ("cpu", "fsize", "data", "stack", "core", "rss", "nproc", "nofile", "memlock", "as")

    found = {name: Ulimit(name, 1).resource for name in names}

    assert {name: getattr(resource, f"RLIMIT_{name.upper()}") for name in names} == found
