"""Soak tests are watched by the leak oracle, too."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import container_kit as ck
from tests.conftest import LedgerWatch
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
