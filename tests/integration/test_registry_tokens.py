"""Bearer tokens: fetched once, renewed once, refused when they are none, and who gets the password for them."""

from __future__ import annotations

from itertools import repeat

import pytest

from container_kit._registry.client import Client
from container_kit._registry.login import Login
from container_kit.errors import AuthenticationError, RegistryError
from tests.fault_registry import FaultRegistry, Reply, redirect
from tests.fault_registry import fault_registry as fault_registry
from tests.fault_registry import second_registry as second_registry
from tests.registry_clients import make_client
from tests.registry_guards import BASIC, DATA, TOKEN, bearer, fetch, guard, proofs, token_reply
from tests.registry_guards import client as client


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
