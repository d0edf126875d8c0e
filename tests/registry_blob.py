"""One blob that tests fetch in all weathers, and a client whose pauses can be looked at.

A test module imports the fixtures it needs: `from tests.registry_blob import client as client`.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from container_kit._registry.client import Client
from tests.fault_registry import FaultRegistry
from tests.registry_clients import MemorySink, Pauses, blob_of, make_client, reference_to

SIZE = 300_000
DATA, BLOB = blob_of(SIZE)
OTHER, _ = blob_of(SIZE, seed=2)


@pytest.fixture
def pauses() -> Pauses:
    """Give the pauses that the client wanted to make."""
    return Pauses()


@pytest.fixture
def client(fault_registry: FaultRegistry, pauses: Pauses) -> Iterator[Client]:
    """Give a client, and the blob to the registry."""
    fault_registry.add_blob(DATA)
    with make_client(pauses=pauses) as client:
        yield client


def fetch(client: Client, registry: FaultRegistry, begun: bytes = b"") -> MemorySink:
    """Download the blob and verify it."""
    sink = MemorySink(begun)
    client.download(reference_to(registry.authority), BLOB, sink, verify=sink.verifier(BLOB))
    return sink
