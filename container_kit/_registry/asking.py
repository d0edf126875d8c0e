"""Asking for an image: mirrors in their order, then the registry, each with its attempts.

A mirror that fails is passed over, and for a while not asked again if it could not be reached; why is in the log, and
with the error when nobody had the image.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TypeAlias, TypeVar

import attrs

from container_kit._registry.connection_errors import ConnectionFailedError, Trouble
from container_kit._registry.retrying import Attempts, Patience
from container_kit._registry.session import Session
from container_kit._spec.reference import Reference
from container_kit._spec.registries import Endpoint, Registries
from container_kit.errors import DigestMismatchError, ImageUnreachableError, RegistryError

_T = TypeVar("_T")
Failure: TypeAlias = "RegistryError | DigestMismatchError"

_log = logging.getLogger("container_kit.registry")
_SHUNNED_FOR = 60.0  # seconds
_ATTEMPTS_AT_MIRRORS = 2


@attrs.frozen(kw_only=True)
class At:
    """One endpoint, the repository's name there, and how to send it requests."""

    session: Session
    endpoint: Endpoint
    repository: str
    attempts: Attempts

    @property
    def pull_scope(self) -> tuple[str, ...]:
        """What a token must allow to pull."""
        return (f"repository:{self.repository}:pull",)

    @property
    def push_scope(self) -> tuple[str, ...]:
        """What a token must allow to push."""
        return (f"repository:{self.repository}:pull,push",)


class Asker:
    """Finds an endpoint that answers; thread-safe."""

    def __init__(
        self, session: Session, registries: Registries, patience: Patience, pause: Callable[[float], object]
    ) -> None:
        self._session = session
        self._registries = registries
        self._patience = patience
        self._pause = pause
        self._shunned: dict[str, float] = {}
        self._lock = threading.Lock()

    def ask(self, reference: Reference, action: Callable[[At], _T], *, push: bool = False) -> _T:
        """Return what `action` returns at the first endpoint where it succeeds; attempts repeat all of it.

        Raises:
            ImageUnreachableError: The registry itself, asked last, could not be reached.
            RegistryError: What the registry itself refused with; what mirrors did is a note.
        """
        return self.ask_once(reference, lambda at: repeat(at, action), push=push)

    def ask_once(self, reference: Reference, action: Callable[[At], _T], *, push: bool = False) -> _T:
        """Do the same for an action that counts its attempts by itself (`At.attempts`)."""
        failures: list[tuple[Endpoint, Failure]] = []
        for endpoint, repository in self._worth_asking(reference, push=push):
            try:
                return action(self.at(endpoint, repository))
            except (RegistryError, DigestMismatchError) as err:
                failures.append((endpoint, err))
                self._shun(endpoint, err)
                if _is_closed(err):
                    break
                if endpoint.is_mirror:
                    _log.info("mirror %s is passed over: %s", endpoint.url, err)
        raise _conclusion(reference.registry, failures)

    def at(self, endpoint: Endpoint, repository: str = "") -> At:
        """Return an endpoint as actions want it, for requests that concern no image too."""
        most = min(_ATTEMPTS_AT_MIRRORS, self._patience.attempts) if endpoint.is_mirror else self._patience.attempts
        attempts = Attempts(self._patience, most, self._pause)
        return At(session=self._session, endpoint=endpoint, repository=repository, attempts=attempts)

    def _worth_asking(self, reference: Reference, *, push: bool) -> list[tuple[Endpoint, str]]:
        endpoints = self._registries.endpoints_for(reference, push=push)
        now = self._patience.monotonic()
        with self._lock:
            return [pair for pair in endpoints if not pair[0].is_mirror or self._shunned.get(pair[0].url, now) <= now]

    def _shun(self, endpoint: Endpoint, err: Failure) -> None:
        if endpoint.is_mirror and isinstance(err, ConnectionFailedError):
            with self._lock:
                self._shunned[endpoint.url] = self._patience.monotonic() + _SHUNNED_FOR


def repeat(at: At, action: Callable[[At], _T]) -> _T:
    """Return what an action returns, doing it again after passing failures."""
    while True:
        try:
            return action(at)
        except RegistryError as err:
            at.attempts.pause_or_raise(err)


@contextmanager
def telling(endpoint: Endpoint) -> Generator[None, None, None]:
    """Turn the failure of a connection into the error that users know, for requests that concern no image."""
    try:
        yield
    except ConnectionFailedError as err:
        raise _conclusion(endpoint.registry, [(endpoint, err)]) from err


def _is_closed(err: Failure) -> bool:
    return isinstance(err, ConnectionFailedError) and err.trouble is Trouble.CLOSED


def _conclusion(registry: str, failures: list[tuple[Endpoint, Failure]]) -> Failure:
    last = failures[-1][1]
    if isinstance(last, ConnectionFailedError):
        attempts = tuple(f"{endpoint.url}: {failure.reason or failure}" for endpoint, failure in failures)
        error = ImageUnreachableError(url=registry, reason=last.reason, attempts=attempts, hint=_hint(last))
        error.__cause__ = last
        return error
    for endpoint, failure in failures[:-1]:
        last.add_note(f"mirror {endpoint.url}: {failure}")
    return last


def _hint(error: ConnectionFailedError) -> str | None:
    match error.trouble:
        case Trouble.NAME:
            return "is the name of the registry right, and is there a network?"
        case Trouble.CERTIFICATE:
            return "give the registry's authority with ca_files, or declare the registry insecure"
        case Trouble.TLS:
            return "a registry without TLS must be declared insecure"
        case _:
            return None
