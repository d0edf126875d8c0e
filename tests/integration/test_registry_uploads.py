"""Uploads to registries that lose connections and sessions, and what is never sent twice."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import BinaryIO

import pytest

from container_kit._registry.client import Client
from container_kit.errors import ImageError, ImageUnreachableError, InvalidSpecError, RegistryError
from tests.fault_registry import FaultRegistry, Reply, changed, redirect, refuse
from tests.fault_registry import fault_registry as fault_registry
from tests.registry_clients import Pauses, blob_of, make_client, opener, reference_to

SIZE = 300_000
DATA, BLOB = blob_of(SIZE)


@pytest.fixture
def pauses() -> Pauses:
    """Give the pauses that the client wanted to make."""
    return Pauses()


@pytest.fixture
def client(pauses: Pauses) -> Iterator[Client]:
    """Give a client."""
    with make_client(pauses=pauses) as client:
        yield client


def send(client: Client, registry: FaultRegistry, chunk_bytes: int | None = None) -> None:
    """Upload the blob."""
    client.upload(reference_to(registry.authority), BLOB, opener(DATA), chunk_bytes=chunk_bytes)


def lines(registry: FaultRegistry) -> list[str]:
    """Return method and size of each request."""
    return [f"{seen.method} {len(seen.body)}" for seen in registry.requests]


@pytest.mark.parametrize(
    ("chunk_bytes", "expected"),
    [
        (None, ["POST 0", f"PUT {SIZE}"]),
        (SIZE, ["POST 0", f"PATCH {SIZE}", "PUT 0"]),
        (120_000, ["POST 0", "PATCH 120000", "PATCH 120000", "PATCH 60000", "PUT 0"]),
    ],
)
def test_a_blob_is_sent_whole_or_in_chunks(
    client: Client, fault_registry: FaultRegistry, chunk_bytes: int | None, expected: list[str]
) -> None:
    """As the caller wants it; chunks say which part they are."""
    send(client, fault_registry, chunk_bytes)

    assert DATA == fault_registry.blobs[BLOB.digest]
    assert expected == lines(fault_registry)


def test_chunks_say_where_they_belong(client: Client, fault_registry: FaultRegistry) -> None:
    """Content-Range, in the registry's own form: no unit."""
    send(client, fault_registry, 200_000)

    assert ["0-199999", "200000-299999"] == [seen.header("Content-Range") for seen in fault_registry.asked("PATCH")]


def test_a_lost_chunk_is_sent_again_after_asking(client: Client, fault_registry: FaultRegistry) -> None:
    """The registry took it, the answer was lost: it is not sent twice."""

    def lost(_: object, reply: Reply) -> Reply:
        return reply.evolve(status=503)

    fault_registry.script("PATCH", "/uploads/", lost)

    send(client, fault_registry, 200_000)

    assert DATA == fault_registry.blobs[BLOB.digest]
    assert ["POST 0", "PATCH 200000", "GET 0", "PATCH 100000", "PUT 0"] == lines(fault_registry)


def test_a_single_byte_whose_answer_is_lost_is_not_sent_twice(client: Client, fault_registry: FaultRegistry) -> None:
    """`Range: 0-0` does not tell whether it is there: the upload begins anew."""
    data, blob = blob_of(1)
    fault_registry.script("PATCH", "/uploads/", changed(status=503))

    client.upload(reference_to(fault_registry.authority), blob, opener(data), chunk_bytes=1)

    assert data == fault_registry.blobs[blob.digest]


def test_an_upload_that_the_registry_forgot_begins_anew(client: Client, fault_registry: FaultRegistry) -> None:
    """A session may be gone."""
    fault_registry.script("PATCH", "/uploads/", refuse(500))
    fault_registry.script("GET", "/uploads/", refuse(404, "BLOB_UPLOAD_UNKNOWN"))

    send(client, fault_registry, 200_000)

    assert DATA == fault_registry.blobs[BLOB.digest]
    assert 2 == len(fault_registry.asked("POST"))


def test_an_upload_in_one_piece_that_fails_is_repeated(
    client: Client, fault_registry: FaultRegistry, pauses: Pauses
) -> None:
    """With its content from the beginning."""
    fault_registry.script("PUT", "/uploads/", refuse(502), refuse(429, Retry_After="3"))

    send(client, fault_registry)

    assert DATA == fault_registry.blobs[BLOB.digest]
    assert [0.2, 3.0] == pauses


def test_attempts_of_an_upload_end(client: Client, fault_registry: FaultRegistry) -> None:
    """After five."""
    fault_registry.script("POST", "/uploads/", refuse(503), for_ever=True)

    with pytest.raises(RegistryError) as caught:
        send(client, fault_registry)

    assert (503, 5) == (caught.value.status, len(fault_registry.requests))


