"""What the tests of single kernel features share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import container_kit as ck


@pytest.fixture
def image(payload_rootfs: Path) -> ck.Image:
    """Give the image with the payload program."""
    return ck.Image.from_directory(payload_rootfs)


@pytest.fixture
def box(engine: ck.Engine, image: ck.Image) -> Iterator[ck.Container]:
    """Give a detached container that sleeps."""
    with ck.start(image, ["payload", "sleep", "1000"], detach=True, engine=engine) as box:
        yield box
