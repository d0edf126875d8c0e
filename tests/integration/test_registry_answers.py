"""Manifests, lists and searches from a registry that does wrong: bounded, verified, or refused."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from itertools import count, repeat

import pytest

from container_kit._registry import lists
from container_kit._registry.client import Client
from container_kit._registry.results import SearchResult
from container_kit._spec.digest import digest_of
from container_kit.errors import (
    DigestMismatchError,
    ImageUnreachableError,
    ManifestUnknownError,
    RegistryError,
)
from tests.fault_registry import FaultRegistry, Reply, Seen, changed, refuse
from tests.fault_registry import fault_registry as fault_registry
from tests.registry_clients import MemorySink, blob_of, make_client, reference_to

OCI = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = json.dumps({"schemaVersion": 2, "mediaType": OCI}).encode()
DIGEST = digest_of(MANIFEST)
OTHER = b'{"schemaVersion":2,"other":true}'


@pytest.fixture
def client(fault_registry: FaultRegistry) -> Iterator[Client]:
    """Give a client, and a manifest to the registry."""
    fault_registry.add_manifest("team/app", "1", MANIFEST)
    with make_client() as client:
        yield client


def methods(registry: FaultRegistry) -> list[str]:
    """Return what was asked, without repositories."""
    return [f"{seen.method} {seen.path.rpartition('/')[2]}" for seen in registry.requests]


# ── manifests ────────────────────────────────────────────────────────────────────────────────────


def test_a_tag_is_one_head(client: Client, fault_registry: FaultRegistry) -> None:
    """No ping before, no GET behind."""
    found = client.resolve(reference_to(fault_registry.authority))

    assert (DIGEST, OCI, len(MANIFEST), None) == (found.digest, found.media_type, found.size, found.data)
    assert ["HEAD 1"] == methods(fault_registry)
    assert OCI in fault_registry.requests[0].header("Accept")


@pytest.mark.parametrize(
    "step",
    [
        refuse(405),
        refuse(501),
        Reply(headers=(("Content-Type", OCI),), length=5),
        Reply(headers=(("Content-Type", OCI), ("Docker-Content-Digest", "sha256:beef")), length=5),
        Reply(headers=(("Content-Type", "text/plain"), ("Docker-Content-Digest", DIGEST)), length=5),
        Reply(headers=(("Content-Type", OCI), ("Docker-Content-Digest", DIGEST)), length=-1),
    ],
)
def test_where_head_does_not_tell_get_does(client: Client, fault_registry: FaultRegistry, step: Reply) -> None:
    """Registries that know no HEAD, or say no digest, type or length."""
    fault_registry.script("HEAD", "/manifests/", step)

    found = client.resolve(reference_to(fault_registry.authority))

    assert (DIGEST, MANIFEST) == (found.digest, found.data)
    assert ["HEAD 1", "GET 1"] == methods(fault_registry)


def test_a_digest_is_one_verified_get(client: Client, fault_registry: FaultRegistry) -> None:
    """A digest needs no resolving, its bytes are what is wanted."""
    reference = reference_to(fault_registry.authority, tag=None).with_digest(DIGEST)

    assert MANIFEST == client.resolve(reference).data
    assert [f"GET {DIGEST}"] == methods(fault_registry)


@pytest.mark.parametrize("data", [OTHER, b"", MANIFEST + b" "])
def test_other_bytes_under_a_digest_are_an_error(client: Client, fault_registry: FaultRegistry, data: bytes) -> None:
    """Whatever the headers say."""
    fault_registry.script("GET", "/manifests/", changed(body=data), for_ever=True)

    with pytest.raises(DigestMismatchError) as caught:
        client.manifest(reference_to(fault_registry.authority), DIGEST)

    assert (DIGEST, digest_of(data)) == (caught.value.expected, caught.value.actual)


def test_bytes_of_a_tag_must_be_what_the_registry_says_they_are(client: Client, fault_registry: FaultRegistry) -> None:
    """A proxy that rewrites them is noticed."""
    fault_registry.script("GET", "/manifests/", changed(body=OTHER), for_ever=True)

    with pytest.raises(DigestMismatchError):
        client.manifest(reference_to(fault_registry.authority))


def test_a_cut_manifest_is_fetched_again(client: Client, fault_registry: FaultRegistry) -> None:
    """A passing failure, as for blobs."""
    fault_registry.script("GET", "/manifests/", changed(end_at=5))

    assert MANIFEST == client.manifest(reference_to(fault_registry.authority), DIGEST).data


@pytest.mark.parametrize(
    ("headers", "body", "expected"),
    [
        ((), MANIFEST, OCI),
        ((("Content-Type", "application/json; charset=utf-8"),), MANIFEST, OCI),
        ((("Content-Type", f"{INDEX}; charset=utf-8"),), b"{}", INDEX),
        ((), b'{"manifests": []}', INDEX),
        ((), b'{"mediaType": "application/x-evil"}', OCI),
    ],
)
def test_the_media_type_is_the_headers_else_the_documents(
    client: Client, fault_registry: FaultRegistry, headers: tuple[tuple[str, str], ...], body: bytes, expected: str
) -> None:
    """What the header leaves open, the document may say."""
    fault_registry.script("GET", "/manifests/", Reply(headers=headers, body=body))

    assert expected == client.manifest(reference_to(fault_registry.authority)).media_type


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param(Reply(body=repeat(bytes(1000)), chunked=True), id="endless"),
        pytest.param(Reply(body=repeat(bytes(1000)), length=-1), id="endless without a length"),
        pytest.param(Reply(body=b"{}", length=5 << 20, stall_at=0), id="announced"),
    ],
)
def test_a_manifest_of_more_than_4_mib_is_refused(client: Client, fault_registry: FaultRegistry, reply: Reply) -> None:
    """While it comes, or before."""
    fault_registry.script("GET", "/manifests/", reply, for_ever=True)

    with pytest.raises(RegistryError, match="longer than 4194304 bytes"):
        client.manifest(reference_to(fault_registry.authority))

    assert 64 << 20 > fault_registry.sent


def test_a_head_that_announces_a_huge_manifest_is_refused(client: Client, fault_registry: FaultRegistry) -> None:
    """Nothing of it is asked for."""
    fault_registry.script("HEAD", "/manifests/", changed(length=5 << 20))

    with pytest.raises(RegistryError, match="larger than"):
        client.resolve(reference_to(fault_registry.authority))


def test_no_such_tag_is_an_error_of_its_own(client: Client, fault_registry: FaultRegistry) -> None:
    """HEAD brings no words, the status is enough."""
    with pytest.raises(ManifestUnknownError):
        client.resolve(reference_to(fault_registry.authority, tag="2"))


def test_a_manifest_is_put_under_its_tag_or_its_digest(client: Client, fault_registry: FaultRegistry) -> None:
    """With its type; the digest comes back."""
    reference = reference_to(fault_registry.authority, "new/app")

    assert digest_of(OTHER) == client.put_manifest(reference, OTHER, OCI)
    client.put_manifest(reference.with_tag(None), MANIFEST, OCI)

    assert ["PUT 1", f"PUT {DIGEST}"] == methods(fault_registry)
    assert (OTHER, OCI) == fault_registry.manifests["new/app@1"]


def test_a_registry_that_stores_something_else_is_caught(client: Client, fault_registry: FaultRegistry) -> None:
    """By the digest that it answers."""
    fault_registry.script("PUT", "/manifests/", Reply(status=201, headers=(("Docker-Content-Digest", DIGEST),)))

    with pytest.raises(RegistryError, match="instead of"):
        client.put_manifest(reference_to(fault_registry.authority), OTHER, OCI)


# ── lists ────────────────────────────────────────────────────────────────────────────────────────


def page(tags: object, following: str | None = None) -> Reply:
    """Return a page of tags."""
    link = () if following is None else (("Link", f'<{following}>; rel="next"'),)
    return Reply(body=json.dumps({"name": "team/app", "tags": tags}).encode(), headers=link)


def test_tags_come_page_by_page(client: Client, fault_registry: FaultRegistry) -> None:
    """The next page is asked for when it is needed."""
    fault_registry.script("GET", "/tags/", page(["a", "b"], "/v2/team/app/tags/list?last=b&n=2"), page(["c"]))
    tags = client.tags(reference_to(fault_registry.authority))

    assert "a" == next(tags)
    assert 1 == len(fault_registry.requests)
    assert ["b", "c"] == list(tags)
    assert "/v2/team/app/tags/list?last=b&n=2" == fault_registry.requests[1].path


def test_what_cannot_be_a_tag_is_left_out(client: Client, fault_registry: FaultRegistry) -> None:
    """Names go to terminals and into paths."""
    fault_registry.script("GET", "/tags/", page(["ok", "../x", "a b", "\x1b[2J", "", 5, None, ["x"], "x" * 129, "1.0"]))

    assert ["ok", "1.0"] == list(client.tags(reference_to(fault_registry.authority)))


@pytest.mark.parametrize("tags", [None, []])
def test_no_tags_are_none(client: Client, fault_registry: FaultRegistry, tags: object) -> None:
    """Registries say null or an empty list."""
    fault_registry.script("GET", "/tags/", page(tags))

    assert [] == list(client.tags(reference_to(fault_registry.authority)))


def test_pages_in_a_circle_end(client: Client, fault_registry: FaultRegistry) -> None:
    """A page that was there is the end."""
    fault_registry.script("GET", "/tags/", page(["a"], "/v2/team/app/tags/list?n=1"), for_ever=True)

    assert ["a", "a"] == list(client.tags(reference_to(fault_registry.authority)))


def test_pages_without_end_are_the_callers_choice(client: Client, fault_registry: FaultRegistry) -> None:
    """They are fetched one by one: who stops asking is done."""
    numbers = count()

    def endless(_: Seen, __: Reply) -> Reply:
        number = next(numbers)
        return page([f"t{number}"], f"/v2/team/app/tags/list?last={number}")

    fault_registry.script("GET", "/tags/", endless, for_ever=True)
    tags = client.tags(reference_to(fault_registry.authority))

    assert ["t0", "t1", "t2"] == [next(tags) for _ in range(3)]


@pytest.mark.parametrize(
    ("bound", "most", "reason"),
    [("_MOST_NAMES", 5, "more than 5 names"), ("_MOST_LIST_BYTES", 100, "more than 100 bytes")],
)
def test_a_list_without_end_is_refused(
    client: Client, fault_registry: FaultRegistry, monkeypatch: pytest.MonkeyPatch, bound: str, most: int, reason: str
) -> None:
    """Callers keep all of it: names and their text are bounded over all pages."""
    pages = 10
    steps = [
        page([f"{number}-{name}" for name in "abc"], f"/v2/team/app/tags/list?{number}") for number in range(pages)
    ]
    fault_registry.script("GET", "/tags/", *steps, page([]))
    monkeypatch.setattr(lists, bound, most)

    with pytest.raises(RegistryError, match=reason) as caught:
        list(client.tags(reference_to(fault_registry.authority)))

    assert caught.value.hint
    assert pages > len(fault_registry.requests)


def test_the_catalog_is_bounded_too(
    client: Client, fault_registry: FaultRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the tags are, also where it serves a search."""
    names = json.dumps({"repositories": ["a", "b", "c"]}).encode()
    fault_registry.script("GET", "/v2/_catalog", Reply(body=names), for_ever=True)
    monkeypatch.setattr(lists, "_MOST_NAMES", 2)

    with pytest.raises(RegistryError, match="more than 2 names"):
        list(client.catalog(fault_registry.authority))
    with pytest.raises(RegistryError, match="more than 2 names"):
        client.search(fault_registry.authority, "c", 1)


