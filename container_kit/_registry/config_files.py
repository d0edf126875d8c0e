"""Reads what the machine knows about registries: registries.conf of Podman, daemon.json of Docker, certs.d of both.

Follows containers-registries.conf(5) version 2, containers-registries.conf.d(5), containers-certs.d(5) and Docker's
daemon.json. Keys that mean nothing here are left alone; what is wrong is an error that names the file.
"""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Mapping, Sequence
from typing import Any, cast

import attrs

from container_kit._spec.registries import HUB, Mirror, PullFrom, Registries, RegistryRule
from container_kit.errors import InvalidSpecError

_MOST = 4 << 20
_PULL_FROM: tuple[PullFrom, ...] = ("all", "digest-only", "tag-only")


@attrs.frozen(kw_only=True)
class RegistryFiles:
    """Where the files are: the main registries.conf, directories of further ones, daemon.json, directories of certs.d.

    What is not there is left out. A later directory or file counts for more.
    """

    registries_conf: str = ""
    drop_ins: tuple[str, ...] = ()
    daemon_json: tuple[str, ...] = ()
    certificates: tuple[str, ...] = ()


def find_registry_files(environ: Mapping[str, str]) -> RegistryFiles:
    """Return where this user's files are; the user's own registries.conf stands in place of the system's."""
    home = environ.get("HOME", "")
    config = environ.get("XDG_CONFIG_HOME") or (f"{home}/.config" if home else "")
    own = f"{config}/containers/registries.conf" if config else ""
    given = environ.get("CONTAINERS_REGISTRIES_CONF", "")
    main = given or (own if own and os.path.exists(own) else "/etc/containers/registries.conf")
    user = (f"{config}/containers",) if config else ()
    return RegistryFiles(
        registries_conf=main,
        drop_ins=tuple(f"{place}/registries.conf.d" for place in ("/etc/containers", *user)),
        daemon_json=("/etc/docker/daemon.json", *((f"{config}/docker/daemon.json",) if config else ())),
        certificates=tuple(f"{place}/certs.d" for place in ("/etc/docker", "/etc/containers", *user)),
    )


def load_registries(files: RegistryFiles | None = None) -> Registries:
    """Return what the files say.

    Args:
        files: Where they are; None: where this user's tools look for them.

    Raises:
        InvalidSpecError: A file cannot be read or understood; `field` is its name, with the line where that is known.
    """
    places = find_registry_files(os.environ) if files is None else files
    rules: dict[str, RegistryRule] = {}
    search: tuple[str, ...] | None = None
    for path in _registries_confs(places):
        document = _read_toml(path)
        listed = document.get("unqualified-search-registries")
        if listed is not None:
            search = _texts(listed, path, "unqualified-search-registries")
        for rule in _rules(document, path):
            rules[rule.prefix] = rule
    mirrors, insecure = _read_daemons(places.daemon_json)
    return Registries(
        rules=tuple(rules.values()),
        search=search or (HUB,),
        mirrors={HUB: mirrors} if mirrors else {},
        insecure=insecure,
        ca_files=_certificates(places.certificates),
    )


# ── registries.conf ──────────────────────────────────────────────────────────────────────────────


def _registries_confs(places: RegistryFiles) -> list[str]:
    paths = [places.registries_conf] if places.registries_conf else []
    for directory in places.drop_ins:
        paths += [f"{directory}/{name}" for name in _names_in(directory) if name.endswith(".conf")]
    return paths


def _rules(document: dict[str, Any], path: str) -> list[RegistryRule]:
    if isinstance(document.get("registries"), dict):
        hint = "write version 2: unqualified-search-registries and [[registry]]"
        raise _unusable(path, "is of version 1, which is not supported any more", hint=hint)
    return [_rule(table, path, f"registry {number}") for number, table in _tables(document, "registry", path)]


def _rule(table: dict[str, Any], path: str, place: str) -> RegistryRule:
    location = _text(table, "location", path, place)
    prefix = _text(table, "prefix", path, place) or location
    if not prefix:
        raise _unusable(path, f"{place} has neither prefix nor location")
    by_digest = _flag(table, "mirror-by-digest-only", path, place)
    try:
        return RegistryRule(
            prefix=prefix,
            location=location,
            insecure=_flag(table, "insecure", path, place),
            blocked=_flag(table, "blocked", path, place),
            mirrors=tuple(
                _mirror(mirror, path, f"mirror {number} of {place}", by_digest=by_digest)
                for number, mirror in _tables(table, "mirror", path)
            ),
        )
    except InvalidSpecError as err:
        if err.field.startswith(_field(path)):
            raise
        raise _unusable(path, f"{place}: {err}") from err


