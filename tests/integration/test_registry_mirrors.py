"""Redirects and mirrors: who is asked next, with what, and how that ends."""

from __future__ import annotations

import pytest

from container_kit._registry.client import Client
from container_kit._spec.registries import Registries
from container_kit.errors import (
    RegistryError,
)
from tests.fault_registry import FaultRegistry, Reply, Seen, changed, redirect, refuse
from tests.fault_registry import fault_registry as fault_registry
from tests.fault_registry import second_registry as second_registry
from tests.registry_blob import BLOB, DATA, OTHER, fetch
from tests.registry_blob import client as client
from tests.registry_blob import pauses as pauses
from tests.registry_clients import MemorySink, Pauses, make_client, reference_to


def test_a_redirect_is_followed_with_its_range(
    client: Client, fault_registry: FaultRegistry, second_registry: FaultRegistry
) -> None:
    """Registries keep blobs elsewhere; the part that is missing is asked for there."""
    second_registry.add_blob(DATA)
    there = f"http://{second_registry.authority}/v2/cdn/blobs/{BLOB.digest}?signature=s3cret"
    fault_registry.script("GET", "/blobs/", redirect(there), for_ever=True)

    sink = fetch(client, fault_registry, DATA[:1000])

    assert DATA == bytes(sink.data)
    assert "bytes=1000-" == second_registry.requests[0].header("Range")


def test_an_error_never_shows_the_query_of_a_url(
    client: Client, fault_registry: FaultRegistry, second_registry: FaultRegistry
) -> None:
    """Signed URLs are secrets."""
    there = f"http://{second_registry.authority}/v2/cdn/blobs/{BLOB.digest}?signature=s3cret"
    fault_registry.script("GET", "/blobs/", redirect(there), for_ever=True)

    with pytest.raises(RegistryError) as caught:
        fetch(client, fault_registry)

    assert "s3cret" not in f"{caught.value!r} {caught.value}"


def to_itself(seen: Seen, _: Reply) -> Reply:
    """Send the client where it is."""
    return redirect(seen.path, 302)


@pytest.mark.parametrize("hops", [10, 11])
def test_ten_redirects_are_followed_and_no_more(client: Client, fault_registry: FaultRegistry, hops: int) -> None:
    """A loop ends."""
    fault_registry.script("GET", "/blobs/", *[to_itself] * hops)

    if hops > 10:
        with pytest.raises(RegistryError, match="more than 10 redirects"):
            fetch(client, fault_registry)
    else:
        fetch(client, fault_registry)

    assert 11 == len(fault_registry.requests)


@pytest.mark.parametrize(
    "location",
    ["", "ftp://127.0.0.1/x", "file:///etc/passwd", "http://u:p@127.0.0.1/x", "http://[::1/", "http://127.0.0.1:x/"],
)
def test_a_redirect_to_no_place_is_refused(client: Client, fault_registry: FaultRegistry, location: str) -> None:
    """http and https, to a host, without a password."""
    fault_registry.script("GET", "/blobs/", redirect(location), for_ever=True)

    with pytest.raises(RegistryError):
        fetch(client, fault_registry)

    assert 1 == len(fault_registry.requests)


def mirrored(origin: FaultRegistry, mirror: FaultRegistry) -> Registries:
    """Return registries in which one has a mirror."""
    return Registries(mirrors={origin.authority: [f"http://{mirror.authority}"]})


def test_a_mirror_is_asked_first(fault_registry: FaultRegistry, second_registry: FaultRegistry) -> None:
    """And the registry not at all when it has the blob."""
    second_registry.add_blob(DATA)

    with make_client(mirrored(fault_registry, second_registry)) as client:
        sink = fetch(client, fault_registry)

    assert DATA == bytes(sink.data)
    assert [] == fault_registry.requests


def wrong_bytes(_: Seen, reply: Reply) -> Reply:
    """Send as many other bytes."""
    return reply.evolve(body=OTHER[: len(reply.body)] if isinstance(reply.body, bytes) else OTHER)


@pytest.mark.parametrize(
    "step",
    [
        pytest.param(refuse(404), id="has it not"),
        pytest.param(refuse(401), id="wants credentials"),
        pytest.param(refuse(500), id="is ill"),
        pytest.param(wrong_bytes, id="has something else"),
        pytest.param(changed(end_at=100_000), id="breaks"),
        pytest.param(changed(body=b"short"), id="has another size"),
        pytest.param(redirect("http://127.0.0.1:1/"), id="sends us to nobody"),
    ],
)
def test_a_mirror_that_fails_is_passed_over(
    fault_registry: FaultRegistry, second_registry: FaultRegistry, step: Reply
) -> None:
    """The registry itself is asked next; what the mirror brought is continued or thrown away."""
    fault_registry.add_blob(DATA)
    second_registry.add_blob(DATA)
    second_registry.script("GET", "/blobs/", step, for_ever=True)

    with make_client(mirrored(fault_registry, second_registry)) as client:
        sink = fetch(client, fault_registry)

    assert DATA == bytes(sink.data)
    assert 1 == len(fault_registry.requests)


def test_what_a_mirror_brought_is_judged_once(fault_registry: FaultRegistry, second_registry: FaultRegistry) -> None:
    """Wrong bytes are thrown away before anybody else is asked."""
    fault_registry.add_blob(DATA)
    second_registry.add_blob(DATA)
    second_registry.script("GET", "/blobs/", wrong_bytes)
    sink = MemorySink()
    verify = sink.verifier(BLOB)
    judged: list[bytes] = []

    def judge() -> None:
        judged.append(bytes(sink.data))
        verify()

    with make_client(mirrored(fault_registry, second_registry)) as client:
        client.download(reference_to(fault_registry.authority), BLOB, sink, verify=judge)

    assert [OTHER, DATA] == judged


def test_why_each_mirror_failed_is_told(fault_registry: FaultRegistry, second_registry: FaultRegistry) -> None:
    """When the registry itself has nothing either."""
    with make_client(mirrored(fault_registry, second_registry)) as client, pytest.raises(RegistryError) as caught:
        fetch(client, fault_registry)

    assert 404 == caught.value.status
    assert f"mirror http://{second_registry.authority}" in caught.value.__notes__[0]


def test_a_dead_mirror_is_not_asked_again_for_a_while(fault_registry: FaultRegistry) -> None:
    """Only what is alive is worth asking for every blob."""
    fault_registry.add_blob(DATA)
    registries = Registries(mirrors={fault_registry.authority: ["http://127.0.0.1:1"]})
    pauses = Pauses()

    with make_client(registries, pauses=pauses) as client:
        for _ in range(3):
            assert DATA == bytes(fetch(client, fault_registry).data)

    assert 1 == len(pauses)
