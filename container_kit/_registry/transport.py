"""HTTP as registries need it: one request, one answer whose body is read in pieces. The door to urllib3.

Not here: redirects, retries, credentials. urllib3 would do the first two, but it does not know where a
credential may go; see `session.py`. Connections are kept alive and shared by threads; a forked child gets
connections of its own. Proxies come from the environment, as for everybody (`HTTPS_PROXY`, `NO_PROXY`);
this machine itself is never asked through one.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Generator, Iterable, Mapping
from http.client import HTTPException
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

import attrs

from container_kit._registry.connection_errors import (
    ConnectionFailedError,
    Trouble,
    shown_url,
)
from container_kit._registry.open_sockets import OpenSockets
from container_kit._registry.pacing import Pace, Paces, paced_response_class
from container_kit._registry.retrying import Patience
from container_kit._registry.tls import make_tls_context
from container_kit._spec.registries import is_loopback
from container_kit.errors import ContainerKitError, RegistryError

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse, PoolManager

_PIECE = 256 << 10
_KEPT_CONNECTIONS = 8  # to one host
_DRAINED = 64 << 10  # of an answer that nobody wants: more is not worth a connection
_USER_AGENT = "container-kit"


@attrs.frozen(kw_only=True)
class Trust:
    """Which certificates a host may show: any (`insecure`), or the system's and those of a file."""

    insecure: bool = False
    ca_file: str | None = None


class Answer:
    """What a server says: status and headers are here, the body is read on demand. Close it, best by `with`."""

    def __init__(self, response: BaseHTTPResponse, method: str, url: str, pace: Pace) -> None:
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers
        self.url = url
        self._response = response
        self._pace = pace
        self._ended = False
        self._is_empty = method == "HEAD" or response.status in (204, 304)

    def take_time(self) -> None:
        """Let the body take longer than a document may, for as long as it keeps coming: it is a blob."""
        self._pace.is_document = False

    def read(self, limit: int = _PIECE) -> bytes:
        """Return at most `limit` bytes as soon as there are any, b"" at the end.

        Raises:
            ConnectionFailedError: The connection broke, or too little comes, or it takes too long (see `Patience`).
        """
        try:
            chunk = self._response.read1(limit, decode_content=False)
        except Exception as err:
            raise _failed(err, self.url) from err
        self._pace.content_bytes += len(chunk)
        self._ended = not chunk
        return chunk

    def read_all(self, limit: int) -> bytes:
        """Return the whole body, at most `limit` bytes.

        Raises:
            RegistryError: It is longer; not more than that is read.
            ConnectionFailedError: As `read`.
        """
        length = self.headers.get("Content-Length", "")
        if length.isdigit() and len(length) < 20 and int(length) > limit:
            raise self._too_long(limit)
        pieces: list[bytes] = []
        total = 0
        while chunk := self.read(min(_PIECE, limit + 1 - total)):
            pieces.append(chunk)
            total += len(chunk)
            if total > limit:
                raise self._too_long(limit)
        return b"".join(pieces)

    def _too_long(self, limit: int) -> RegistryError:
        reason = f"the answer is longer than {limit} bytes"
        return RegistryError(url=shown_url(self.url), status=self.status, reason=reason)

    def close(self) -> None:
        """Give the connection back when little of the body is left, else close it."""
        if not self._ended:
            self._drain()
        if self._ended:
            self._response.release_conn()
        else:
            self._response.close()

    def _drain(self) -> None:
        if self._is_empty:
            with contextlib.suppress(ConnectionFailedError):
                self.read()  # notices the end
            return
        length = self.headers.get("Content-Length", "")
        # Without a length the end may be far away, and waiting for it would take as long as the server likes.
        if not (length.isdigit() and len(length) < 10 and int(length) <= _DRAINED):
            return
        with contextlib.suppress(ConnectionFailedError):
            while self.read():
                pass

    @contextlib.contextmanager
    def unless_raised(self) -> Generator[None, None, None]:
        """Leave the answer open, unless what is done meanwhile fails."""
        try:
            yield
        except BaseException:
            self._response.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._response.close()  # perhaps an interrupt: nothing is waited for
        else:
            self.close()


