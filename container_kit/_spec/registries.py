"""Which hosts stand for a registry: mirrors, insecure ones, certificates of their own, blocked ones.

Pure: files are read by `_registry/config_files.py`. Follows containers-registries.conf(5) version 2
and Docker's daemon.json; where both say something, both count.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping, Sequence
from typing import Literal, TypeAlias
from urllib.parse import urlsplit

import attrs

from container_kit._spec.reference import Reference
from container_kit.errors import InvalidSpecError, RegistryError

PullFrom: TypeAlias = Literal["all", "digest-only", "tag-only"]
MirrorTable: TypeAlias = "tuple[tuple[str, tuple[Mirror, ...]], ...]"

HUB = "docker.io"
_HUB_HOST = "registry-1.docker.io"
_HUB_NAMES = frozenset({HUB, "index.docker.io", _HUB_HOST})
_AUTHORITY = re.compile(r"(?:\[[0-9a-fA-F:.]+\]|[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)(?::[0-9]{1,5})?", re.ASCII)
_PATH = re.compile(r"(?:/[A-Za-z0-9][A-Za-z0-9._-]*)*", re.ASCII)


@attrs.frozen(kw_only=True)
class Endpoint:
    """A host to ask.

    `url` is `https://host[:port]`, with a path only where a mirror has one before `/v2`; `http://` only
    where the configuration says so. `insecure`: plain http is allowed and certificates are not verified.
    `ca_file`: certificates trusted besides the system's.
    """

    url: str
    insecure: bool = False
    ca_file: str | None = None
    is_mirror: bool = False
    pull_from: PullFrom = "all"

    @property
    def authority(self) -> str:
        """`host[:port]`."""
        return urlsplit(self.url).netloc

    @property
    def registry(self) -> str:
        """The name under which credentials for this host are kept: `docker.io` for Docker Hub's hosts."""
        return registry_name(self.authority)


def _url_of(text: str) -> str:
    where = text.rstrip("/")
    scheme, mark, rest = where.partition("://")
    if mark and scheme not in ("http", "https"):
        raise InvalidSpecError(field="mirror", value=text, reason="must be https://… or http://…, or host/path")
    _check_place(rest if mark else where, "mirror", text)
    return where


def _check_place(place: str, field: str, shown: str) -> None:
    authority, slash, path = place.partition("/")
    if not _AUTHORITY.fullmatch(authority) or not _PATH.fullmatch(slash + path):
        raise InvalidSpecError(field=field, value=shown, reason="must be host[:port][/path]")


@attrs.frozen(kw_only=True)
class Mirror:
    """A place to ask before the registry itself.

    `location` is `host[:port][/path]` as in registries.conf (the path goes before the repository's name)
    or a URL as in daemon.json (its path goes before `/v2`). An `http://` URL is insecure by itself.
    """

    location: str = attrs.field(converter=_url_of)
    insecure: bool = False
    pull_from: PullFrom = attrs.field(default="all", validator=attrs.validators.in_(("all", "digest-only", "tag-only")))


@attrs.frozen(kw_only=True)
class RegistryRule:
    """One `[[registry]]` of registries.conf: what begins with `prefix` is found at `location`."""

    prefix: str
    location: str = ""
    insecure: bool = False
    blocked: bool = False
    mirrors: tuple[Mirror, ...] = ()

    def __attrs_post_init__(self) -> None:
        wildcard = self.prefix.startswith("*.")
        _check_place(self.prefix[2:] if wildcard else self.prefix, "registry prefix", self.prefix)
        if self.location:
            _check_place(self.location, "registry location", self.location)

    def matched(self, name: str) -> str | None:
        """Return the beginning of `registry/repository` that this rule is about, or None."""
        if self.prefix.startswith("*."):
            host = name.partition("/")[0]
            return host if host.rpartition(":")[0].endswith(self.prefix[1:]) or host.endswith(self.prefix[1:]) else None
        return self.prefix if name == self.prefix or name.startswith(f"{self.prefix}/") else None