def test_links_to_pages_count_for_the_size_of_a_list(
    client: Client, fault_registry: FaultRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are kept, to notice circles."""
    steps = [page([], f"/v2/team/app/tags/list?{number}{'x' * 60}") for number in range(3)]
    fault_registry.script("GET", "/tags/", *steps, page([]))
    monkeypatch.setattr(lists, "_MOST_LIST_BYTES", 200)

    with pytest.raises(RegistryError, match="more than 200 bytes"):
        list(client.tags(reference_to(fault_registry.authority)))


@pytest.mark.parametrize(
    "reply",
    [
        Reply(body=b"nonsense"),
        Reply(body=b'{"tags": "a"}'),
        Reply(body=b'{"tags": [], "tags": []}'),
        Reply(body=b'{"tags":' + b"[" * 100_000),
        Reply(body=repeat(b'{"a":1}' * 1000), chunked=True),
    ],
)
def test_a_list_that_is_none_is_an_error(client: Client, fault_registry: FaultRegistry, reply: Reply) -> None:
    """Malformed, too deep, endless."""
    fault_registry.script("GET", "/tags/", reply, for_ever=True)

    with pytest.raises(RegistryError):
        list(client.tags(reference_to(fault_registry.authority)))


def test_a_search_is_the_registrys_own_where_it_has_one(client: Client, fault_registry: FaultRegistry) -> None:
    """As Docker Hub's; what cannot be a name is left out, descriptions are made printable."""
    rows = [
        {"name": "team/redis", "description": "a\nb\x1b[m", "star_count": 7, "is_official": True},
        {"name": "Bad Name"},
        "nonsense",
        {"name": "redis-tools", "description": None, "star_count": "many"},
        {"name": "third"},
    ]
    fault_registry.script("GET", "/v1/search", Reply(body=json.dumps({"results": rows}).encode()))

    found = client.search(fault_registry.authority, "re dis&x", 2)

    first = SearchResult(name="team/redis", description="a b [m", stars=7, official=True)
    assert [first, SearchResult(name="redis-tools")] == found
    assert "/v1/search?q=re%20dis%26x&n=2" == fault_registry.requests[0].path


def test_a_search_without_one_looks_through_the_names(client: Client, fault_registry: FaultRegistry) -> None:
    """By the catalog."""
    names = json.dumps({"repositories": ["a/redis", "b", "redis2", "redis3"]}).encode()
    fault_registry.script("GET", "/v2/_catalog", Reply(body=names))

    assert ["a/redis", "redis2"] == [found.name for found in client.search(fault_registry.authority, "REDIS", 2)]


# ── ending ───────────────────────────────────────────────────────────────────────────────────────


def read_headers(client: Client, registry: FaultRegistry) -> object:
    """Ask for what never comes."""
    registry.script("HEAD", "/manifests/", hang(registry), for_ever=True)
    return client.resolve(reference_to(registry.authority))


def read_body(client: Client, registry: FaultRegistry) -> None:
    """Ask for a blob that stalls."""
    data, blob = blob_of(100_000)
    registry.add_blob(data)
    registry.script("GET", "/blobs/", changed(stall_at=10_000), for_ever=True)
    client.download(reference_to(registry.authority), blob, MemorySink())


def hang(registry: FaultRegistry) -> Callable[[Seen, Reply], Reply]:
    """Return a step that waits for the end of the registry before a header is sent."""

    def step(_: Seen, reply: Reply) -> Reply:
        registry.stopping.wait(60)
        return reply

    return step


@pytest.mark.parametrize("ask", [read_headers, read_body])
def test_closing_ends_what_waits_in_other_threads(
    fault_registry: FaultRegistry, ask: Callable[[Client, FaultRegistry], object]
) -> None:
    """At once, with an error, without another attempt."""
    fault_registry.add_manifest("team/app", "1", MANIFEST)
    client = make_client(stall_timeout=60)
    raised: list[BaseException] = []

    def work() -> None:
        try:
            ask(client, fault_registry)
        except ImageUnreachableError as err:
            raised.append(err)

    thread = threading.Thread(target=work)
    thread.start()
    fault_registry.wait_for_requests(1)
    client.close()
    thread.join(10)

    assert not thread.is_alive()
    assert 1 == len(raised)
    assert 1 == len(fault_registry.requests)


def test_a_closed_client_asks_nobody(fault_registry: FaultRegistry) -> None:
    """It says so."""
    client = make_client()
    client.close()
    client.close()

    with pytest.raises(ImageUnreachableError, match="closed"):
        client.resolve(reference_to(fault_registry.authority))
