"""Where credentials go and where they never go: redirects, token servers, upload locations, mirrors, next pages.

C14 of the list of classes. Every server is on loopback, so another port is another origin.
"""

from __future__ import annotations

import logging

import pytest

from container_kit._registry.client import Client
from container_kit._spec.registries import Registries
from container_kit.errors import AuthenticationError, ContainerKitError, RegistryError
from tests.fault_registry import FaultRegistry, Reply, Seen, redirect, refuse
from tests.fault_registry import fault_registry as fault_registry
from tests.fault_registry import second_registry as second_registry
from tests.registry_clients import make_client, opener, reference_to
from tests.registry_guards import (
    BASIC,
    BLOB,
    DATA,
    LOGIN,
    PASSWORD,
    TOKEN,
    bearer,
    fetch,
    guard,
    guarded,
    proofs,
    token_reply,
)
from tests.registry_guards import client as client

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
