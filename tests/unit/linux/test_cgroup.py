"""The files of a control group: what is done when it goes away meanwhile."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from container_kit._linux import cgroup
from container_kit.errors import CgroupError


@pytest.mark.parametrize("frozen", [True, False])
def test_a_cgroup_that_is_gone_is_not_waited_for(tmp_path: Path, *, frozen: bool) -> None:
    """It was removed right after the write; nothing will ever say that it is frozen."""
    (tmp_path / "cgroup.freeze").touch()

    with pytest.raises(CgroupError) as caught:
        cgroup.freeze(str(tmp_path), frozen=frozen, timeout=0)

    assert errno.ENODEV == caught.value.errno
    assert caught.value.errno in cgroup.GONE
    assert caught.value.hint


def test_a_cgroup_that_takes_too_long_is_an_error(tmp_path: Path) -> None:
    """A process that sleeps in the kernel freezes when it is through with that."""
    (tmp_path / "cgroup.freeze").touch()
    (tmp_path / "cgroup.events").write_text("populated 1\nfrozen 0\n")

    with pytest.raises(CgroupError) as caught:
        cgroup.freeze(str(tmp_path), frozen=True, timeout=0)

    assert errno.ETIMEDOUT == caught.value.errno


@pytest.mark.parametrize(("content", "expected"), [("1\n", True), ("0\n", False), (None, False)])
def test_what_is_wanted_is_read_from_the_cgroup(tmp_path: Path, content: str | None, *, expected: bool) -> None:
    """Not from cgroup.events, which says when it is so; nobody wants anything of one that is gone."""
    if content is not None:
        (tmp_path / "cgroup.freeze").write_text(content)

    assert expected == cgroup.is_freezing(str(tmp_path))
