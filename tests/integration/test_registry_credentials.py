"""Where credentials go and where they never go: redirects, token servers, upload locations, mirrors, next pages.

C14 of the list of classes. Every server is on loopback, so another port is another origin.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from itertools import repeat

import pytest

from container_kit._registry.client import Client
from container_kit._registry.login import Login
from container_kit._spec.registries import Registries
from container_kit.errors import AuthenticationError, ContainerKitError, RegistryError
from tests.fault_registry import FaultRegistry, Reply, Seen, redirect, refuse
from tests.fault_registry import fault_registry as fault_registry
from tests.fault_registry import second_registry as second_registry
from tests.registry_clients import MemorySink, blob_of, make_client, opener, reference_to

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


# ── basic ────────────────────────────────────────────────────────────────────────────────────────


def test_credentials_are_sent_when_asked_for_and_then_at_once(client: Client, fault_registry: FaultRegistry) -> None:
    """The first request is without; the challenge is remembered."""
    guard(fault_registry, BASIC, 'Basic realm="here"')

    fetch(client, fault_registry)
    client.resolve(reference_to(fault_registry.authority))

    assert ["", BASIC, BASIC] == [seen.header("Authorization") for seen in fault_registry.requests]


def test_a_twin_knows_what_its_brother_learned(client: Client, fault_registry: FaultRegistry) -> None:
    """And has connections of its own."""
    guard(fault_registry, BASIC, 'Basic realm="here"')
    fetch(client, fault_registry)

    with client.twin() as twin:
        fetch(twin, fault_registry)
    fetch(client, fault_registry)

    assert ["", BASIC, BASIC, BASIC] == [seen.header("Authorization") for seen in fault_registry.requests]


def test_wrong_credentials_are_tried_once(client: Client, fault_registry: FaultRegistry) -> None:
    """Another attempt would lock the account sooner."""
    guard(fault_registry, "Basic of-somebody-else", "Basic")

    with pytest.raises(AuthenticationError) as caught:
        fetch(client, fault_registry)

    assert 2 == len(fault_registry.requests)
    assert 401 == caught.value.status


def test_no_credentials_are_sent_to_a_registry_that_does_not_ask(client: Client, fault_registry: FaultRegistry) -> None:
    """Anonymous pulls stay anonymous."""
    fetch(client, fault_registry)

    assert {""} == proofs(fault_registry)


@pytest.mark.parametrize("challenge", ["", "Negotiate", "Digest realm=x", ",,,", 'Bearer realm=""', "Bearer"])
def test_a_challenge_that_cannot_be_met_is_an_error(
    client: Client, fault_registry: FaultRegistry, challenge: str
) -> None:
    """And no reason to send a password."""
    guard(fault_registry, "none", challenge)

    with pytest.raises(AuthenticationError):
        fetch(client, fault_registry)

    assert {""} == proofs(fault_registry)


# ── redirects ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_to_another_origin_leaves_credentials_behind(
    client: Client, fault_registry: FaultRegistry, second_registry: FaultRegistry, status: int
) -> None:
    """Another port is another origin."""
    second_registry.add_blob(DATA)
    there = f"http://{second_registry.authority}/v2/cdn/blobs/{BLOB.digest}"

    def step(seen: Seen, reply: Reply) -> Reply:
        return redirect(there, status) if seen.header("Authorization") else guarded("", "Basic")(seen, reply)

    fault_registry.script("GET", "/blobs/", refuse(401, WWW_Authenticate="Basic"), step)

    fetch(client, fault_registry)

    assert BASIC in proofs(fault_registry)
    assert {""} == proofs(second_registry)


def test_a_way_back_to_the_origin_does_not_bring_them_back(
    client: Client, fault_registry: FaultRegistry, second_registry: FaultRegistry
) -> None:
    """A foreign server must not choose what is asked in the user's name."""
    second_registry.script("GET", "/blobs/", redirect(f"http://{fault_registry.authority}/v2/secret/manifests/1"))
    there = f"http://{second_registry.authority}/v2/cdn/blobs/{BLOB.digest}"
    fault_registry.script("GET", "/blobs/", refuse(401, WWW_Authenticate="Basic"), redirect(there))

    with pytest.raises(RegistryError):
        fetch(client, fault_registry)

    (asked,) = fault_registry.asked("GET", "/secret/")
    assert "" == asked.header("Authorization")