class Transport:
    """Sends requests; thread-safe."""

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self._pools: dict[tuple[str, Trust, str | None], PoolManager] = {}
        self._sockets = OpenSockets()
        self._lock = threading.Lock()
        self._paces = Paces()
        self._pid = os.getpid()
        self._closed = False

    def send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        *,
        trust: Trust,
        body: bytes | Iterable[bytes] | None = None,
    ) -> Answer:
        """Send one request; return the answer, whose body is still to come.

        Args:
            method: Of HTTP.
            url: Absolute.
            headers: With Content-Length when the body is an iterable.
            trust: Whose certificates count.
            body: Sent as it is.

        Raises:
            ConnectionFailedError: No answer came.
        """
        sent = {"User-Agent": _USER_AGENT, "Accept-Encoding": "identity", **headers}
        options: dict[str, Any] = {"preload_content": False, "decode_content": False}  # goes to urllib3 as it is
        pool = self._pool(urlsplit(url).scheme, trust, _proxy_for(url))
        may_repeat = method in ("GET", "HEAD")
        while True:
            self._paces.pace = pace = Pace(patience=self._patience)
            try:
                response = pool.urlopen(method, url, redirect=False, retries=False, headers=sent, body=body, **options)
            except ContainerKitError:
                raise
            except Exception as err:
                # The server may have closed a kept connection just when it was used again: that is no failure.
                if not may_repeat or self._closed or not _is_silent(err):
                    raise _failed(err, url, closed=self._closed) from err
                may_repeat = False
            else:
                return Answer(response, method, url, pace)

    def close(self) -> None:
        """Close every connection; requests that wait in other threads fail at once."""
        with self._lock:
            self._closed = True
            pools = list(self._pools.values())
            self._pools.clear()
        if self._pid == os.getpid():  # the connections of the parent of a forked child are not ours
            self._sockets.shut_down()
        for pool in pools:
            _close_pool(pool)

    def check_open(self) -> None:
        """Raise ConnectionFailedError when this was closed."""
        if self._closed:
            raise ConnectionFailedError(url="", reason="the client was closed", trouble=Trouble.CLOSED)

    def _pool(self, scheme: str, trust: Trust, proxy: str | None) -> PoolManager:
        with self._lock:
            self.check_open()
            if self._pid != os.getpid():
                self._pid = os.getpid()
                self._pools, self._sockets = {}, OpenSockets()
            found = self._pools.get((scheme, trust, proxy))
            if found is None:
                options = _tls_options(trust) if scheme == "https" else {}  # reading certificates takes 20 ms
                found = _make_pool(options, proxy, self._patience, self._sockets, self._paces)
                self._pools[scheme, trust, proxy] = found
            return found


def _close_pool(pool: PoolManager) -> None:
    for key in pool.pools.keys():  # noqa: SIM118  # urllib3's container cannot be iterated over
        hosts = pool.pools.get(key)
        if hosts is not None:
            hosts.close()  # clear() leaves that to the garbage collector
    pool.clear()


def _tls_options(trust: Trust) -> dict[str, Any]:
    options: dict[str, Any] = {"ssl_context": make_tls_context(insecure=trust.insecure, ca_file=trust.ca_file)}
    if trust.insecure:
        options |= {"cert_reqs": "CERT_NONE", "assert_hostname": False}
    return options


def _pool_classes(sockets: OpenSockets, paces: Paces) -> dict[str, Any]:
    """Return by scheme the classes of pools whose sockets are in `sockets` from their connect(2) on."""
    import urllib3
    from urllib3.connection import HTTPConnection, HTTPSConnection

    answers = paced_response_class(paces)

    class Plain(HTTPConnection):
        response_class = answers

        def _new_conn(self) -> socket.socket:
            sock = super()._new_conn()
            sockets.add(sock)
            return sock

    class Secure(HTTPSConnection):
        response_class = answers
        greeting: socket.socket | None = None

        def _new_conn(self) -> socket.socket:
            sock = super()._new_conn()
            self.greeting = sock.dup()  # TLS takes the descriptor out of `sock` before it shakes hands
            sockets.add(self.greeting)
            return sock

        def connect(self) -> None:
            try:
                super().connect()
                sockets.add(self.sock)
            finally:
                if self.greeting is not None:
                    sockets.close(self.greeting)
                    self.greeting = None
            self.is_verified = True  # or declared insecure by the user: urllib3 would warn at each request

    # Made by type(): urllib3's own types do not admit that connections have subclasses.
    return {
        "http": type("PlainPool", (urllib3.HTTPConnectionPool,), {"ConnectionCls": Plain}),
        "https": type("SecurePool", (urllib3.HTTPSConnectionPool,), {"ConnectionCls": Secure}),
    }