def _mirror(table: dict[str, Any], path: str, place: str, *, by_digest: bool) -> Mirror:
    given = _text(table, "pull-from-mirror", path, place)
    pull_from: PullFrom | None = next((one for one in _PULL_FROM if one == given), None)
    if given and pull_from is None:
        raise _unusable(path, f"{place}: pull-from-mirror must be all, digest-only or tag-only")
    usual: PullFrom = "digest-only" if by_digest else "all"
    return Mirror(
        location=_text(table, "location", path, place),
        insecure=_flag(table, "insecure", path, place),
        pull_from=pull_from or usual,
    )


def _read_toml(path: str) -> dict[str, Any]:
    data = _read(path)
    try:
        return tomllib.loads(data.decode())
    except (ValueError, RecursionError) as err:  # what tomllib says has the line and the column
        raise _unusable(path, f"is not TOML: {err}") from err


# ── daemon.json ──────────────────────────────────────────────────────────────────────────────────


def _read_daemons(paths: Sequence[str]) -> tuple[tuple[Mirror, ...], tuple[str, ...]]:
    mirrors: list[Mirror] = []
    insecure: list[str] = []
    for path in paths:
        document = _read_json(path)
        try:
            urls = _texts(document.get("registry-mirrors") or [], path, "registry-mirrors")
            mirrors += [Mirror(location=url) for url in urls]
            weak = _texts(document.get("insecure-registries") or [], path, "insecure-registries")
            insecure += Registries(insecure=[one.partition("://")[2] or one for one in weak]).insecure
        except InvalidSpecError as err:
            if err.field.startswith(_field(path)):
                raise
            raise _unusable(path, str(err)) from err
    return tuple(mirrors), tuple(insecure)


def _read_json(path: str) -> dict[str, Any]:
    data = _read(path)
    try:
        document: object = json.loads(data) if data.strip() else {}
    except json.JSONDecodeError as err:
        raise _unusable(f"{path}:{err.lineno}", f"is not JSON: {err.msg}") from err
    except (ValueError, RecursionError) as err:
        raise _unusable(path, "is not JSON") from err
    if not isinstance(document, dict):
        raise _unusable(path, "must be a JSON object")
    return cast("dict[str, Any]", document)  # JSON has string keys


# ── certs.d ──────────────────────────────────────────────────────────────────────────────────────


def _certificates(directories: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for directory in directories:
        for host in _names_in(directory):
            names = [name for name in _names_in(f"{directory}/{host}") if name.endswith(".crt")]
            if names:
                found[host] = f"{directory}/{host}/{'ca.crt' if 'ca.crt' in names else names[0]}"
    return found


# ── reading ──────────────────────────────────────────────────────────────────────────────────────


def _names_in(directory: str) -> list[str]:
    try:
        return sorted(os.listdir(directory))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as err:
        raise _unusable(directory, err.strerror or "cannot be read") from err


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            data = file.read(_MOST + 1)
    except (FileNotFoundError, NotADirectoryError):
        return b""
    except OSError as err:
        raise _unusable(path, err.strerror or "cannot be read") from err
    if len(data) > _MOST:
        raise _unusable(path, f"is larger than {_MOST} bytes")
    return data


def _tables(document: dict[str, Any], name: str, path: str) -> list[tuple[int, dict[str, Any]]]:
    value: object = document.get(name, [])
    items: list[object] = cast("list[object]", value) if isinstance(value, list) else [None]
    if not all(isinstance(item, dict) for item in items):
        raise _unusable(path, f"{name} must be tables: [[{name}]]")
    return list(enumerate(cast("list[dict[str, Any]]", items), 1))  # TOML has string keys


def _text(table: dict[str, Any], name: str, path: str, place: str) -> str:
    value: object = table.get(name, "")
    if not isinstance(value, str):
        raise _unusable(path, f"{place}: {name} must be a string")
    return value


def _flag(table: dict[str, Any], name: str, path: str, place: str) -> bool:
    value: object = table.get(name, False)
    if not isinstance(value, bool):
        raise _unusable(path, f"{place}: {name} must be true or false")
    return value


def _texts(value: object, path: str, name: str) -> tuple[str, ...]:
    items: list[object] = cast("list[object]", value) if isinstance(value, list) else [None]
    texts = tuple(item for item in items if isinstance(item, str))
    if len(texts) != len(items):
        raise _unusable(path, f"{name} must be a list of strings")
    return texts


def _field(path: str) -> str:
    return f"registries file {path}"


def _unusable(path: str, reason: str, *, hint: str | None = None) -> InvalidSpecError:
    return InvalidSpecError(field=_field(path), reason=reason, hint=hint)
