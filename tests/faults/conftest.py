"""Tests of this folder change what a test may not leave changed: the leak oracle watches them, too."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import container_kit as ck
from tests.conftest import LedgerWatch
from tests.e2e.interpreters import Interpreters
from tests.ledger import wait_for_balance


@pytest.fixture(autouse=True)
def ledger(session_directory: Path) -> Iterator[LedgerWatch]:
    """Fail a test that leaves anything behind."""
    watch = LedgerWatch(session_directory, firewall=False, watched=[])
    before = watch.read()

    yield watch

    left = wait_for_balance(before, watch.read)
    if left:
        pytest.fail("\n".join(["this test changed what it should have left alone:", *left]), pytrace=False)


@pytest.fixture
def image(payload_rootfs: Path) -> ck.Image:
    """Give the image with the payload program."""
    return ck.Image.from_directory(payload_rootfs)


@pytest.fixture
def interpreters(engine: ck.Engine, tmp_path: Path, payload_rootfs: Path) -> Iterator[Interpreters]:
    """Give further interpreters that use the same engine; all are ended after the test."""
    others = Interpreters(engine.root, str(tmp_path / "r"), str(payload_rootfs), [])

    yield others

    others.close()
