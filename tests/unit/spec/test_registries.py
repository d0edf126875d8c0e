"""Which hosts stand for a registry, as values."""

from __future__ import annotations

import pytest

from container_kit._registry.session import candidate_urls
from container_kit._spec.reference import Reference
from container_kit._spec.registries import Endpoint, Mirror, Registries, RegistryRule, is_loopback, registry_name
from container_kit.errors import InvalidSpecError, RegistryError


def urls(registries: Registries, registry: str, repository: str = "team/app", *, push: bool = False) -> list[str]:
    """Return whom would be asked."""
    reference = Reference(registry=registry, repository=repository, tag="1", digest=None)
    return [f"{endpoint.url}/{name}" for endpoint, name in registries.endpoints_for(reference, push=push)]


def test_without_configuration_a_registry_is_its_host() -> None:
    """Docker Hub's is called otherwise."""
    assert ["https://quay.test:5000/team/app"] == urls(Registries(), "quay.test:5000")
    assert ["https://registry-1.docker.io/team/app"] == urls(Registries(), "docker.io")


def test_mirrors_are_for_pulling() -> None:
    """In their order, the registry last; a push goes to the registry."""
    registries = Registries(mirrors={"a.test": ["m1.test", Mirror(location="m2.test/x", pull_from="tag-only")]})

    assert ["https://m1.test/team/app", "https://m2.test/x/team/app", "https://a.test/team/app"] == urls(
        registries, "a.test"
    )
    assert ["https://a.test/team/app"] == urls(registries, "a.test", push=True)
    assert ["https://b.test/team/app"] == urls(registries, "b.test")


def test_the_longest_prefix_counts() -> None:
    """At the boundaries of names."""
    registries = Registries(mirrors={"a.test": ["wide.test"], "a.test/team": ["narrow.test"]})

    assert "https://narrow.test/app" == urls(registries, "a.test")[0]
    assert "https://wide.test/teams/app" == urls(registries, "a.test", "teams/app")[0]


def test_rules_are_pushed_to_where_they_say() -> None:
    """A location is the registry's own."""
    registries = Registries(rules=[RegistryRule(prefix="a.test/team", location="b.test/x")])

    assert ["https://b.test/x/app"] == urls(registries, "a.test", push=True)


@pytest.mark.parametrize("blocked", ["a.test", "a.test/team", "a.test/team/app"])
def test_what_is_blocked_is_never_asked(blocked: str) -> None:
    """Nor pushed to."""
    for push in (False, True):
        with pytest.raises(RegistryError):
            urls(Registries(blocked=[blocked]), "a.test", push=push)


def test_a_registry_itself_has_an_endpoint() -> None:
    """For logins and lists."""
    registries = Registries(blocked=["b.test"])

    assert "https://registry-1.docker.io" == registries.registry_endpoint("index.docker.io").url
    with pytest.raises(RegistryError):
        registries.registry_endpoint("b.test")
    with pytest.raises(InvalidSpecError):
        registries.registry_endpoint("a.test/path")


def test_trust_is_by_host() -> None:
    """Wherever the host was mentioned."""
    registries = Registries(
        insecure=["weak.test", "fd00::/8"],
        ca_files={"a.test": "/ca"},
        rules=[RegistryRule(prefix="r.test", insecure=True)],
    )

    found = {host: registries.trust_of(host) for host in ("weak.test", "a.test", "r.test", "[fd00::1]:5", "b.test")}

    yes, no = (True, None), (False, None)
    assert {"weak.test": yes, "a.test": (False, "/ca"), "r.test": yes, "[fd00::1]:5": yes, "b.test": no} == found


@pytest.mark.parametrize(
    "make",
    [
        lambda: Registries(mirrors={"a b": []}),
        lambda: Registries(blocked=["https://a.test"]),
        lambda: Registries(insecure=["a b"]),
        lambda: Registries(insecure=["10.0.0.0/33"]),
        lambda: Registries(ca_files={"a/../b c": "x"}),
        lambda: Mirror(location="ftp://a.test"),
        lambda: Mirror(location="https://u:p@a.test"),
        lambda: Mirror(location=""),
        lambda: Mirror(location="a.test", pull_from="never"),  # type: ignore[arg-type]  # what is tested
        lambda: RegistryRule(prefix="*"),
    ],
)
def test_wrong_values_cannot_be_made(make: object) -> None:
    """Each is told by its field."""
    assert callable(make)
    with pytest.raises((InvalidSpecError, ValueError)):
        make()


@pytest.mark.parametrize(
    ("authority", "expected"),
    [("localhost", True), ("LOCALHOST:5000", True), ("127.0.0.1", True), ("127.9.9.9:1", True), ("[::1]:5000", True),
     ("localhost.example", False), ("128.0.0.1", False), ("[::2]", False), ("127.0.0.1.example", False)],
)  # fmt: skip
def test_this_machine_is_known_by_name(authority: str, expected: bool) -> None:
    """As Docker does it."""
    assert expected == is_loopback(authority)


@pytest.mark.parametrize(
    ("endpoint", "expected"),
    [
        (Endpoint(url="https://a.test"), ["https://a.test"]),
        (Endpoint(url="https://a.test", insecure=True), ["https://a.test", "http://a.test"]),
        (Endpoint(url="http://a.test", insecure=True), ["http://a.test"]),
        (Endpoint(url="https://127.0.0.1:5000"), ["http://127.0.0.1:5000", "https://127.0.0.1:5000"]),
        (Endpoint(url="https://localhost"), ["https://localhost", "http://localhost"]),
        (Endpoint(url="https://127.0.0.1:5000", ca_file="/ca"), ["https://127.0.0.1:5000"]),
        (Endpoint(url="https://10.0.0.1:5000"), ["https://10.0.0.1:5000"]),
    ],
)
def test_http_is_for_this_machine_and_insecure_registries(endpoint: Endpoint, expected: list[str]) -> None:
    """Nobody else is ever asked without TLS."""
    assert expected == list(candidate_urls(endpoint))


def test_the_hub_has_one_name() -> None:
    """Its hosts have several."""
    names = ("docker.io", "index.docker.io", "registry-1.docker.io", "quay.test")

    assert ["docker.io", "docker.io", "docker.io", "quay.test"] == [registry_name(name) for name in names]
