"""The harness itself: an engine is given, containers run in it, and the leak oracle watches."""

from __future__ import annotations

from pathlib import Path

import pytest

import container_kit as ck

pytestmark = pytest.mark.smoke


def test_a_container_runs_and_leaves_nothing(engine: ck.Engine, payload_rootfs: Path) -> None:
    """A command of the payload runs to its end; the ledger finds nothing afterwards."""
    image = ck.Image.from_directory(payload_rootfs)

    completed = ck.run(image, ["payload", "echo", "hello"], engine=engine, text=True)

    assert ("hello\n", 0) == (completed.stdout, completed.returncode)


def test_a_container_that_is_left_running_is_removed_with_its_engine(engine: ck.Engine, payload_rootfs: Path) -> None:
    """The fixture ends what a test leaves behind, so that the next one starts clean."""
    image = ck.Image.from_directory(payload_rootfs)

    container = ck.start(image, ["payload", "sleep", "1000"], engine=engine, detach=True)

    assert "running" == container.status
