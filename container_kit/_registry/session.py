"""Requests to registries with what belongs to each: scheme, redirects, credentials.

A request is simply sent; the registry's 401 says what it wants, and that is remembered for the host, as is
whether it speaks https or http. So an anonymous pull of an unchanged tag is one request. Where credentials may
go is said in `locations.py`.
"""

from __future__ import annotations

import base64
import logging
import threading
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from typing import TypeAlias
from urllib.parse import urlsplit

import attrs

from container_kit._registry.challenge import Challenge, parse_challenges
from container_kit._registry.connection_errors import ConnectionFailedError, Trouble, shown_url
from container_kit._registry.credentials import Credentials
from container_kit._registry.locations import MOST_REDIRECTS, check_realm, follow, is_same_origin
from container_kit._registry.login import Login
from container_kit._registry.refusals import refusal
from container_kit._registry.retrying import Patience
from container_kit._registry.tokens import MOST_TOKEN_BYTES, Token, read_token, token_request
from container_kit._registry.transport import Answer, Transport, Trust
from container_kit._spec.registries import Endpoint, Registries, is_loopback
from container_kit.errors import AuthenticationError, RegistryError

Body: TypeAlias = "Callable[[], bytes | Iterable[bytes]]"

_log = logging.getLogger("container_kit.registry")
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_SAME_METHOD = frozenset({307, 308})
_NOT_TAKEN = "it does not accept the credentials, or they do not allow this"
_NOTHING_KNOWN = "it wants credentials, and none are known for it"
_LOOK = 0.2  # seconds
_OTHER_SCHEME = frozenset({Trouble.TLS, Trouble.REFUSED, Trouble.BROKEN})


@attrs.define(kw_only=True)
class _Place:
    """What is known about one endpoint."""

    trust: Trust
    base: str = ""
    challenge: Challenge | None = None
    tokens: dict[tuple[str, ...], Token] = attrs.field(factory=dict[tuple[str, ...], Token], repr=False)
    logins: dict[str, Login | None] = attrs.field(factory=dict[str, "Login | None"], repr=False)
    lock: threading.RLock = attrs.field(factory=threading.RLock)


class Known:
    """What was learned about endpoints; thread-safe, may be shared by sessions."""

    def __init__(self) -> None:
        self._places: dict[Endpoint, _Place] = {}
        self._lock = threading.Lock()

    def place(self, endpoint: Endpoint) -> _Place:
        """Return what is known about an endpoint."""
        with self._lock:
            found = self._places.get(endpoint)
            if found is None:
                trust = Trust(insecure=endpoint.insecure, ca_file=endpoint.ca_file)
                found = self._places[endpoint] = _Place(trust=trust)
            return found


@attrs.frozen(kw_only=True)
class Request:
    """What to ask of an endpoint.

    `target` is a path from `/v2/` on, or an absolute URL that this endpoint gave. `scopes` are what a token must
    allow, `repository` what credentials are for. `body` makes the body anew for each time it is sent; `headers`
    then have its length; a `secret_body` proves who the user is and goes to no other origin.
    """

    method: str
    target: str
    repository: str = ""
    scopes: tuple[str, ...] = ()
    headers: Mapping[str, str] = attrs.field(factory=dict[str, str])
    body: Body | None = None
    secret_body: bool = False


