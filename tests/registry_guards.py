"""Registries that want credentials: what guards them, who may pass, and the client of one who may."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest

from container_kit._registry.client import Client
from container_kit._registry.login import Login
from tests.fault_registry import FaultRegistry, Reply, Seen, refuse
from tests.registry_clients import MemorySink, blob_of, make_client, reference_to

PASSWORD = "pa55word-of-robin"
TOKEN = "t0ken-of-the-server"
LOGIN = Login(username="robin", password=PASSWORD)
BASIC = LOGIN.basic()
DATA, BLOB = blob_of(5000)
MANIFEST = b'{"schemaVersion":2}'


def guarded(proof: str, challenge: str) -> Callable[[Seen, Reply], Reply]:
    """Return a step that wants an Authorization."""

    def step(seen: Seen, reply: Reply) -> Reply:
        if seen.header("Authorization") == proof:
            return reply
        return refuse(401, "UNAUTHORIZED", "authentication required", WWW_Authenticate=challenge)

    return step


def guard(registry: FaultRegistry, proof: str, challenge: str) -> None:
    """Make a registry want this Authorization for everything."""
    for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"):
        registry.script(method, "/v2/", guarded(proof, challenge), for_ever=True)


def bearer(realm: str, scope: str = "repository:team/app:pull") -> str:
    """Return the challenge of a token server."""
    return f'Bearer realm="{realm}",service="registry.test",scope="{scope}"'


def token_reply(**fields: object) -> Reply:
    """Return what a token server says."""
    return Reply(body=json.dumps(fields).encode(), headers=(("Content-Type", "application/json"),))


def proofs(registry: FaultRegistry) -> set[str]:
    """Return the Authorization headers that a server got."""
    return {seen.header("Authorization") for seen in registry.requests}


@pytest.fixture
def client(fault_registry: FaultRegistry) -> Iterator[Client]:
    """Give a client with a login for the registry, which has a blob and a manifest."""
    fault_registry.add_blob(DATA)
    fault_registry.add_manifest("team/app", "1", MANIFEST)
    with make_client(logins={fault_registry.authority: LOGIN}) as client:
        yield client


def fetch(client: Client, registry: FaultRegistry) -> None:
    """Download the blob."""
    sink = MemorySink()
    client.download(reference_to(registry.authority), BLOB, sink, verify=sink.verifier(BLOB))
