"""Paths on the host and in a container."""

from __future__ import annotations

from pathlib import Path

import pytest

from container_kit._spec.paths import parse_container_path, parse_host_path
from container_kit.errors import InvalidMountError, InvalidSpecError


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("/", "/"),
        ("/srv/data", "/srv/data"),
        ("/srv//data/", "/srv/data"),
        ("/./srv/./data/.", "/srv/data"),
        ("///", "/"),
        ("/.hidden/..name/a..", "/.hidden/..name/a.."),
    ],
)
def test_container_path_is_normalised(given: str, expected: str) -> None:
    """Doubled slashes, `.` and a slash at the end go; names that only look like dots stay."""
    assert expected == parse_container_path(given, "target")


@pytest.mark.parametrize("given", ["", "srv", "./srv", "/srv/../etc", "/..", "/a/..", "/a\0b", "/" + "a" * 4096])
def test_container_path_that_could_lead_elsewhere_is_refused(given: str) -> None:
    """Relative, climbing, overlong paths and NULs are errors that name the field."""
    with pytest.raises(InvalidSpecError, match="target"):
        parse_container_path(given, "target")


def test_host_path_is_kept_as_given() -> None:
    """Resolving `..` lexically would change where a path with symlinks leads."""
    assert parse_host_path("/srv/../data/", "source") == "/srv/../data/"


@pytest.mark.parametrize("given", ["data", "~/data", "", "./x", "/" + "a" * 4096])
def test_relative_or_overlong_host_path_is_refused(given: str) -> None:
    """A relative source would depend on the caller's working directory; the error says how to expand it."""
    with pytest.raises(InvalidMountError) as caught:
        parse_host_path(given, "source")

    assert caught.value.field == "source"
    assert given.startswith("/") or "pathlib" in (caught.value.hint or "")


def test_path_objects_are_accepted() -> None:
    """Anything with `__fspath__` is a path."""
    assert parse_host_path(Path("/srv"), "source") == "/srv"
    assert parse_container_path(Path("/srv"), "target") == "/srv"
