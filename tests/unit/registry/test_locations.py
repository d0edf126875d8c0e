"""Where a registry may send us."""

from __future__ import annotations

import pytest

from container_kit._registry.locations import check_realm, follow, is_same_origin
from container_kit.errors import AuthenticationError, RegistryError


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("https://a/x", "https://a/y?z", True),
        ("https://a", "https://A:443/", True),
        ("http://a", "http://a:80", True),
        ("https://a", "http://a", False),
        ("https://a", "https://a:444", False),
        ("https://a", "https://b", False),
        ("https://a", "https://a.b", False),
        ("https://[::1]:5", "https://[::1]:5/", True),
    ],
)
def test_an_origin_is_scheme_host_and_port(one: str, other: str, same: bool) -> None:
    """What credentials are bound to."""
    assert same == is_same_origin(one, other)


@pytest.mark.parametrize(
    ("url", "location", "expected"),
    [
        ("https://a/v2/x", "/v2/y", "https://a/v2/y"),
        ("https://a/v2/x", "https://b/y?z=1", "https://b/y?z=1"),
        ("http://a/v2/x", "https://a/y", "https://a/y"),
        ("https://a/v2/x", "//b/y", "https://b/y"),
        ("http://a:5/v2/x?q", "?w", "http://a:5/v2/x?w"),
    ],
)
def test_a_location_is_followed(url: str, location: str, expected: str) -> None:
    """Relative or absolute."""
    assert expected == follow(url, location)


@pytest.mark.parametrize(
    "location",
    ["http://a/y", "ftp://a/", "javascript:1", "https://u@a/", "https://u:p@a/", "https:///x y", "", "/\r\nX: y", "/\0",
     "https://a:99999/", "https://a:b/", "/" + "x" * 20_000],
)  # fmt: skip
def test_a_location_that_leads_astray_is_refused(location: str) -> None:
    """From https to http, to other schemes, with a password, malformed."""
    with pytest.raises(RegistryError):
        follow("https://a/v2/x", location)


@pytest.mark.parametrize(
    ("registry", "realm", "anonymous", "with_credentials"),
    [
        ("https://r.example", "https://auth.example/token", True, True),
        ("https://r.example", "https://r.example/token", True, True),
        ("https://r.example", "http://r.example/token", False, False),
        ("https://r.example", "http://127.0.0.1/token", False, False),
        ("http://r.example:5000", "http://r.example:5001/token", True, True),
        ("http://r.example:5000", "http://auth.example/token", True, False),
        ("http://r.example:5000", "https://auth.example/token", True, True),
        ("http://127.0.0.1:5000", "http://localhost:5001/token", True, True),
        ("http://127.0.0.1:5000", "http://192.0.2.1/token", True, False),
        ("http://192.0.2.1:5000", "http://127.0.0.1/token", True, False),
        ("https://r.example", "", False, False),
    ],
)
def test_where_a_token_may_come_from(registry: str, realm: str, anonymous: bool, with_credentials: bool) -> None:
    """Never from https to http; with a password elsewhere by https only."""
    for allowed, sends in ((anonymous, False), (with_credentials, True)):
        if allowed:
            assert realm == check_realm(registry, realm, with_credentials=sends)
        else:
            with pytest.raises(AuthenticationError):
                check_realm(registry, realm, with_credentials=sends)