def _mirror_table(given: Mapping[str, Sequence[str | Mirror]] | MirrorTable) -> MirrorTable:
    items = given.items() if isinstance(given, Mapping) else given
    return tuple((prefix, tuple(_as_mirror(one) for one in mirrors)) for prefix, mirrors in items)


def _as_mirror(one: str | Mirror) -> Mirror:
    return one if isinstance(one, Mirror) else Mirror(location=one)


def _pairs(given: Mapping[str, str] | Sequence[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    return tuple(given.items()) if isinstance(given, Mapping) else tuple(given)


def _texts(given: Sequence[str]) -> tuple[str, ...]:
    return tuple(given)


def _rules(given: Sequence[RegistryRule]) -> tuple[RegistryRule, ...]:
    return tuple(given)


@attrs.frozen(kw_only=True)
class Registries:
    """All that is known about registries.

    Attributes:
        mirrors: Registry (or `registry/path`) → mirrors, tried in this order before the registry itself.
        insecure: `host[:port]` or networks (`10.0.0.0/8`): plain http allowed, certificates not verified.
        ca_files: `host[:port]` → a PEM file of certificates trusted besides the system's.
        blocked: Registries (or `registry/path`) that are never asked.
        search: Registries that a search asks which names none.
        rules: What registries.conf says.
    """

    mirrors: MirrorTable = attrs.field(default=(), converter=_mirror_table)
    insecure: tuple[str, ...] = attrs.field(default=(), converter=_texts)
    ca_files: tuple[tuple[str, str], ...] = attrs.field(default=(), converter=_pairs)
    blocked: tuple[str, ...] = attrs.field(default=(), converter=_texts)
    search: tuple[str, ...] = attrs.field(default=(HUB,), converter=_texts)
    rules: tuple[RegistryRule, ...] = attrs.field(default=(), converter=_rules)

    def __attrs_post_init__(self) -> None:
        for prefix in (*(prefix for prefix, _ in self.mirrors), *self.blocked):
            _check_place(prefix, "registry", prefix)
        for host, _ in self.ca_files:
            _check_place(host, "ca_files", host)
        for one in self.insecure:
            _check_insecure(one)

    def endpoints_for(self, reference: Reference, *, push: bool = False) -> tuple[tuple[Endpoint, str], ...]:
        """Return whom to ask for an image, in order: mirrors, then the registry; each with the repository's name there.

        Raises:
            RegistryError: The configuration blocks this registry.
        """
        name = f"{reference.registry}/{reference.repository}"
        rule, prefix = self._allowed(name)
        origin = self._origin(name, rule, prefix)
        if push:
            return (origin,)
        rest = name[len(prefix) :].lstrip("/")
        kind = "digest-only" if reference.digest is not None else "tag-only"
        own = tuple((mirror, rest) for mirror in (rule.mirrors if rule else ()))
        found = self._longest(name)
        given = tuple((mirror, name[len(at) :].lstrip("/")) for at, mirrors in found for mirror in mirrors)
        asked = [(mirror, left) for mirror, left in (*given, *own) if mirror.pull_from in ("all", kind)]
        return (*(self._at_mirror(mirror, left) for mirror, left in asked), origin)

    def registry_endpoint(self, registry: str) -> Endpoint:
        """Return the endpoint of a registry itself, for what concerns no image: login, catalog, search.

        Raises:
            InvalidSpecError: `registry` is not `host[:port]`.
            RegistryError: The configuration blocks this registry.
        """
        if not _AUTHORITY.fullmatch(registry):
            raise InvalidSpecError(field="registry", value=registry, reason="must be host[:port]")
        name = registry_name(registry)
        return self._origin(name, *self._allowed(name))[0]

    def _allowed(self, name: str) -> tuple[RegistryRule | None, str]:
        rule, prefix = self._rule_for(name)
        if (rule is not None and rule.blocked) or any(_begins(name, blocked) for blocked in self.blocked):
            registry = name.partition("/")[0]
            raise RegistryError(url=registry, reason="the configuration of registries blocks it")
        return rule, prefix

    def _origin(self, name: str, rule: RegistryRule | None, prefix: str) -> tuple[Endpoint, str]:
        place = rule.location or prefix if rule is not None else prefix
        rest = name[len(prefix) :].lstrip("/")
        return self._at(_joined(place, rest), insecure=rule is not None and rule.insecure)

    def trust_of(self, authority: str) -> tuple[bool, str | None]:
        """Return (insecure, ca_file) for a `host[:port]`, wherever it was mentioned."""
        rule, _ = self._rule_for(authority)
        insecure = (rule is not None and rule.insecure) or any(_covers(one, authority) for one in self.insecure)
        return insecure, dict(self.ca_files).get(authority)

    def _rule_for(self, name: str) -> tuple[RegistryRule | None, str]:
        found = [(rule, at) for rule in self.rules if (at := rule.matched(name)) is not None]
        # The longest match counts; an exact host beats a wildcard that matched the same host.
        return max(found, key=lambda pair: (len(pair[1]), len(pair[0].prefix)), default=(None, name.partition("/")[0]))

    def _longest(self, name: str) -> MirrorTable:
        found = [(at, mirrors) for at, mirrors in self.mirrors if _begins(name, at)]
        return (max(found, key=lambda pair: len(pair[0])),) if found else ()

    def _at(self, place: str, *, insecure: bool) -> tuple[Endpoint, str]:
        authority, _, repository = place.partition("/")
        weak, ca_file = self.trust_of(authority)
        host = _HUB_HOST if authority in _HUB_NAMES else authority
        return Endpoint(url=f"https://{host}", insecure=insecure or weak, ca_file=ca_file), repository

    def _at_mirror(self, mirror: Mirror, rest: str) -> tuple[Endpoint, str]:
        if "://" not in mirror.location:
            endpoint, repository = self._at(_joined(mirror.location, rest), insecure=mirror.insecure)
            return attrs.evolve(endpoint, is_mirror=True, pull_from=mirror.pull_from), repository
        weak, ca_file = self.trust_of(urlsplit(mirror.location).netloc)
        insecure = weak or mirror.insecure or mirror.location.startswith("http://")
        endpoint = Endpoint(url=mirror.location, insecure=insecure, ca_file=ca_file, is_mirror=True)
        return attrs.evolve(endpoint, pull_from=mirror.pull_from), rest


def registry_name(authority: str) -> str:
    """Return the name of the registry at `host[:port]`; Docker Hub's hosts have one name, `docker.io`."""
    return HUB if authority in _HUB_NAMES else authority


def host_of(authority: str) -> str:
    """Return the host of `host[:port]`, without the brackets of an IPv6 address."""
    if authority.startswith("["):
        return authority[1:].partition("]")[0]
    return authority.partition(":")[0]


def is_loopback(authority: str) -> bool:
    """Tell whether `host[:port]` is this machine by its name: localhost, 127.0.0.0/8, ::1."""
    host = host_of(authority).lower()
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _joined(place: str, rest: str) -> str:
    return f"{place}/{rest}" if rest else place


def _begins(name: str, prefix: str) -> bool:
    return name == prefix or name.startswith(f"{prefix}/")


def _check_insecure(one: str) -> None:
    if "/" not in one:
        _check_place(one, "insecure", one)
        return
    try:
        ipaddress.ip_network(one, strict=False)
    except ValueError as err:
        reason = "must be host[:port] or a network such as 10.0.0.0/8"
        raise InvalidSpecError(field="insecure", value=one, reason=reason) from err


def _covers(one: str, authority: str) -> bool:
    if "/" not in one:
        return one == authority
    try:
        return ipaddress.ip_address(host_of(authority)) in ipaddress.ip_network(one, strict=False)
    except ValueError:
        return False  # a name: which address it has is not known here
