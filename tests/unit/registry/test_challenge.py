"""The grammar of WWW-Authenticate, as servers write it and as they should not."""

from __future__ import annotations

import pytest

from container_kit._registry.challenge import parse_challenges

CASES: list[tuple[str, list[tuple[str, dict[str, str]]]]] = [
    ("", []),
    ("Basic", [("basic", {})]),
    ('Basic realm="here"', [("basic", {"realm": "here"})]),
    ("BASIC realm=here", [("basic", {"realm": "here"})]),
    (
        'Bearer realm="https://auth.test/token",service="r.test",scope="repository:a/b:pull,push"',
        [("bearer", {"realm": "https://auth.test/token", "service": "r.test", "scope": "repository:a/b:pull,push"})],
    ),
    ('Bearer realm = "a" , Service = b', [("bearer", {"realm": "a", "service": "b"})]),
    ('Basic realm="a", Bearer realm="b"', [("basic", {"realm": "a"}), ("bearer", {"realm": "b"})]),
    ('Basic, Bearer realm="b"', [("basic", {}), ("bearer", {"realm": "b"})]),
    ('Negotiate YII=, Basic realm="x"', [("negotiate", {}), ("basic", {"realm": "x"})]),
    (r'Basic realm="a \"b\" \\ c, d=e"', [("basic", {"realm": r'a "b" \ c, d=e'})]),
    (', ,Basic realm="a",,', [("basic", {"realm": "a"})]),
    ('Basic realm="open', [("basic", {})]),
    ("=, realm=a", []),
]


@pytest.mark.parametrize(("header", "expected"), CASES)
def test_challenges_are_read(header: str, expected: list[tuple[str, dict[str, str]]]) -> None:
    """One or several, quoted or not, in any case; what is malformed ends the reading."""
    assert expected == [(one.scheme, dict(one.parameters)) for one in parse_challenges(header)]


def test_a_parameter_counts_once() -> None:
    """The first one does; absent is empty."""
    (challenge,) = parse_challenges("Bearer realm=a,realm=b")

    assert ("a", "") == (challenge.parameter("realm"), challenge.parameter("service"))


@pytest.mark.parametrize("piece", ["a=", 'a="', "a, ", '\\"', "Basic ", "a=b,", '"', ", "])
def test_long_headers_take_no_time(piece: str) -> None:
    """No pattern backtracks."""
    parse_challenges("Basic " + piece * 100_000)
