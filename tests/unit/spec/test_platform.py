"""Platforms: their names, and which image runs where."""

from __future__ import annotations

import pytest

from container_kit._spec.platform import (
    UNKNOWN_PLATFORM,
    Platform,
    choose_platform,
    host_platform,
    parse_platform,
    read_platform,
    runs_on,
)
from container_kit.errors import InvalidSpecError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("linux/amd64", "linux/amd64"),
        ("linux/arm64/v8", "linux/arm64/v8"),
        ("linux/arm/7", "linux/arm/v7"),
        ("amd64", "linux/amd64"),
        ("Linux/x86_64", "linux/amd64"),
        ("linux/aarch64", "linux/arm64"),
        ("armhf", "linux/arm/v7"),
        ("linux/armel", "linux/arm/v6"),
        ("i686", "linux/386"),
        ("macos/arm64", "darwin/arm64"),
        ("windows(10.0.17763)/amd64", "windows(10.0.17763)/amd64"),
        ("linux/riscv64/rva20u64", "linux/riscv64/rva20u64"),
    ],
)
def test_platform_is_written_as_go_does(text: str, expected: str) -> None:
    """And what is printed is read again."""
    platform = parse_platform(text)

    assert expected == str(platform)
    assert platform == parse_platform(str(platform))


@pytest.mark.parametrize(
    "text", ["", "/", "linux", "linux/", "a/b/c/d", "linux/amd 64", "linux/amd64\n", "linux/../x/y"]
)
def test_what_is_no_platform_is_refused(text: str) -> None:
    """The hint shows one."""
    with pytest.raises(InvalidSpecError) as caught:
        parse_platform(text)

    assert caught.value.field.startswith("platform")


def test_host_is_linux_on_its_machine() -> None:
    """As uname(2) names it."""
    names = {machine: str(host_platform(machine)) for machine in ("x86_64", "aarch64", "armv7l", "i686", "ppc64le")}

    assert names == {
        "x86_64": "linux/amd64",
        "aarch64": "linux/arm64",
        "armv7l": "linux/arm/v7",
        "i686": "linux/386",
        "ppc64le": "linux/ppc64le",
    }


def test_odd_platform_in_a_document_is_unknown() -> None:
    """One bad entry of an index does not spoil the others."""
    odd = read_platform(os="linux", architecture="arm/v7", variant="", os_version="")

    assert odd == UNKNOWN_PLATFORM
    assert not runs_on(parse_platform("linux/arm/v7"), odd)
    assert read_platform(os="linux", architecture="arm", variant="v7", os_version="") == parse_platform("armv7l")


@pytest.mark.parametrize(
    ("wanted", "offered", "best"),
    [
        ("linux/amd64", ["linux/386", "linux/amd64", "linux/arm64"], "linux/amd64"),
        ("linux/amd64", ["linux/amd64/v2", "linux/amd64"], "linux/amd64"),
        ("linux/amd64/v3", ["linux/amd64", "linux/amd64/v2", "linux/amd64/v4"], "linux/amd64/v2"),
        ("linux/amd64", ["linux/386"], "linux/386"),
        ("linux/amd64", ["linux/amd64/v2"], None),
        ("linux/arm64", ["linux/arm64/v8"], "linux/arm64/v8"),
        ("linux/arm64/v8", ["linux/arm/v7", "linux/arm64"], "linux/arm64"),
        ("linux/arm64", ["linux/arm/v6", "linux/arm/v7", "linux/amd64"], "linux/arm/v7"),
        ("linux/arm64/v9", ["linux/arm64/v8.6", "linux/arm64/v8.5", "linux/arm64/v8"], "linux/arm64/v8.5"),
        ("linux/arm64/v8", ["linux/arm64/v9"], None),
        ("linux/arm/v7", ["linux/arm/v5", "linux/arm/v6", "linux/arm/v8"], "linux/arm/v6"),
        ("linux/arm", ["linux/arm/v7"], "linux/arm/v7"),
        ("linux/arm/v6", ["linux/arm"], None),
        ("linux/arm/v7", ["linux/arm64"], None),
        ("linux/s390x", ["linux/s390x"], "linux/s390x"),
        ("linux/riscv64", ["linux/riscv64/rva23u64"], None),
        ("linux/riscv64/rva23u64", ["linux/riscv64"], "linux/riscv64"),
        ("linux/amd64", ["windows/amd64", "unknown/unknown"], None),
        ("windows(1.2)/amd64", ["windows(1.1)/amd64", "windows(1.2)/amd64"], "windows(1.2)/amd64"),
    ],
)
def test_best_fitting_platform_is_chosen(wanted: str, offered: list[str], best: str | None) -> None:
    """The newest generation that the processor has; then its 32-bit mode; never another system."""
    for order in (offered, offered[::-1]):
        assert best == choose_platform(parse_platform(wanted), order, parse_platform)


def test_first_of_equals_is_chosen_and_nothing_known_fits_nothing() -> None:
    """An entry without a platform is never chosen."""
    amd64 = parse_platform("amd64")
    candidates: list[tuple[str, Platform | None]] = [("a", None), ("b", amd64), ("c", amd64)]

    assert choose_platform(amd64, candidates, lambda pair: pair[1]) == ("b", amd64)
    assert choose_platform(amd64, candidates[:1], lambda pair: pair[1]) is None
