"""Blobs from a registry that does wrong: every byte is right in the end, or nothing is.

Each test is one line of what registries, proxies and networks do; the registry is tests/fault_registry.py.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count, repeat

import pytest

from container_kit._registry.client import Client
from container_kit.errors import (
    AuthenticationError,
    DigestMismatchError,
    ImageUnreachableError,
    RateLimitedError,
    RegistryError,
)
from tests.fault_registry import FaultRegistry, Reply, Seen, changed, refuse
from tests.fault_registry import fault_registry as fault_registry
from tests.fault_registry import second_registry as second_registry
from tests.registry_blob import BLOB, DATA, OTHER, SIZE, fetch
from tests.registry_blob import client as client
from tests.registry_blob import pauses as pauses
from tests.registry_clients import MemorySink, Pauses, blob_of, make_client, reference_to


def ranges(registry: FaultRegistry) -> list[str]:
    """Return the Range of each request for a blob."""
    return [seen.header("Range") for seen in registry.asked("GET", "/blobs/")]


# ── the connection ends ──────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("at", [0, 1, 65_536, 131_072, 262_144, SIZE - 1])
def test_a_dropped_connection_is_continued_where_it_ended(
    client: Client, fault_registry: FaultRegistry, at: int
) -> None:
    """Nothing that came is asked for again."""
    fault_registry.script("GET", "/blobs/", changed(end_at=at))

    sink = fetch(client, fault_registry)

    assert DATA == bytes(sink.data)
    assert ["", f"bytes={at}-" if at else ""] == ranges(fault_registry)


def test_many_drops_that_each_bring_much_are_endured(client: Client, fault_registry: FaultRegistry) -> None:
    """Attempts count from anew when there was progress, so that a large blob comes over a bad line."""
    data, blob = blob_of(12 << 20, seed=3)
    fault_registry.add_blob(data)
    fault_registry.script("GET", "/blobs/", *[changed(end_at=(1 << 20) + 7)] * 10)
    sink = MemorySink()

    client.download(reference_to(fault_registry.authority), blob, sink, verify=sink.verifier(blob))

    assert data == bytes(sink.data)
    assert 11 == len(ranges(fault_registry))


def test_after_five_attempts_without_progress_it_is_over(
    client: Client, fault_registry: FaultRegistry, pauses: Pauses
) -> None:
    """Pauses double, what came is kept, the error says what happened."""
    fault_registry.script("GET", "/blobs/", changed(end_at=100), for_ever=True)
    sink = MemorySink()

    with pytest.raises(ImageUnreachableError, match=r"ended after 500 of 300000 bytes|connection broke"):
        client.download(reference_to(fault_registry.authority), BLOB, sink)

    assert [0.2, 0.4, 0.8, 1.6] == pauses
    assert DATA[:500] == bytes(sink.data)


def test_a_truncated_body_without_a_length_is_noticed(client: Client, fault_registry: FaultRegistry) -> None:
    """HTTP/1.0 ends a body with the connection: only the size tells that something is missing."""
    fault_registry.script("GET", "/blobs/", changed(version="HTTP/1.0", length=-1, end_at=1000))

    assert DATA == bytes(fetch(client, fault_registry).data)
    assert ["", "bytes=1000-"] == ranges(fault_registry)


@pytest.mark.parametrize(
    "form", [{"version": "HTTP/1.0", "length": -1}, {"chunked": True}, {"chunked": True, "piece": 7000}]
)
def test_bodies_of_every_form_are_read(client: Client, fault_registry: FaultRegistry, form: dict[str, object]) -> None:
    """With a length, in chunks, or until the connection ends."""
    fault_registry.script("GET", "/blobs/", changed(**form))

    assert DATA == bytes(fetch(client, fault_registry).data)


def test_a_stall_is_given_up_and_continued(fault_registry: FaultRegistry) -> None:
    """A connection that stays open and brings nothing is a broken one."""
    fault_registry.add_blob(DATA)
    fault_registry.script("GET", "/blobs/", changed(stall_at=70_000))

    with make_client(stall_timeout=0.2) as client:
        sink = fetch(client, fault_registry)

    assert DATA == bytes(sink.data)
    assert ["", "bytes=70000-"] == ranges(fault_registry)


def test_a_trickle_is_a_stall(fault_registry: FaultRegistry) -> None:
    """One byte now and then would keep a timeout between bytes from ever passing."""
    fault_registry.add_blob(DATA)
    fault_registry.script("GET", "/blobs/", changed(body=repeat(b"x"), length=SIZE), for_ever=True)
    clock = count(step=10)

    with (
        make_client(monotonic=lambda: next(clock), stall_timeout=30) as client,
        pytest.raises(ImageUnreachableError) as caught,
    ):
        fetch(client, fault_registry)

    assert "bytes came in" in caught.value.attempts[0]


# ── ranges ───────────────────────────────────────────────────────────────────────────────────────


def test_a_part_from_an_earlier_pull_is_continued(client: Client, fault_registry: FaultRegistry) -> None:
    """The sink says from where on."""
    sink = fetch(client, fault_registry, DATA[:123_456])

    assert DATA == bytes(sink.data)
    assert ["bytes=123456-"] == ranges(fault_registry)


def test_what_is_complete_is_not_asked_for(client: Client, fault_registry: FaultRegistry) -> None:
    """All bytes are there: they are verified, that is all."""
    fetch(client, fault_registry, DATA)

    assert [] == fault_registry.requests


def wrong_range(value: str) -> Callable[[Seen, Reply], Reply]:
    """Return a step that sends the right bytes with another Content-Range."""

    def step(_: Seen, reply: Reply) -> Reply:
        return reply.with_header("Content-Range", value)

    return step


@pytest.mark.parametrize(
    "step",
    [
        pytest.param(Reply(body=DATA), id="range ignored"),
        pytest.param(wrong_range(f"bytes 0-{SIZE - 1}/{SIZE}"), id="another beginning"),
        pytest.param(wrong_range(f"bytes 1000-{SIZE}/{SIZE + 1}"), id="another total"),
        pytest.param(wrong_range("bytes 1000-2000/300"), id="nonsense"),
        pytest.param(wrong_range("apples 1000-299999/300000"), id="another unit"),
        pytest.param(wrong_range(""), id="empty"),
        pytest.param(Reply(status=206, body=DATA[1000:]), id="no Content-Range"),
        pytest.param(Reply(status=416, headers=(("Content-Range", "bytes */5"),)), id="not satisfiable"),
    ],
)
def test_a_bad_answer_to_a_range_means_to_begin_again(
    client: Client, fault_registry: FaultRegistry, step: Reply
) -> None:
    """Bytes are never spliced unless the server says that they continue what is there."""
    fault_registry.script("GET", "/blobs/", step)

    sink = fetch(client, fault_registry, DATA[:1000])

    assert DATA == bytes(sink.data)
    assert 1 == sink.resets


def test_a_beginning_that_was_wrong_is_fetched_again(client: Client, fault_registry: FaultRegistry) -> None:
    """What an earlier attempt left may be the fault: once more, in one piece."""
    sink = fetch(client, fault_registry, OTHER[:1000])

    assert DATA == bytes(sink.data)
    assert ["bytes=1000-", ""] == ranges(fault_registry)


def test_content_that_changes_between_attempts_is_not_mixed(client: Client, fault_registry: FaultRegistry) -> None:
    """The first half of one version, the second of another: the digest tells, and all of it is fetched again."""
    fault_registry.script("GET", "/blobs/", changed(body=OTHER, end_at=150_000))

    sink = fetch(client, fault_registry)

    assert DATA == bytes(sink.data)
    assert ["", "bytes=150000-", ""] == ranges(fault_registry)


def test_a_part_that_nobody_asked_for_is_refused(client: Client, fault_registry: FaultRegistry) -> None:
    """206 without a Range in the request."""
    step = Reply(status=206, headers=(("Content-Range", f"bytes 5-{SIZE - 1}/{SIZE}"),), body=DATA[5:])
    fault_registry.script("GET", "/blobs/", step, for_ever=True)

    with pytest.raises(RegistryError, match="part of the blob"):
        fetch(client, fault_registry)


# ── wrong bytes ──────────────────────────────────────────────────────────────────────────────────


def test_wrong_bytes_are_an_error_and_not_asked_for_again(client: Client, fault_registry: FaultRegistry) -> None:
    """The registry has something else: another attempt would bring the same."""
    fault_registry.script("GET", "/blobs/", changed(body=OTHER), for_ever=True)

    with pytest.raises(DigestMismatchError):
        fetch(client, fault_registry)

    assert 1 == len(ranges(fault_registry))


@pytest.mark.parametrize("size", [SIZE - 1, SIZE + 1, 0])
def test_a_wrong_length_is_refused_before_a_byte_is_taken(
    client: Client, fault_registry: FaultRegistry, size: int
) -> None:
    """The descriptor says how many bytes there are."""
    fault_registry.script("GET", "/blobs/", changed(body=(DATA + b"x")[:size]), for_ever=True)
    sink = MemorySink()

    with pytest.raises(RegistryError, match="where the blob should have 300000"):
        client.download(reference_to(fault_registry.authority), BLOB, sink)

    assert 0 == sink.offset


@pytest.mark.parametrize("form", [{"chunked": True}, {"length": -1}])
def test_an_endless_body_is_cut_at_the_promised_size(
    client: Client, fault_registry: FaultRegistry, form: dict[str, object]
) -> None:
    """Never more than the descriptor's size is taken."""
    fault_registry.script("GET", "/blobs/", changed(body=repeat(bytes(1000)), **form), for_ever=True)
    sink = MemorySink()

    with pytest.raises(RegistryError, match="more than the 300000 bytes"):
        client.download(reference_to(fault_registry.authority), BLOB, sink)

    assert SIZE >= sink.offset


