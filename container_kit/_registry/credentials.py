"""Who the user is at which registry: given in code, logged in with, or known to Docker's and Podman's files.

Reads `config.json` of Docker and containers-auth.json(5) of Podman; writes one file of our own in that form. The first
that knows the registry counts: what code gave, our file, Podman's, Docker's; within one file a credential helper
comes before what is written there.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

from container_kit._linux.files import replace_file
from container_kit._registry.credential_programs import ask_helper
from container_kit._registry.login import Login as Login
from container_kit._registry.login import encode_auth
from container_kit._spec.registries import HUB, registry_name
from container_kit._state.locks import hold_lock
from container_kit.errors import InvalidSpecError

_MOST = 4 << 20
_HUB_KEY = "https://index.docker.io/v1/"  # how Docker's tools call Docker Hub
_LOCK_TIMEOUT = 30.0


class Credentials:
    """Finds credentials. Never shows them: neither in its representation nor in errors.

    Args:
        own_file: Where `add` writes; mode 0600. None: nothing can be added.
        explicit: Registry → login, given in code; these win.
        files: More files, of other tools, in this order; see `credential_files`.
        helper_timeout: Seconds that a credential helper may take.
    """

    def __init__(
        self,
        *,
        own_file: str | None = None,
        explicit: Mapping[str, Login] | None = None,
        files: Sequence[str] = (),
        helper_timeout: float = 30.0,
    ) -> None:
        self._own_file = own_file
        self._explicit = {_key_of(registry): login for registry, login in (explicit or {}).items()}
        self._files = tuple(files)
        self._helper_timeout = helper_timeout

    def __repr__(self) -> str:
        return f"Credentials(own_file={self._own_file!r}, files={self._files!r})"

    def find(self, registry: str, repository: str = "") -> Login | None:
        """Return the login for a registry, or for what is most specific on the way to a repository; None if unknown.

        Raises:
            InvalidSpecError: A file cannot be read or understood; it is named.
            AuthenticationError: A credential helper failed.
        """
        wanted = tuple(_from_narrow_to_wide(registry_name(registry), repository))
        for key in wanted:
            if key in self._explicit:
                return self._explicit[key]
        for path in (*((self._own_file,) if self._own_file else ()), *self._files):
            found = self._in_file(_read(path), path, wanted)
            if found is not None:
                return found
        return None

    def add(self, registry: str, username: str, password: str) -> None:
        """Remember a login in our own file; it replaces an older one of this registry.

        Raises:
            InvalidSpecError: There is no file to write to, or what is there is not understood.
            LockTimeoutError: Another process keeps the file locked.
        """
        login = Login(username=username, password=password)
        self._edit(registry, {"auth": encode_auth(login.username, login.password)})

    def remove(self, registry: str) -> bool:
        """Forget the login in our own file; tell whether there was one."""
        return self._edit(registry, None)

    def _edit(self, registry: str, entry: dict[str, str] | None) -> bool:
        path = self._own_file
        if path is None:
            raise InvalidSpecError(field="login", value=registry, reason="there is no file to keep it in")
        os.makedirs(os.path.dirname(path) or ".", mode=0o700, exist_ok=True)
        key = _key_of(registry)
        with hold_lock(f"{path}.lock", timeout=_LOCK_TIMEOUT):
            document = _read(path)
            entries = {name: value for name, value in _table(document, "auths", path).items() if _key_of(name) != key}
            had = len(entries) != len(_table(document, "auths", path))
            if entry is not None:
                entries[key] = entry
            elif not had:
                return False
            document["auths"] = entries
            replace_file(path, json.dumps(document, indent=2).encode(), mode=0o600)
        return had

    def _in_file(self, document: dict[str, Any], path: str, wanted: Sequence[str]) -> Login | None:
        registry = wanted[-1]
        helpers = {_key_of(name): value for name, value in _table(document, "credHelpers", path).items()}
        for helper in (helpers.get(registry), document.get("credsStore")):
            if isinstance(helper, str) and helper:
                server = _HUB_KEY if registry == HUB else registry
                found = ask_helper(helper, server, timeout=self._helper_timeout)
                if found is not None:
                    return found
        entries = {_key_of(name): value for name, value in _table(document, "auths", path).items()}
        logins = (_login(entries[key], key, path) for key in wanted if key in entries)
        return next((login for login in logins if login is not None), None)


def credential_files(environ: Mapping[str, str], *, uid: int) -> tuple[str, ...]:
    """Return where Podman and Docker keep credentials of this user, in the order in which they count."""
    home = environ.get("HOME", "")
    places = [environ.get("REGISTRY_AUTH_FILE", "")]
    runtime = environ.get("XDG_RUNTIME_DIR", "")
    places.append(f"{runtime}/containers/auth.json" if runtime else f"/run/containers/{uid}/auth.json")
    config = environ.get("XDG_CONFIG_HOME") or (f"{home}/.config" if home else "")
    places.append(f"{config}/containers/auth.json" if config else "")
    docker = environ.get("DOCKER_CONFIG") or (f"{home}/.docker" if home else "")
    places.append(f"{docker}/config.json" if docker else "")
    return tuple(dict.fromkeys(place for place in places if place))


def _from_narrow_to_wide(registry: str, repository: str) -> Iterator[str]:
    parts = [part for part in repository.split("/") if part]
    for count in range(len(parts), 0, -1):
        yield "/".join((registry, *parts[:count]))
    yield registry


def _key_of(name: str) -> str:
    """Return the key under which `https://index.docker.io/v1/`, `quay.io` or `quay.io/team` count."""
    _, mark, rest = name.partition("://")
    place = (rest if mark else name).rstrip("/")
    host, _, path = place.partition("/")
    if mark or path in ("v1", "v2"):
        path = ""
    return "/".join(part for part in (registry_name(host), path) if part)


def _read(path: str) -> dict[str, Any]:
    try:
        with open(path, "rb") as file:
            data = file.read(_MOST + 1)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as err:
        raise _unusable(path, err.strerror or "cannot be read") from err
    if len(data) > _MOST:
        raise _unusable(path, f"is larger than {_MOST} bytes")
    try:
        document: object = json.loads(data) if data.strip() else {}
    except json.JSONDecodeError as err:
        raise _unusable(f"{path}:{err.lineno}", f"is not JSON: {err.msg}") from None  # err holds the text: secrets
    except (ValueError, RecursionError):
        raise _unusable(path, "is not JSON") from None
    if not isinstance(document, dict):
        raise _unusable(path, "must be a JSON object")
    return cast("dict[str, Any]", document)  # JSON has string keys


def _table(document: dict[str, Any], name: str, path: str) -> dict[str, Any]:
    value: object = document.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise _unusable(path, f"{name} must be a JSON object")
    return cast("dict[str, Any]", value)  # JSON has string keys


def _login(entry: object, key: str, path: str) -> Login | None:
    if not isinstance(entry, dict):
        raise _unusable(path, f"the entry of {key} must be a JSON object")
    fields = cast("dict[str, Any]", entry)  # JSON has string keys
    texts = {name: value for name, value in fields.items() if isinstance(value, str)}
    if texts.get("identitytoken"):
        return Login(identity_token=texts["identitytoken"])
    if texts.get("auth"):
        try:
            user, colon, password = base64.b64decode(texts["auth"], validate=True).decode().partition(":")
        except ValueError:
            colon = user = password = ""
        if not colon:
            raise _unusable(path, f"the entry of {key} is not user:password in base64")
        return Login(username=user, password=password.rstrip("\0"))
    if texts.get("username"):
        return Login(username=texts["username"], password=texts.get("password", ""))
    return None  # Docker leaves an empty entry where a helper has the password


def _unusable(place: str, reason: str) -> InvalidSpecError:
    return InvalidSpecError(field=f"credentials file {place}", reason=reason)
