"""The pace of answers: how long a server may take for what."""

from __future__ import annotations

import pytest

from container_kit._registry.pacing import Pace
from container_kit._registry.retrying import Patience

PATIENCE = Patience(stall_timeout=30.0, document_timeout=60.0)


def test_a_document_that_drips_is_given_up() -> None:
    """It comes fast enough not to stall, but not all of it comes in time."""
    pace = Pace(patience=PATIENCE)
    for _ in range(60):
        pace.note(100, 1.0)

    with pytest.raises(TimeoutError, match="61 s"):
        pace.note(100, 1.0)


def test_a_blob_takes_as_long_as_it_needs() -> None:
    """As long as something comes."""
    pace = Pace(patience=PATIENCE, is_document=False)

    for _ in range(10_000):
        pace.note(100, 1.0)


def test_a_blob_that_drips_is_given_up() -> None:
    """Less than 64 bytes a second is nothing."""
    pace = Pace(patience=PATIENCE, is_document=False)

    for _ in range(29):
        pace.note(2, 1.0)

    with pytest.raises(TimeoutError, match="only 60 bytes"):
        pace.note(2, 1.0)