def test_an_encoded_blob_is_refused(client: Client, fault_registry: FaultRegistry) -> None:
    """A proxy that compresses on its own makes other bytes; they are not decoded."""
    import gzip

    reply = changed(body=gzip.compress(DATA, mtime=0), headers=(("Content-Encoding", "gzip"),))
    fault_registry.script("GET", "/blobs/", reply, for_ever=True)

    with pytest.raises(RegistryError, match="where the blob should have"):
        fetch(client, fault_registry)

    assert "identity" == fault_registry.requests[0].header("Accept-Encoding")


def test_a_stored_encoding_label_does_not_matter(client: Client, fault_registry: FaultRegistry) -> None:
    """Object stores label layers `Content-Encoding: gzip` because they are; the bytes are what counts."""
    fault_registry.script("GET", "/blobs/", lambda _, reply: reply.with_header("Content-Encoding", "gzip"))

    assert DATA == bytes(fetch(client, fault_registry).data)


# ── refusals ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_a_passing_refusal_is_tried_again(
    client: Client, fault_registry: FaultRegistry, pauses: Pauses, status: int
) -> None:
    """The server is busy or ill, now."""
    fault_registry.script("GET", "/blobs/", refuse(status), refuse(status))

    assert DATA == bytes(fetch(client, fault_registry).data)
    assert [0.2, 0.4] == pauses


