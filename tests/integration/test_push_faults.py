"""Registries that fail in the middle of a push: it ends well, or with a typed error, no tag, and nothing left here."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

import container_kit as ck
from container_kit._images.push import push
from container_kit._registry.retrying import Patience
from container_kit._spec.digest import Digest
from container_kit._store.index_file import Entry
from container_kit.errors import AuthenticationError, RateLimitedError, RegistryError
from tests.conftest import LedgerWatch
from tests.fault_registry import FaultRegistry, Reply, Seen, refuse
from tests.image_places import Place, open_client
from tests.small_images import make_image, make_tar, noise
from tests.stores import put_image

IMAGE = make_image(make_tar({"small": b"x"}), make_tar({"large": noise(900_000)}))
PLAIN = make_image(make_tar({"large": noise(900_000)}), compression="none")
PATIENCE = Patience(pause=lambda _: None, stall_timeout=20)


@pytest.fixture
def registry(ledger: LedgerWatch) -> Iterator[FaultRegistry]:
    """Give an empty registry."""
    with FaultRegistry() as registry:
        yield registry


@pytest.fixture
def place(engine: ck.Engine) -> Iterator[Place]:
    """Give an empty store and a client that does not wait before it tries again."""
    with open_client(patience=PATIENCE) as client:
        yield Place(store=engine.site.images, client=client)


def send(place: Place, registry: FaultRegistry, entry: Entry, chunk_bytes: int | None = None) -> Digest:
    """Push an image."""
    reference = place.reference(f"{registry.authority}/box:1")
    return push(place.store, place.client, entry, reference, chunk_bytes=chunk_bytes)


def check_there(registry: FaultRegistry) -> None:
    """The registry has the image."""
    assert (IMAGE.data, IMAGE.media_type) == registry.manifests["box@1"]
    assert dict(IMAGE.blobs) == registry.blobs


def check_nothing(place: Place, registry: FaultRegistry) -> None:
    """There is no tag, and nothing runs or lies about here."""
    assert "box@1" not in registry.manifests
    assert [] == place.partials()
    assert [(0,)] == place.store.database.query("SELECT count(*) FROM leases")
    assert [] == [thread.name for thread in threading.enumerate() if thread.name.startswith("ck-")]


ENDPOINTS = {
    "the question": ("HEAD", "/blobs/sha256"),
    "the beginning": ("POST", "/blobs/uploads/"),
    "the content": ("PUT", "/blobs/uploads/"),
    "the manifest": ("PUT", "/manifests/"),
}


@pytest.mark.parametrize("endpoint", ENDPOINTS)
@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_passing_failure_is_passed_over(registry: FaultRegistry, place: Place, status: int, endpoint: str) -> None:
    """It is asked again."""
    registry.script(*ENDPOINTS[endpoint], refuse(status), refuse(status))

    send(place, registry, put_image(place.store, IMAGE))

    check_there(registry)


@pytest.mark.parametrize("endpoint", ENDPOINTS)
@pytest.mark.parametrize(
    ("status", "error"),
    [
        (401, AuthenticationError),
        (403, RegistryError),
        (413, RegistryError),
        (429, RateLimitedError),
        (500, RegistryError),
    ],
)
def test_a_lasting_failure_is_told(
    registry: FaultRegistry, place: Place, status: int, error: type[RegistryError], endpoint: str
) -> None:
    """The error is of the right kind; the registry never gets a tag."""
    registry.script(*ENDPOINTS[endpoint], refuse(status), for_ever=True)

    with pytest.raises(error) as caught:
        send(place, registry, put_image(place.store, IMAGE))

    assert status == caught.value.status
    assert [f"while pushing {registry.authority}/box:1"] == caught.value.__notes__
    check_nothing(place, registry)


def test_chunks_are_gone_on_with(registry: FaultRegistry, place: Place) -> None:
    """A chunk that was refused is sent again, those before it are not."""
    registry.script("PATCH", "/blobs/uploads/", lambda _, reply: reply, refuse(503))

    send(place, registry, put_image(place.store, IMAGE), chunk_bytes=300_000)

    check_there(registry)


def test_a_failure_leaves_no_compressed_layer_behind(registry: FaultRegistry, place: Place) -> None:
    """What was made for the push is gone with it."""
    registry.script("PUT", "/blobs/uploads/", refuse(403), for_ever=True)

    with pytest.raises(RegistryError):
        send(place, registry, put_image(place.store, PLAIN))

    check_nothing(place, registry)


def test_the_first_failure_ends_what_stalls(registry: FaultRegistry, engine: ck.Engine) -> None:
    """One blob is refused while the answer to another one does not come."""
    stalled = threading.Event()

    def stalls(seen: Seen, reply: Reply) -> Reply:
        stalled.set()
        return reply.evolve(body=b"x" * 10, stall_at=1)

    def refused(seen: Seen, reply: Reply) -> Reply:
        stalled.wait(20)
        return refuse(403)

    registry.script("PUT", f"digest={IMAGE.layers[1]}", stalls)
    registry.script("PUT", f"digest={IMAGE.layers[0]}", refused)
    with open_client(patience=Patience(stall_timeout=60)) as client:
        place = Place(store=engine.site.images, client=client)
        entry = put_image(place.store, IMAGE)
        began = time.monotonic()

        with pytest.raises(RegistryError) as caught:
            send(place, registry, entry)

        assert 403 == caught.value.status
        assert time.monotonic() - began < 20
        check_nothing(place, registry)