def test_a_401_from_elsewhere_is_not_answered(
    client: Client, fault_registry: FaultRegistry, second_registry: FaultRegistry
) -> None:
    """Only the registry itself may ask for the registry's password."""
    second_registry.script("GET", "/", refuse(401, WWW_Authenticate="Basic"), for_ever=True)
    there = f"http://{second_registry.authority}/v2/cdn/blobs/{BLOB.digest}"
    fault_registry.script("GET", "/blobs/", redirect(there), for_ever=True)

    with pytest.raises(AuthenticationError):
        fetch(client, fault_registry)

    assert {""} == proofs(second_registry) | proofs(fault_registry)


def test_cookies_are_not_kept(client: Client, fault_registry: FaultRegistry) -> None:
    """What a server sets, nobody gets."""
    fault_registry.script("GET", "/blobs/", lambda _, reply: reply.with_header("Set-Cookie", "a=b"), for_ever=True)

    fetch(client, fault_registry)
    fetch(client, fault_registry)

    assert {""} == {seen.header("Cookie") for seen in fault_registry.requests}


def test_mirrors_get_credentials_of_their_own_only(
    fault_registry: FaultRegistry, second_registry: FaultRegistry
) -> None:
    """The login is for the registry, not for who stands in for it."""
    fault_registry.add_blob(DATA)
    guard(second_registry, BASIC, "Basic")
    registries = Registries(mirrors={fault_registry.authority: [f"http://{second_registry.authority}"]})

    with make_client(registries, logins={fault_registry.authority: LOGIN}) as client:
        fetch(client, fault_registry)

    assert {""} == proofs(second_registry)


@pytest.mark.parametrize("chunk_bytes", [None, 2000])
def test_an_upload_location_elsewhere_gets_no_credentials(
    client: Client, fault_registry: FaultRegistry, second_registry: FaultRegistry, chunk_bytes: int | None
) -> None:
    """The content goes there, who sends it does not."""
    second_registry.uploads["there"] = bytearray()
    location = f"http://{second_registry.authority}/v2/team/app/blobs/uploads/there"
    accepted = Reply(status=202, headers=(("Location", location),))
    fault_registry.script("POST", "/uploads/", refuse(401, WWW_Authenticate="Basic"), accepted)

    client.upload(reference_to(fault_registry.authority), BLOB, opener(DATA), chunk_bytes=chunk_bytes)

    assert DATA == second_registry.blobs[BLOB.digest]
    assert {""} == proofs(second_registry)


def test_the_next_page_is_on_the_same_origin(
    client: Client, fault_registry: FaultRegistry, second_registry: FaultRegistry
) -> None:
    """Else the list ends with an error."""
    link = f'<http://{second_registry.authority}/v2/team/app/tags/list?last=1>; rel="next"'
    fault_registry.script("GET", "/tags/", lambda _, reply: reply.with_header("Link", link))

    with pytest.raises(RegistryError, match="elsewhere"):
        list(client.tags(reference_to(fault_registry.authority)))

    assert [] == second_registry.requests


# ── tokens ───────────────────────────────────────────────────────────────────────────────────────


def test_a_token_is_fetched_once_for_many_requests(
    client: Client, fault_registry: FaultRegistry, second_registry: FaultRegistry
) -> None:
    """The token server gets the password, the registry the token."""
    guard(fault_registry, f"Bearer {TOKEN}", bearer(f"http://{second_registry.authority}/token"))
    second_registry.script("GET", "/token", token_reply(token=TOKEN, expires_in=300), for_ever=True)

    for _ in range(3):
        fetch(client, fault_registry)

    (asked,) = second_registry.requests
    assert BASIC == asked.header("Authorization")
    assert "/token?service=registry.test&scope=repository%3Ateam%2Fapp%3Apull" == asked.path
    assert {"", f"Bearer {TOKEN}"} == proofs(fault_registry)