def _make_pool(
    tls: dict[str, Any],
    proxy: str | None,
    patience: Patience,
    sockets: OpenSockets,
    paces: Paces,
) -> PoolManager:
    import urllib3

    options: dict[str, Any] = {  # what follows is given to the pools as it is
        "maxsize": _KEPT_CONNECTIONS,
        "timeout": urllib3.Timeout(connect=patience.connect_timeout, read=patience.stall_timeout),
        "blocksize": _PIECE,
        **tls,
    }
    if proxy is None:
        made = urllib3.PoolManager(**options)
    else:
        user = urlsplit(proxy)
        password = f"{user.username}:{user.password or ''}" if user.username else None
        made = urllib3.ProxyManager(
            f"{user.scheme}://{user.netloc.rpartition('@')[2]}",
            proxy_headers=urllib3.make_headers(proxy_basic_auth=password) if password else None,
            **options,
        )
    made.pool_classes_by_scheme = _pool_classes(sockets, paces)
    return made


def _proxy_for(url: str) -> str | None:
    # typeshed leaves proxy_bypass_environment out; CPython documents neither, both have been there since 2.7.
    from urllib.request import getproxies_environment, proxy_bypass_environment  # type: ignore[attr-defined]

    parts = urlsplit(url)
    if is_loopback(parts.netloc):
        return None
    proxies = getproxies_environment()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if not proxy or proxy_bypass_environment(parts.netloc, proxies):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


def _failed(err: Exception, url: str, *, closed: bool = False) -> ConnectionFailedError:
    import urllib3.exceptions as known

    if not isinstance(err, known.HTTPError | HTTPException | OSError | ValueError):
        raise err
    trouble = Trouble.CLOSED if closed else _trouble_of(err)
    return ConnectionFailedError(url=shown_url(url), reason=_reason(trouble, err), trouble=trouble)


def _is_silent(err: Exception) -> bool:
    # RemoteDisconnected is a ConnectionResetError; which of them it is depends on who was faster.
    return any(isinstance(one, ConnectionResetError | BrokenPipeError) for one in _causes(err))


def _trouble_of(err: Exception) -> Trouble:
    import ssl

    import urllib3.exceptions as known
    from urllib3.util.ssl_match_hostname import CertificateError

    chain = _causes(err)
    if any(isinstance(one, ssl.SSLCertVerificationError | CertificateError) for one in chain):
        return Trouble.CERTIFICATE
    if any(isinstance(one, known.NameResolutionError | socket.gaierror) for one in chain):
        return Trouble.NAME
    if any(isinstance(one, known.ConnectTimeoutError | known.ProxyError) for one in chain):
        return Trouble.REFUSED  # NewConnectionError is one too
    if any(isinstance(one, known.TimeoutError | TimeoutError) for one in chain):
        return Trouble.STALLED
    if any(isinstance(one, ssl.SSLEOFError | ssl.SSLZeroReturnError) for one in chain):
        return Trouble.BROKEN
    if any(isinstance(one, ssl.SSLError) for one in chain):
        return Trouble.TLS
    return Trouble.BROKEN


def _causes(err: BaseException) -> list[BaseException]:
    """Return the error and what it was made of, to a depth that urllib3's wrapping has."""
    found: list[BaseException] = [err]
    for one in found:
        inner = [*(part for part in one.args if isinstance(part, BaseException)), one.__cause__]
        found.extend(part for part in inner if part is not None and part not in found)
        if len(found) > 20:
            break
    return found


def _reason(trouble: Trouble, err: Exception) -> str:
    # The innermost error says it; what urllib3 wraps around it repeats addresses and object ids.
    inner = next((one for one in reversed(_causes(err)) if isinstance(one, OSError)), None)
    said = (inner.strerror or str(inner)) if inner is not None else type(err).__name__
    return f"{trouble.value} ({said})" if said else trouble.value
