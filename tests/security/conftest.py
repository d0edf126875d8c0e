"""What the rows share: the three modes, a root file system to spoil, a canary."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

import container_kit as ck
from tests.e2e.conftest import host as host
from tests.e2e.conftest import image as image
from tests.e2e.conftest import interpreters as interpreters
from tests.probes import probe_root
from tests.security.rigs import Rig, UserNamespace, make_canary

# A user's containers are in a user namespace anyway.
MODES = ("host",) if probe_root() else ("host", pytest.param("auto", marks=pytest.mark.needs_idmapped_mounts))


@pytest.fixture(params=MODES)
def userns(request: pytest.FixtureRequest) -> UserNamespace:
    """Give the kind of user namespace: the engine's, or one for each container."""
    mode: UserNamespace = request.param
    return mode


@pytest.fixture
def rig(engine: ck.Engine, image: ck.Image, userns: UserNamespace) -> Rig:
    """Give what makes containers in this mode."""
    return Rig(engine, image, userns)


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    """Give a directory of the host beside everything that containers are given."""
    return make_canary(tmp_path / "canary")


@pytest.fixture
def own_rootfs(payload_rootfs: Path, tmp_path: Path) -> Path:
    """Give a copy of the payload's root file system that the test may spoil, but for the payload: a link to it."""

    def others(directory: str, names: list[str]) -> set[str]:
        return set(names) - {"payload"} if Path(directory).name == "bin" else set()

    def copy_or_link(source: str, target: str) -> None:
        copy = os.link if source.endswith("/payload") else shutil.copy2
        copy(source, target)

    copy = tmp_path / "own"
    shutil.copytree(payload_rootfs, copy, symlinks=True, ignore=others, copy_function=copy_or_link)
    return copy


@pytest.fixture
def own_image(own_rootfs: Path) -> ck.Image:
    """Give the image of a root file system that the test may spoil."""
    return ck.Image.from_directory(own_rootfs)
