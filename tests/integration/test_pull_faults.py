"""Registries that fail in the middle of a pull: it ends well, or with a typed error and nothing half there.

Rows F15 to F18 of the fault model: connections that break, resumption that does not work, content that is wrong,
refusals at each endpoint.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import container_kit as ck
from container_kit._images.pull import pull
from container_kit._registry.retrying import Patience
from container_kit._spec.registries import Registries
from container_kit._store.index_file import Entry
from container_kit.errors import (
    AuthenticationError,
    DigestMismatchError,
    ImageError,
    ImageUnreachableError,
    ManifestUnknownError,
    RateLimitedError,
    RegistryError,
)
from tests.conftest import LedgerWatch
from tests.fault_registry import FaultRegistry, Reply, Seen, Step, changed, refuse
from tests.image_places import Place, open_client
from tests.small_images import INDEX, SmallImage, digest_of, make_image, make_tar, noise

SMALL = make_tar({"etc/": b"", "etc/os-release": b"ID=small\n"})
LARGE = make_tar({"large": noise(900_000)})
IMAGE = make_image(SMALL, LARGE)
DIGEST = IMAGE.layers[1]
BLOB = IMAGE.blobs[DIGEST]
HERE = f"/blobs/{DIGEST}"
PATIENCE = Patience(pause=lambda _: None, stall_timeout=20)


@pytest.fixture
def registry(ledger: LedgerWatch) -> Iterator[FaultRegistry]:
    """Give a registry with one image, `box:1`."""
    with FaultRegistry() as registry:
        fill(registry, IMAGE)
        yield registry


def fill(registry: FaultRegistry, image: SmallImage, tag: str = "1") -> None:
    """Put an image into a registry."""
    for data in image.blobs.values():
        registry.add_blob(data)
    for data, media_type in image.documents:
        registry.add_manifest("box", tag if data == image.data else digest_of(data), data, media_type)


@pytest.fixture
def place(engine: ck.Engine) -> Iterator[Place]:
    """Give an empty store and a client that does not wait before it tries again."""
    with open_client(patience=PATIENCE) as client:
        yield Place(store=engine.site.images, client=client)


def have(place: Place, registry: FaultRegistry) -> Entry:
    """Pull the image."""
    return pull(place.store, place.client, place.reference(f"{registry.authority}/box:1"))


def check_image(place: Place, registry: FaultRegistry) -> None:
    """The image is there, complete and unpacked."""
    assert [f"{registry.authority}/box:1"] == place.names()
    assert {*IMAGE.blobs, IMAGE.digest} == place.blobs()
    assert noise(900_000) == place.file(digest_of(LARGE), "large")
    assert [] == place.partials()


def check_nothing(place: Place) -> None:
    """No name, no lease, no wrong blob; what threads there were have ended."""
    assert [] == place.names()
    assert place.blobs() <= {*IMAGE.blobs, IMAGE.digest}
    assert [(0,)] == place.store.database.query("SELECT count(*) FROM leases")
    assert [] == [thread.name for thread in threading.enumerate() if thread.name.startswith("ck-")]
    assert [] == [name for name in place.layers() if name.startswith(".")]


def fetched_from(registry: FaultRegistry) -> list[str]:
    """Return where each download of the large layer began."""
    return [seen.header("Range") for seen in registry.asked("GET", HERE)]


# ── F15: connections ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("at", [0, 1, *range(65536, len(BLOB), 131072), len(BLOB) - 1])
def test_a_connection_that_breaks_is_gone_on_with(registry: FaultRegistry, place: Place, at: int) -> None:
    """The second request asks for what is missing, and nothing comes twice."""
    registry.script("GET", HERE, changed(end_at=at))

    have(place, registry)

    check_image(place, registry)
    assert ["", f"bytes={at}-" if at else ""] == fetched_from(registry)


def test_a_connection_that_breaks_again_and_again(registry: FaultRegistry, place: Place) -> None:
    """As long as each attempt brings much, there is another one."""
    registry.script("GET", HERE, *[changed(end_at=200_000)] * 4)

    have(place, registry)

    check_image(place, registry)


def test_a_stall_is_gone_on_with(registry: FaultRegistry, engine: ck.Engine) -> None:
    """A connection over which nothing comes any more is given up."""
    registry.script("GET", HERE, changed(stall_at=300_000))

    with open_client(patience=Patience(pause=lambda _: None, stall_timeout=0.4)) as client:
        place = Place(store=engine.site.images, client=client)
        have(place, registry)

    check_image(place, registry)
    assert ["", "bytes=300000-"] == fetched_from(registry)


def test_what_came_before_a_failure_is_there_for_the_next_pull(registry: FaultRegistry, place: Place) -> None:
    """The first pull fails for good, having had nearly everything; the second fetches the rest, not all."""
    attempts = PATIENCE.attempts
    registry.script("GET", HERE, changed(end_at=850_000), *[refuse(503)] * attempts)
    with pytest.raises(RegistryError):
        have(place, registry)
    check_nothing(place)
    assert 1 == len(place.partials())
    before = registry.sent

    have(place, registry)

    check_image(place, registry)
    assert registry.sent - before < len(BLOB) // 10
    assert "bytes=850000-" == fetched_from(registry)[-1]


def test_a_dead_registry_is_unreachable(place: Place) -> None:
    """The error says whom we asked."""
    with FaultRegistry() as registry:
        authority = registry.authority

    with pytest.raises(ImageUnreachableError) as caught:
        pull(place.store, place.client, place.reference(f"{authority}/box:1"))

    assert any(authority in attempt for attempt in caught.value.attempts)
    check_nothing(place)


def test_the_first_failure_ends_what_stalls(registry: FaultRegistry, engine: ck.Engine) -> None:
    """One layer is not there, another one stalls: nobody waits for it."""
    stalled = threading.Event()
    registry.script("GET", HERE, changed(stall_at=1000, at_byte=(1000, stalled.set)))

    def missing(seen: Seen, reply: Reply) -> Reply:
        stalled.wait(20)
        return refuse(404)

    registry.script("GET", f"/blobs/{IMAGE.layers[0]}", missing)
    with open_client(patience=Patience(stall_timeout=60)) as client:
        place = Place(store=engine.site.images, client=client)
        began = time.monotonic()

        with pytest.raises(RegistryError) as caught:
            have(place, registry)

        assert 404 == caught.value.status
        assert time.monotonic() - began < 20
        check_nothing(place)


def test_the_first_failure_ends_a_pause(registry: FaultRegistry, engine: ck.Engine) -> None:
    """One layer is to be asked for again in a minute: nobody waits for that either."""
    told = threading.Event()

    def later(seen: Seen, reply: Reply) -> Reply:
        told.set()
        return refuse(429, Retry_After="60")

    def missing(seen: Seen, reply: Reply) -> Reply:
        told.wait(20)
        return refuse(404)

    registry.script("GET", HERE, later)
    registry.script("GET", f"/blobs/{IMAGE.layers[0]}", missing)
    with open_client() as client:
        place = Place(store=engine.site.images, client=client)
        began = time.monotonic()

        with pytest.raises(RegistryError) as caught:
            have(place, registry)

        assert 404 == caught.value.status
        assert time.monotonic() - began < 20
        check_nothing(place)


# ── F16: resumption ──────────────────────────────────────────────────────────────────────────────


def wrong_beginning(seen: Seen, reply: Reply) -> Reply:
    """Send other bytes than the blob's, and break off."""
    return reply.evolve(body=bytes(len(BLOB)), end_at=400_000)


