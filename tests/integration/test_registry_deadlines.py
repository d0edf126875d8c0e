"""Small documents have to come in time, and who waits for somebody else's token can be stopped.

The clock of these tests goes on by a second whenever it is asked, so each wait for the network takes one.
"""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Callable, Iterator

import pytest

from container_kit._registry.client import Client
from container_kit._registry.credentials import Credentials
from container_kit._registry.retrying import Patience
from container_kit._spec.registries import Registries
from container_kit.errors import ContainerKitError, ImageUnreachableError
from tests.fault_registry import FaultRegistry, Reply, Seen
from tests.fault_registry import fault_registry as fault_registry
from tests.fault_registry import second_registry as second_registry
from tests.registry_clients import MemorySink, Pauses, blob_of, reference_to
from tests.registry_guards import MANIFEST, TOKEN, bearer, guard, token_reply

# A read gives 256 KiB at most: these take more than the three seconds that a document has.
PADDING = "x" * 1_000_000
DATA, BLOB = blob_of(2_000_000)


@pytest.fixture
def client(fault_registry: FaultRegistry) -> Iterator[Client]:
    """Give a client whose clock ticks at each look; the registry has a manifest and a blob."""
    ticks = itertools.count()
    patience = Patience(
        attempts=1, document_timeout=3.0, pause=Pauses(), jitter=lambda: 1.0, monotonic=lambda: float(next(ticks))
    )
    fault_registry.add_manifest("team/app", "1", MANIFEST)
    fault_registry.add_blob(DATA)
    with Client(Registries(), Credentials(explicit={}), patience=patience) as client:
        yield client


def test_a_manifest_has_to_come_in_time(client: Client, fault_registry: FaultRegistry) -> None:
    """However steadily it comes."""
    fault_registry.script("GET", "/manifests/", Reply(body=json.dumps({"padding": PADDING}).encode()))

    with pytest.raises(ImageUnreachableError, match="not all of its answer is there"):
        client.manifest(reference_to(fault_registry.authority))


def test_a_page_of_tags_has_to_come_in_time(client: Client, fault_registry: FaultRegistry) -> None:
    """Each of them."""
    fault_registry.script("GET", "/tags/", Reply(body=json.dumps({"tags": ["a"], "padding": PADDING}).encode()))

    with pytest.raises(ImageUnreachableError, match="not all of its answer is there"):
        list(client.tags(reference_to(fault_registry.authority)))


def test_a_token_has_to_come_in_time(
    client: Client, fault_registry: FaultRegistry, second_registry: FaultRegistry
) -> None:
    """Others may wait for it."""
    guard(fault_registry, f"Bearer {TOKEN}", bearer(f"http://{second_registry.authority}/token"))
    second_registry.script("GET", "/token", token_reply(token=TOKEN, padding=PADDING[:900_000]))

    with pytest.raises(ImageUnreachableError, match="not all of its answer is there"):
        client.manifest(reference_to(fault_registry.authority))


def test_a_blob_may_take_its_time(client: Client, fault_registry: FaultRegistry) -> None:
    """As long as it keeps coming."""
    sink = MemorySink()

    client.download(reference_to(fault_registry.authority), BLOB, sink, verify=sink.verifier(BLOB))

    assert DATA == bytes(sink.data)


# ── tokens that others fetch ─────────────────────────────────────────────────────────────────────


class Asking:
    """A thread that asks for a manifest; `error` is what came of it."""

    def __init__(self, client: Client, registry: FaultRegistry) -> None:
        self.error: ContainerKitError | None = None
        self._client = client
        self._reference = reference_to(registry.authority)
        self._thread = threading.Thread(target=self._work)
        self._thread.start()

    def _work(self) -> None:
        try:
            self._client.manifest(self._reference)
        except ContainerKitError as err:
            self.error = err

    def has_ended(self) -> bool:
        """Wait for the thread, and tell whether it came to an end."""
        self._thread.join(20)
        return not self._thread.is_alive()


def waiting_for(event: threading.Event) -> Callable[[Seen, Reply], Reply]:
    """Return a step that gives a token when an event has come."""

    def step(_: Seen, __: Reply) -> Reply:
        event.wait(60)
        return token_reply(token=TOKEN)

    return step


@pytest.fixture
def patient(fault_registry: FaultRegistry, second_registry: FaultRegistry) -> Iterator[Client]:
    """Give a client that does not give up, of a registry whose tokens another server gives."""
    guard(fault_registry, f"Bearer {TOKEN}", bearer(f"http://{second_registry.authority}/token"))
    fault_registry.add_manifest("team/app", "1", MANIFEST)
    patience = Patience(stall_timeout=60.0, document_timeout=600.0)
    with Client(Registries(), Credentials(explicit={}), patience=patience) as client:
        yield client


def test_who_waits_for_the_token_of_another_can_be_stopped(
    patient: Client, fault_registry: FaultRegistry, second_registry: FaultRegistry
) -> None:
    """The other one goes on, and gets it."""
    given = threading.Event()
    second_registry.script("GET", "/token", waiting_for(given))
    fetching = Asking(patient, fault_registry)
    second_registry.wait_for_requests(1)
    twin = patient.twin()
    waiting = Asking(twin, fault_registry)

    twin.close()
    ended = waiting.has_ended()
    given.set()

    assert ended
    assert "closed" in str(waiting.error)
    assert fetching.has_ended()
    assert fetching.error is None
    assert 1 == len(second_registry.requests)


def test_one_of_several_threads_fetches_the_token(
    patient: Client, fault_registry: FaultRegistry, second_registry: FaultRegistry
) -> None:
    """The others take it from there."""
    given = threading.Event()
    second_registry.script("GET", "/token", waiting_for(given), for_ever=True)
    asking = [Asking(patient, fault_registry) for _ in range(4)]
    second_registry.wait_for_requests(1)

    given.set()

    assert [True] * 4 == [one.has_ended() for one in asking]
    assert [None] * 4 == [one.error for one in asking]
    assert 1 == len(second_registry.requests)