@pytest.mark.parametrize("status", [400, 403, 404, 413])
def test_a_refusal_is_not_repeated(client: Client, fault_registry: FaultRegistry, status: int) -> None:
    """Too large, not allowed: another attempt ends alike."""
    fault_registry.script("PUT", "/uploads/", refuse(status), for_ever=True)

    with pytest.raises(RegistryError) as caught:
        send(client, fault_registry)

    assert status == caught.value.status
    assert 1 == len(fault_registry.asked("PUT"))


def test_content_that_ends_early_is_its_own_error(client: Client, fault_registry: FaultRegistry) -> None:
    """The file is at fault, not the connection: nothing is tried again."""
    with pytest.raises(ImageError, match="ends after 1000 of 300000 bytes"):
        client.upload(reference_to(fault_registry.authority), BLOB, opener(DATA[:1000]))

    assert {} == fault_registry.blobs


def test_what_reading_the_content_raises_comes_out(client: Client, fault_registry: FaultRegistry) -> None:
    """A caller that gives up, a disk that fails."""

    class Failing(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            raise OSError(5, f"disk on fire at {size}")

    def open_content(offset: int) -> BinaryIO:
        return Failing()

    with pytest.raises(OSError, match="disk on fire"):
        client.upload(reference_to(fault_registry.authority), BLOB, open_content)


def test_a_redirected_upload_keeps_method_and_content(client: Client, fault_registry: FaultRegistry) -> None:
    """307 and 308 do; the content is made again for it."""
    there = f"/v2/team/app/blobs/uploads/session0?digest={BLOB.digest}"
    fault_registry.script("PUT", "/uploads/", redirect(there, 307))

    send(client, fault_registry)

    assert DATA == fault_registry.blobs[BLOB.digest]


@pytest.mark.parametrize("location", [None, "http://127.0.0.1:x/", "ftp://127.0.0.1/"])
def test_a_session_without_a_place_is_an_error(
    client: Client, fault_registry: FaultRegistry, location: str | None
) -> None:
    """There is nowhere to upload to."""
    headers = () if location is None else (("Location", location),)
    fault_registry.script("POST", "/uploads/", Reply(status=202, headers=headers), for_ever=True)

    with pytest.raises(RegistryError):
        send(client, fault_registry)


def test_progress_is_told_as_bytes_sent(client: Client, fault_registry: FaultRegistry) -> None:
    """Up to the size."""
    told: list[int] = []

    client.upload(reference_to(fault_registry.authority), BLOB, opener(DATA), chunk_bytes=100_000, progress=told.append)

    assert sorted(told) == told
    assert SIZE == told[-1]


@pytest.mark.parametrize("size", [0, 1])
@pytest.mark.parametrize("chunk_bytes", [None, 1])
def test_the_smallest_blobs_can_be_sent(
    client: Client, fault_registry: FaultRegistry, size: int, chunk_bytes: int | None
) -> None:
    """Nothing, and one byte: where `Range: 0-0` means both."""
    data, blob = blob_of(size)

    client.upload(reference_to(fault_registry.authority), blob, opener(data), chunk_bytes=chunk_bytes)

    assert data == fault_registry.blobs[blob.digest]


def test_chunks_have_a_size(client: Client, fault_registry: FaultRegistry) -> None:
    """At least a byte."""
    with pytest.raises(InvalidSpecError):
        send(client, fault_registry, 0)


def test_a_mount_that_opens_a_session_instead_is_cancelled(client: Client, fault_registry: FaultRegistry) -> None:
    """202: the registry wants the content; whoever uploads begins a session of its own."""
    reference = reference_to(fault_registry.authority)

    mounted = client.mount_blob(reference, BLOB.digest, "team/base")

    assert not mounted
    assert {} == fault_registry.uploads
    assert f"/v2/team/app/blobs/uploads/?mount={BLOB.digest}&from=team%2Fbase" == fault_registry.requests[0].path


@pytest.mark.parametrize(("reply", "mounted"), [(Reply(status=201), True), (refuse(404), False), (refuse(403), False)])
def test_a_mount_succeeds_or_does_not(
    client: Client, fault_registry: FaultRegistry, reply: Reply, mounted: bool
) -> None:
    """Not being allowed to read the other repository means to upload."""
    fault_registry.script("POST", "mount=", reply)

    assert mounted == client.mount_blob(reference_to(fault_registry.authority), BLOB.digest, "team/base")


def test_nobody_there_is_told_with_each_attempt(client: Client) -> None:
    """A port where nothing listens."""
    with pytest.raises(ImageUnreachableError) as caught:
        client.has_blob(reference_to("127.0.0.1:1"), BLOB.digest)

    assert caught.value.attempts[0].startswith("https://127.0.0.1:1: ")
    assert isinstance(caught.value, ConnectionError)


def test_an_answer_during_the_content_is_read(client: Client, fault_registry: FaultRegistry) -> None:
    """A registry may refuse before it has taken all: what it says counts, not that the connection broke."""
    fault_registry.script("PUT", "/uploads/", changed(status=413), for_ever=True)

    with pytest.raises(RegistryError) as caught:
        send(client, fault_registry)

    assert 413 == caught.value.status