def wrong_range(seen: Seen, reply: Reply) -> Reply:
    """Answer for another range than was asked for."""
    return reply.with_header("Content-Range", f"bytes 0-{len(BLOB) - 1}/{len(BLOB)}").evolve(body=BLOB)


RESUMPTIONS: dict[str, list[Step]] = {
    "ranges are ignored": [changed(end_at=400_000), Reply(body=BLOB)],
    "another range comes": [changed(end_at=400_000), wrong_range],
    "another range is announced": [
        changed(end_at=400_000),
        lambda _, reply: reply.with_header("Content-Range", f"bytes 7-{len(BLOB) - 1}/{len(BLOB)}"),
    ],
    "no range is announced": [changed(end_at=400_000), lambda _, reply: reply.evolve(headers=())],
    "the range cannot be": [changed(end_at=400_000), refuse(416)],
    "the beginning was wrong": [wrong_beginning],
    "all of it was wrong after a break": [
        changed(end_at=400_000),
        lambda _, reply: reply.evolve(body=bytes(len(BLOB) - 400_000)),
    ],
}


@pytest.mark.parametrize("what", RESUMPTIONS)
def test_wrong_bytes_are_never_joined_to_right_ones(registry: FaultRegistry, place: Place, what: str) -> None:
    """Where a download cannot be gone on with it begins again, also for what unpacks it meanwhile."""
    registry.script("GET", HERE, *RESUMPTIONS[what])

    have(place, registry)

    check_image(place, registry)


def test_a_damaged_partial_costs_one_download(registry: FaultRegistry, place: Place) -> None:
    """What an earlier process left need not be right."""
    registry.script("GET", HERE, changed(end_at=850_000), *[refuse(503)] * PATIENCE.attempts)
    with pytest.raises(RegistryError):
        have(place, registry)
    (partial,) = (Path(place.store.home.ingest, name) for name in place.partials())
    partial.write_bytes(bytes(850_000))

    have(place, registry)

    check_image(place, registry)


# ── F17: content ─────────────────────────────────────────────────────────────────────────────────


def flipped(data: bytes) -> bytes:
    """Return bytes with one of them changed in the middle."""
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


