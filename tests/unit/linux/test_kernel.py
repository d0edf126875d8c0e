"""Which kernels are taken: the rest is refused before anything is tried."""

from __future__ import annotations

import os
import sys
from types import SimpleNamespace

import pytest

from container_kit._linux.kernel import kernel_version, require_linux
from container_kit.errors import UnsupportedHostError


@pytest.mark.parametrize(
    ("release", "expected"),
    [("5.15.0-generic", (5, 15)), ("6.1", (6, 1)), ("6.18.0-rc1+", (6, 18)), ("10.0.1", (10, 0)), ("custom", (0, 0))],
)
def test_a_release_has_a_version(release: str, expected: tuple[int, int]) -> None:
    """Numbers are compared, not text: 5.9 is older than 5.15."""
    assert expected == kernel_version(release)


@pytest.mark.parametrize("release", ["5.14.21-500.el9", "5.4.0", "4.19.0", "3.10.0", "custom"])
def test_an_old_kernel_is_refused(monkeypatch: pytest.MonkeyPatch, release: str) -> None:
    """The error says which one is needed."""
    monkeypatch.setattr(os, "uname", lambda: SimpleNamespace(release=release))

    with pytest.raises(UnsupportedHostError) as caught:
        require_linux()

    assert "containers" == caught.value.feature
    assert "too old" in caught.value.reason
    assert "Linux 5.15 or newer is needed" == caught.value.hint


@pytest.mark.parametrize("release", ["5.15.0", "6.1.0-13-amd64"])
def test_a_new_kernel_is_taken(monkeypatch: pytest.MonkeyPatch, release: str) -> None:
    """Nothing is raised."""
    monkeypatch.setattr(os, "uname", lambda: SimpleNamespace(release=release))

    require_linux()


def test_another_system_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The package can be imported elsewhere; using it says what is missing."""
    monkeypatch.setattr(sys, "platform", "darwin")

    with pytest.raises(UnsupportedHostError) as caught:
        require_linux()

    assert "darwin is not Linux" == caught.value.reason
    assert "virtual machine" in (caught.value.hint or "")