class Session:
    """Sends requests to endpoints; thread-safe."""

    def __init__(
        self,
        transport: Transport,
        registries: Registries,
        credentials: Credentials,
        patience: Patience,
        *,
        known: Known,
    ) -> None:
        self._transport = transport
        self._registries = registries
        self._credentials = credentials
        self._patience = patience
        self._known = known

    def send(self, endpoint: Endpoint, request: Request, *, expect: Sequence[int]) -> Answer:
        """Send a request, following redirects and proving who the user is when asked to.

        Raises:
            ConnectionFailedError: There is no answer.
            AuthenticationError: The registry does not take our credentials, or there are none.
            RegistryError: The answer's status is not in `expect`; see `refusal`.
        """
        place = self._known.place(endpoint)
        proof = self._known_proof(endpoint, place, request)
        answer = self._exchange_first(endpoint, place, request, proof)
        if answer.status == 401 and is_same_origin(answer.url, place.base):
            challenges = parse_challenges(answer.headers.get("WWW-Authenticate", ""))
            with answer.unless_raised():
                renewed = self._new_proof(endpoint, place, request, challenges, rejected=proof)
            if renewed:
                proof = renewed
                answer.close()
                answer = self._exchange(place, place.base, request, proof)
        if answer.status in expect:
            return answer
        otherwise = "" if answer.status != 401 else _NOT_TAKEN if proof else _NOTHING_KNOWN
        raise refusal(answer, now=self._patience.wall(), secrets=_secrets_in(proof), otherwise=otherwise)

    # ── scheme ───────────────────────────────────────────────────────────────────────────────────

    def _exchange_first(self, endpoint: Endpoint, place: _Place, request: Request, proof: str) -> Answer:
        if place.base:
            return self._exchange(place, place.base, request, proof)
        bases = candidate_urls(endpoint)
        failure: ConnectionFailedError | None = None
        greeted = ""
        for base in bases:
            try:
                answer = self._exchange(place, base, request, proof)
            except ConnectionFailedError as err:
                if err.trouble not in _OTHER_SCHEME:
                    raise
                failure = _worse(failure, err)
                continue
            if answer.status == 400 and base.startswith("http://") and base != bases[-1]:
                greeted = base  # how servers greet http on a port for https; or it does not like the request
                answer.close()
                continue
            place.base = base
            return answer
        if greeted:
            place.base = greeted
            return self._exchange(place, greeted, request, proof)
        raise failure or ConnectionFailedError(url=endpoint.url, reason="no address", trouble=Trouble.NAME)

    # ── redirects ────────────────────────────────────────────────────────────────────────────────

    def _exchange(self, place: _Place, base: str, request: Request, proof: str) -> Answer:
        url = request.target if "://" in request.target else f"{base}{request.target}"
        for _ in range(MOST_REDIRECTS + 1):
            if proof and not is_same_origin(url, base):
                proof = ""  # and it stays away, should the way lead back
            answer = self._send_once(place, base, url, request, proof)
            if not _is_redirect(request.method, answer):
                return answer
            answer.close()
            url = follow(url, answer.headers.get("Location", ""))
            if request.secret_body and not is_same_origin(url, base):
                reason = f"it sends us elsewhere with the user's token, to {shown_url(url)}"
                raise AuthenticationError(url=shown_url(base), status=answer.status, reason=reason)
        reason = f"more than {MOST_REDIRECTS} redirects"
        raise RegistryError(url=f"{shown_url(base)}{urlsplit(request.target).path}", reason=reason)

    def _send_once(self, place: _Place, base: str, url: str, request: Request, proof: str) -> Answer:
        authority = urlsplit(url).netloc
        trust = place.trust if authority == urlsplit(base).netloc else self._trust_of(authority)
        headers = {**request.headers, "Authorization": proof} if proof else request.headers
        body = request.body() if request.body is not None else None
        answer = self._transport.send(request.method, url, headers, trust=trust, body=body)
        _log.debug("%s %s: %d", request.method, shown_url(url), answer.status)
        return answer

    def _trust_of(self, authority: str) -> Trust:
        insecure, ca_file = self._registries.trust_of(authority)
        return Trust(insecure=insecure, ca_file=ca_file)

    # ── credentials ──────────────────────────────────────────────────────────────────────────────

    def _known_proof(self, endpoint: Endpoint, place: _Place, request: Request) -> str:
        if place.challenge is None:
            return ""
        return self._proof(endpoint, place, request, place.challenge)

    def _new_proof(
        self,
        endpoint: Endpoint,
        place: _Place,
        request: Request,
        challenges: Sequence[Challenge],
        *,
        rejected: str,
    ) -> str:
        """Return another Authorization than the rejected one; "" when there is none."""
        with self._alone_at(place):
            chosen = next((one for wanted in ("bearer", "basic") for one in challenges if one.scheme == wanted), None)
            if chosen is None:
                return ""
            place.challenge = chosen
            proof = self._proof(endpoint, place, request, chosen)
            if proof == rejected and chosen.scheme == "bearer":
                place.tokens.pop(request.scopes, None)  # it expired, or the server forgot it
                proof = self._proof(endpoint, place, request, chosen)
            return "" if proof == rejected else proof

    def _proof(self, endpoint: Endpoint, place: _Place, request: Request, challenge: Challenge) -> str:
        with self._alone_at(place):
            if challenge.scheme == "bearer":
                token = place.tokens.get(request.scopes)
                if token is None or token.stale_at <= self._patience.monotonic():
                    token = self._fetch_token(endpoint, place, request, challenge)
                    place.tokens[request.scopes] = token
                return f"Bearer {token.text}"
            login = self._login(endpoint, place, request.repository)
            return login.basic() if login is not None and login.username else ""

    @contextmanager
    def _alone_at(self, place: _Place) -> Generator[None, None, None]:
        """Have other threads wait, so that one of them fetches a token for all; closing this client ends a wait."""
        is_held = False
        try:
            while not (is_held := place.lock.acquire(timeout=_LOOK)):
                self._transport.check_open()
            yield
        finally:
            if is_held:
                place.lock.release()

    def _login(self, endpoint: Endpoint, place: _Place, repository: str) -> Login | None:
        if repository not in place.logins:  # a helper may take its time: it is asked once
            place.logins[repository] = self._credentials.find(endpoint.registry, repository)
        return place.logins[repository]

    def _fetch_token(self, endpoint: Endpoint, place: _Place, request: Request, challenge: Challenge) -> Token:
        login = self._login(endpoint, place, request.repository)
        base = place.base or endpoint.url
        realm = check_realm(base, challenge.parameter("realm"), with_credentials=login is not None)
        # Our own idea of the scope, not the registry's: a token must not be good for more than was asked for.
        scopes = request.scopes or tuple(challenge.parameter("scope").split())
        wanted = token_request(realm, challenge.parameter("service"), scopes, login)
        with self._ask_realm(place, base, wanted.url, wanted.method, dict(wanted.headers), wanted.body) as answer:
            if answer.status == 200:
                return read_token(answer.read_all(MOST_TOKEN_BYTES), shown_url(realm), self._patience.monotonic())
            secrets = (login.password, login.identity_token, login.basic()) if login is not None else ()
            raise refusal(answer, now=self._patience.wall(), secrets=secrets)

    def _ask_realm(
        self, place: _Place, base: str, url: str, method: str, headers: dict[str, str], body: bytes | None
    ) -> Answer:
        # The same host has the same certificate, on whichever port.
        same_host = urlsplit(url).hostname == urlsplit(base).hostname
        authority = urlsplit(url).netloc
        known = Trust() if not same_host else place.trust
        trust = known if known != Trust() else self._trust_of(authority)
        there = _Place(trust=trust)
        proof = headers.pop("Authorization", "")
        # A body is the refresh token: 307 and 308 would take it anywhere, as no header goes.
        made = None if body is None else lambda: body
        send = Request(method=method, target=url, headers=headers, body=made, secret_body=body is not None)
        return self._exchange(there, url, send, proof)