@pytest.mark.parametrize(
    ("status", "error"), [(405, RegistryError), (403, AuthenticationError), (404, RegistryError), (501, RegistryError)]
)
def test_a_lasting_refusal_is_not(
    client: Client, fault_registry: FaultRegistry, status: int, error: type[RegistryError]
) -> None:
    """Another attempt would end alike. The error says status, code, words, and where."""
    fault_registry.script("GET", "/blobs/", refuse(status, "DENIED", "not for you"), for_ever=True)

    with pytest.raises(error) as caught:
        fetch(client, fault_registry)

    assert (status, "DENIED", "not for you") == (caught.value.status, caught.value.code, caught.value.reason)
    assert f"http://{fault_registry.authority}/v2/team/app/blobs/{BLOB.digest}" == caught.value.url
    assert 1 == len(ranges(fault_registry))


@pytest.mark.parametrize(("said", "waited"), [("7", 7.0), ("3600", 60.0), ("0", 0.0), ("soon", 0.2)])
@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_honoured_up_to_a_minute(
    client: Client, fault_registry: FaultRegistry, pauses: Pauses, status: int, said: str, waited: float
) -> None:
    """In place of our own pause."""
    fault_registry.script("GET", "/blobs/", refuse(status, Retry_After=said))

    fetch(client, fault_registry)

    assert [waited] == pauses


def test_a_registry_that_limits_for_ever_is_an_error_that_says_so(
    client: Client, fault_registry: FaultRegistry
) -> None:
    """After five attempts."""
    fault_registry.script("GET", "/blobs/", refuse(429, "TOOMANYREQUESTS", Retry_After="5"), for_ever=True)

    with pytest.raises(RateLimitedError) as caught:
        fetch(client, fault_registry)

    assert (429, 5.0, 5) == (caught.value.status, caught.value.retry_after, len(ranges(fault_registry)))


# ── the sink ─────────────────────────────────────────────────────────────────────────────────────


def test_what_the_sink_raises_ends_the_download(client: Client, fault_registry: FaultRegistry) -> None:
    """It is the caller's failure: no other attempt, the error as it is."""

    class Full(MemorySink):
        def write(self, chunk: bytes) -> None:
            raise MemoryError(len(chunk))

    with pytest.raises(MemoryError):
        client.download(reference_to(fault_registry.authority), BLOB, Full())

    assert 1 == len(fault_registry.requests)


def test_progress_is_told_as_what_is_there(client: Client, fault_registry: FaultRegistry) -> None:
    """Rising to the size, from where an earlier attempt ended."""
    told: list[int] = []
    sink = MemorySink(DATA[:1000])

    client.download(reference_to(fault_registry.authority), BLOB, sink, told.append)

    assert sorted(told) == told
    assert told[0] > 1000
    assert told[-1] == SIZE


def test_an_empty_blob_is_no_request(client: Client, fault_registry: FaultRegistry) -> None:
    """There is nothing to ask for."""
    _, blob = blob_of(0)
    sink = MemorySink()

    client.download(reference_to(fault_registry.authority), blob, sink, verify=sink.verifier(blob))

    assert [] == fault_registry.requests