@pytest.mark.parametrize("field", ["token", "access_token"])
def test_both_names_of_a_token_are_known(
    client: Client, fault_registry: FaultRegistry, second_registry: FaultRegistry, field: str
) -> None:
    """Docker's and OAuth's."""
    guard(fault_registry, f"Bearer {TOKEN}", bearer(f"http://{second_registry.authority}/token"))
    second_registry.script("GET", "/token", token_reply(**{field: TOKEN}), for_ever=True)

    fetch(client, fault_registry)


def test_a_token_that_expires_in_the_middle_is_renewed_once(
    client: Client, fault_registry: FaultRegistry, second_registry: FaultRegistry
) -> None:
    """A 401 for a token that was good: another token, the same request."""
    challenge = bearer(f"http://{second_registry.authority}/token")
    guard(fault_registry, "Bearer first", challenge)
    second_registry.script("GET", "/token", *[token_reply(token=text) for text in ("first", "second")])
    fetch(client, fault_registry)
    fault_registry.forget_scripts()
    guard(fault_registry, "Bearer second", challenge)

    fetch(client, fault_registry)

    assert ["", "Bearer first", "Bearer first", "Bearer second"] == [
        seen.header("Authorization") for seen in fault_registry.requests
    ]


def test_a_token_that_is_never_good_is_an_error(
    client: Client, fault_registry: FaultRegistry, second_registry: FaultRegistry
) -> None:
    """After one renewal, not after a hundred."""
    guard(fault_registry, "Bearer none", bearer(f"http://{second_registry.authority}/token"))
    second_registry.script("GET", "/token", token_reply(token=TOKEN), for_ever=True)

    with pytest.raises(AuthenticationError):
        fetch(client, fault_registry)

    assert 2 >= len(second_registry.requests)
    assert 2 == len(fault_registry.requests)


def test_an_expired_token_is_renewed_before_it_is_refused(
    fault_registry: FaultRegistry, second_registry: FaultRegistry
) -> None:
    """By what the server said about its lifetime."""
    fault_registry.add_blob(DATA)
    guard(fault_registry, f"Bearer {TOKEN}", bearer(f"http://{second_registry.authority}/token"))
    second_registry.script("GET", "/token", token_reply(token=TOKEN, expires_in=300), for_ever=True)
    now = [0.0]

    with make_client(monotonic=lambda: now[0]) as client:
        for now[0] in (0.0, 269.0, 271.0):
            fetch(client, fault_registry)

    assert 2 == len(second_registry.requests)


def test_a_refresh_token_is_posted(fault_registry: FaultRegistry, second_registry: FaultRegistry) -> None:
    """An identity token stands in place of a password, and not in a URL."""
    fault_registry.add_blob(DATA)
    guard(fault_registry, f"Bearer {TOKEN}", bearer(f"http://{second_registry.authority}/token"))
    second_registry.script("POST", "/token", token_reply(access_token=TOKEN), for_ever=True)
    login = Login(identity_token="refresh-me")  # noqa: S106

    with make_client(logins={fault_registry.authority: login}) as client:
        fetch(client, fault_registry)

    (asked,) = second_registry.requests
    assert "/token" == asked.path
    assert b"refresh_token=refresh-me" in asked.body
    assert "" == asked.header("Authorization")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"[]",
        b"not json",
        b'{"token": 5}',
        b'{"token": ""}',
        b'{"token": "a b"}',
        b'{"token": "a\\r\\nX-Evil: 1"}',
        b'{"token": "a", "token": "b"}',
        b"[" * 100_000,
    ],
)
def test_a_token_that_is_none_is_an_error(
    client: Client, fault_registry: FaultRegistry, second_registry: FaultRegistry, body: bytes
) -> None:
    """It would become a header."""
    guard(fault_registry, f"Bearer {TOKEN}", bearer(f"http://{second_registry.authority}/token"))
    second_registry.script("GET", "/token", Reply(body=body), for_ever=True)

    with pytest.raises(AuthenticationError, match="token server"):
        fetch(client, fault_registry)


