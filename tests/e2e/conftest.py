"""What the stories share: images, and further interpreters that use the same engine."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

import container_kit as ck
from tests.e2e.interpreters import Interpreters


@pytest.fixture
def image(payload_rootfs: Path) -> ck.Image:
    """Give the image with the payload program: no shell in it that a test could count on."""
    return ck.Image.from_directory(payload_rootfs)


@pytest.fixture
def own_rootfs(payload_rootfs: Path, tmp_path: Path) -> Path:
    """Give a copy of the payload's root file system that a test may change."""
    copy = tmp_path / "own"
    shutil.copytree(payload_rootfs, copy, symlinks=True)
    return copy


@pytest.fixture
def host() -> ck.Image:
    """Give the image with the host's programs: for stories that need a shell."""
    return ck.Image.host()


@pytest.fixture
def interpreters(engine: ck.Engine, tmp_path: Path, payload_rootfs: Path) -> Iterator[Interpreters]:
    """Give further interpreters; all are ended after the test."""
    others = Interpreters(engine.root, str(tmp_path / "r"), str(payload_rootfs), [])

    yield others

    others.close()
