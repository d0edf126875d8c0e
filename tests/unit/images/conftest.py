"""A content store for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from container_kit._store.store import ImageStore
from tests.stores import close_store, open_store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ImageStore]:
    """Give an empty store."""
    store = open_store(tmp_path)

    yield store

    close_store(store)