def test_an_endless_token_is_cut(client: Client, fault_registry: FaultRegistry, second_registry: FaultRegistry) -> None:
    """After 1 MiB."""
    guard(fault_registry, f"Bearer {TOKEN}", bearer(f"http://{second_registry.authority}/token"))
    second_registry.script("GET", "/token", Reply(body=repeat(bytes(1000)), chunked=True), for_ever=True)

    with pytest.raises(RegistryError, match="longer than 1048576"):
        fetch(client, fault_registry)


@pytest.mark.parametrize(
    "realm", ["http://192.0.2.1/token", "http://example.com/token", "file:///etc/passwd", "http://u:p@127.0.0.1/t", ""]
)
def test_a_password_goes_to_no_other_host_unencrypted(
    client: Client, fault_registry: FaultRegistry, realm: str
) -> None:
    """A registry may name a token server elsewhere by https only; nothing is sent."""
    guard(fault_registry, f"Bearer {TOKEN}", bearer(realm))

    with pytest.raises(AuthenticationError):
        fetch(client, fault_registry)

    assert 1 == len(fault_registry.requests)


def test_a_token_server_that_redirects_takes_the_password_nowhere(
    client: Client, fault_registry: FaultRegistry, second_registry: FaultRegistry
) -> None:
    """The password is for the realm alone."""
    with FaultRegistry() as third:
        guard(fault_registry, f"Bearer {TOKEN}", bearer(f"http://{second_registry.authority}/token"))
        second_registry.script("GET", "/token", redirect(f"http://{third.authority}/token"))
        third.script("GET", "/token", token_reply(token=TOKEN))

        fetch(client, fault_registry)

        assert {""} == proofs(third)


# ── what is shown ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("status", [401, 403, 404, 429, 500])
def test_no_error_and_no_log_shows_a_secret(
    client: Client,
    fault_registry: FaultRegistry,
    second_registry: FaultRegistry,
    caplog: pytest.LogCaptureFixture,
    status: int,
) -> None:
    """Even when servers repeat what they got."""
    caplog.set_level(logging.DEBUG)

    def repeated(seen: Seen, _: Reply) -> Reply:
        return refuse(status, "DENIED", f"you said {seen.header('Authorization')} and {TOKEN}")

    guarding = refuse(401, WWW_Authenticate=bearer(f"http://{second_registry.authority}/token"))
    fault_registry.script("GET", "/blobs/", guarding, repeated, for_ever=True)
    second_registry.script("GET", "/token", token_reply(token=TOKEN), for_ever=True)

    with pytest.raises(ContainerKitError) as caught:
        fetch(client, fault_registry)

    shown = f"{caught.value!r} {caught.value} {caplog.text} {client!r} {LOGIN!r}"
    assert [] == [secret for secret in (PASSWORD, TOKEN, BASIC.partition(" ")[2]) if secret in shown]


def test_a_token_server_that_repeats_the_password_is_not_quoted(
    client: Client, fault_registry: FaultRegistry, second_registry: FaultRegistry
) -> None:
    """As the registry."""
    guard(fault_registry, f"Bearer {TOKEN}", bearer(f"http://{second_registry.authority}/token"))
    said = token_reply(details=f"no, not {PASSWORD} nor {BASIC}").evolve(status=401)
    second_registry.script("GET", "/token", said, for_ever=True)

    with pytest.raises(AuthenticationError) as caught:
        fetch(client, fault_registry)

    assert PASSWORD not in f"{caught.value!r}{caught.value}"
    assert BASIC[6:] not in f"{caught.value!r}{caught.value}"


def test_control_characters_of_a_registry_reach_no_terminal(client: Client, fault_registry: FaultRegistry) -> None:
    """Its words are made printable and short."""
    fault_registry.script("GET", "/blobs/", refuse(404, "X\x1b[31m", "\x1b]0;owned\x07" + "a" * 10_000), for_ever=True)

    with pytest.raises(RegistryError) as caught:
        fetch(client, fault_registry)

    assert "\x1b" not in str(caught.value)
    assert None is caught.value.code
    assert 1000 > len(str(caught.value))