def candidate_urls(endpoint: Endpoint) -> tuple[str, ...]:
    """Return the beginnings of URLs to try for an endpoint, in order.

    https, unless the endpoint is declared insecure or is this machine. Docker tries https first there too; where
    a port is given we begin with http on loopback, so that the usual test registry is reached by one request.
    """
    if endpoint.url.startswith("http://"):
        return (endpoint.url,)
    plain = f"http://{endpoint.url.removeprefix('https://')}"
    local = is_loopback(endpoint.authority)
    if local and endpoint.ca_file is None and urlsplit(endpoint.url).port is not None:
        return plain, endpoint.url
    if endpoint.insecure or (local and endpoint.ca_file is None):
        return endpoint.url, plain
    return (endpoint.url,)


def _worse(before: ConnectionFailedError | None, now: ConnectionFailedError) -> ConnectionFailedError:
    # Of two schemes that failed, the one that got further says more than "refused".
    return now if before is None or before.trouble is Trouble.REFUSED else before


def _is_redirect(method: str, answer: Answer) -> bool:
    if answer.status not in _REDIRECTS:
        return False
    return method in ("GET", "HEAD") or answer.status in _SAME_METHOD


def _secrets_in(proof: str) -> tuple[str, ...]:
    scheme, _, text = proof.partition(" ")
    if scheme != "Basic":
        return (proof, text) if proof else ()
    return proof, text, base64.b64decode(text).decode().partition(":")[2]  # a server may repeat it decoded