WRONG: dict[str, Callable[[Seen, Reply], Reply]] = {
    "one byte": lambda _, reply: reply.evolve(body=flipped(as_bytes(reply))),
    "shorter": lambda _, reply: reply.evolve(body=as_bytes(reply)[:-1]),
    "shorter than it says": lambda _, reply: reply.evolve(body=as_bytes(reply)[:-1], length=-1),
    "longer": lambda _, reply: reply.evolve(body=as_bytes(reply) + b"x"),
    "longer, without a length": lambda _, reply: reply.evolve(body=as_bytes(reply) + b"x", length=-1),
    "empty": lambda _, reply: reply.evolve(body=b""),
    "something else": lambda _, reply: reply.evolve(body=b"x" * len(as_bytes(reply))),
}


def as_bytes(reply: Reply) -> bytes:
    """Return a reply's body."""
    assert isinstance(reply.body, bytes)
    return reply.body


@pytest.mark.parametrize("where", [f"/manifests/{IMAGE.digest}", f"/blobs/{IMAGE.config}", HERE])
@pytest.mark.parametrize("what", WRONG)
def test_wrong_content_is_refused(registry: FaultRegistry, place: Place, what: str, where: str) -> None:
    """However often it comes: nothing of it is kept under a name, and the right one is taken afterwards."""
    registry.script("GET", where, *[WRONG[what]] * 40)

    with pytest.raises((ImageError, RegistryError)) as caught:
        have(place, registry)

    assert [f"while pulling {registry.authority}/box:1"] == caught.value.__notes__[-1:]
    check_nothing(place)
    if what in ("one byte", "something else"):
        assert isinstance(caught.value, DigestMismatchError)


def test_a_pull_after_wrong_content_is_as_good_as_ever(registry: FaultRegistry, place: Place) -> None:
    """Nothing of what was refused is in the way."""
    is_wrong = True
    registry.script(
        "GET", HERE, lambda seen, reply: WRONG["one byte"](seen, reply) if is_wrong else reply, for_ever=True
    )
    with pytest.raises(DigestMismatchError):
        have(place, registry)

    is_wrong = False
    have(place, registry)

    check_image(place, registry)


def test_a_manifest_of_another_type_is_refused(registry: FaultRegistry, place: Place) -> None:
    """The registry says index, the document says manifest."""

    def wrong(seen: Seen, reply: Reply) -> Reply:
        return reply.with_header("Content-Type", INDEX)

    registry.script("HEAD", "/manifests/", wrong, for_ever=True)
    registry.script("GET", "/manifests/", wrong, for_ever=True)

    with pytest.raises(ImageError):
        have(place, registry)

    check_nothing(place)


# ── F18: refusals ────────────────────────────────────────────────────────────────────────────────


ENDPOINTS = {
    "tag": ("HEAD", "/manifests/1"),
    "manifest": ("GET", f"/manifests/{IMAGE.digest}"),
    "config": ("GET", f"/blobs/{IMAGE.config}"),
    "layer": ("GET", HERE),
}


@pytest.mark.parametrize("endpoint", ENDPOINTS)
@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_passing_failure_is_passed_over(registry: FaultRegistry, place: Place, status: int, endpoint: str) -> None:
    """It is asked again."""
    registry.script(*ENDPOINTS[endpoint], refuse(status), refuse(status))

    have(place, registry)

    check_image(place, registry)


@pytest.mark.parametrize("endpoint", ENDPOINTS)
@pytest.mark.parametrize(
    ("status", "error"),
    [
        (401, AuthenticationError),
        (403, RegistryError),
        (404, RegistryError),
        (429, RateLimitedError),
        (500, RegistryError),
    ],
)
def test_a_lasting_failure_is_told(
    registry: FaultRegistry, place: Place, status: int, error: type[RegistryError], endpoint: str
) -> None:
    """The error is of the right kind and names host and status; nothing is half there."""
    registry.script(*ENDPOINTS[endpoint], refuse(status), for_ever=True)
    if endpoint == "tag":  # where HEAD does not help, GET is asked
        registry.script("GET", "/manifests/1", refuse(status), for_ever=True)

    with pytest.raises(error) as caught:
        have(place, registry)

    assert status == caught.value.status
    assert registry.authority in caught.value.url
    if (status, endpoint) == (404, "tag"):
        assert isinstance(caught.value, ManifestUnknownError)
    check_nothing(place)


# ── mirrors ──────────────────────────────────────────────────────────────────────────────────────


def test_a_mirror_that_fails_in_the_middle_is_left_for_the_registry(registry: FaultRegistry, engine: ck.Engine) -> None:
    """What it sent is gone on with, if it was right; what was wrong is not kept."""
    with FaultRegistry() as mirror:
        fill(mirror, IMAGE)
        mirror.script("GET", HERE, changed(end_at=400_000), for_ever=True)
        mirror.script("GET", f"/blobs/{IMAGE.layers[0]}", WRONG["something else"], for_ever=True)
        mirrors = {registry.authority: [f"http://{mirror.authority}"]}
        registries = Registries(mirrors=mirrors, insecure=(mirror.authority,))
        with open_client(registries, patience=PATIENCE) as client:
            place = Place(store=engine.site.images, client=client)

            have(place, registry)

        check_image(place, registry)
        assert 1 == len(fetched_from(registry))
        assert fetched_from(registry)[0].startswith("bytes=")
        assert [] == registry.asked("HEAD")
