"""A registry on loopback that does wrong what a test tells it to, request by request, and all else right.

It keeps manifests and blobs in memory, knows ranges and upload sessions, and writes down what it was asked.
A script changes replies::

    registry.script("GET", "/blobs/", Reply.drop_at(1000), lambda seen, reply: reply.with_status(503))

The first request that matches gets the first reply of the script, and so on; when the script has ended, replies
are right again. Nothing sleeps: what stalls waits until the registry ends.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterable, Iterator
from email.message import Message
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Self, TypeAlias
from urllib.parse import parse_qs, urlsplit

import attrs
import pytest

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_PIECE = 64 << 10


@attrs.frozen(kw_only=True)
class Seen:
    """One request as it came; `path` has the query."""

    method: str
    path: str
    headers: Message
    body: bytes = b""

    @property
    def line(self) -> str:
        """`GET /v2/…`."""
        return f"{self.method} {self.path}"

    def header(self, name: str) -> str:
        """Return a header, "" when it is absent."""
        return self.headers.get(name, "")


@attrs.frozen(kw_only=True)
class Reply:
    """What is sent.

    `body` may be endless. `length` is what Content-Length says: None, the truth; -1, nothing (then the end of the
    connection is the end of the body). `end_at`: after so many bytes of the body the connection is closed;
    `stall_at`: nothing more is sent, the connection stays; `at_byte`: called before the byte of that number.
    """

    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes | Iterable[bytes] = attrs.field(default=b"", repr=False)
    length: int | None = None
    chunked: bool = False
    end_at: int | None = None
    stall_at: int | None = None
    at_byte: tuple[int, Callable[[], object]] | None = None
    version: str = "HTTP/1.1"
    piece: int = _PIECE

    def evolve(self, **changes: object) -> Reply:
        """Return the reply with other fields."""
        return attrs.evolve(self, **changes)  # type: ignore[arg-type]  # a test names fields

    def with_header(self, name: str, value: str) -> Reply:
        """Return the reply with a header more, in place of one of that name."""
        kept = tuple(pair for pair in self.headers if pair[0].lower() != name.lower())
        return attrs.evolve(self, headers=(*kept, (name, value)))


Step: TypeAlias = "Reply | Callable[[Seen, Reply], Reply]"


def changed(**changes: object) -> Callable[[Seen, Reply], Reply]:
    """Return a step that sends the right reply with some fields changed."""
    return lambda _, reply: reply.evolve(**changes)


def redirect(location: str, status: int = 307) -> Reply:
    """Return a reply that sends the client elsewhere."""
    return Reply(status=status, headers=(("Location", location),))


def refuse(status: int, code: str = "UNKNOWN", message: str = "no", **headers: str) -> Reply:
    """Return an error as registries send it; keywords are headers, with _ for -."""
    body = json.dumps({"errors": [{"code": code, "message": message}]}).encode()
    sent = tuple((name.replace("_", "-"), value) for name, value in headers.items())
    return Reply(status=status, headers=(("Content-Type", "application/json"), *sent), body=body)


def digest_of(data: bytes) -> str:
    """Return the sha256 digest of bytes."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


@attrs.define
class _Rule:
    method: str
    path: re.Pattern[str]
    steps: list[Step]
    for_ever: bool


class FaultRegistry:
    """See the module. `authority` is `127.0.0.1:port`, `requests` what was asked so far."""

    def __init__(self, *, tls: tuple[Path, Path] | None = None) -> None:
        self.blobs: dict[str, bytes] = {}
        self.manifests: dict[str, tuple[bytes, str]] = {}
        self.uploads: dict[str, bytearray] = {}
        self._sessions = itertools.count()
        self.requests: list[Seen] = []
        self.stopping = threading.Event()
        self.sent: int = 0
        self._rules: list[_Rule] = []
        self._lock = threading.Lock()
        self._came = threading.Condition()
        owner = self

        class Handler(_Handler):
            registry = owner

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        if tls is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*tls)
            # Handshakes belong into the thread of the connection, not into the one that accepts.
            self._server.socket = context.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)

    @property
    def authority(self) -> str:
        """`127.0.0.1:port`."""
        return f"127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stopping.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def add_blob(self, data: bytes) -> str:
        """Keep a blob; return its digest."""
        digest = digest_of(data)
        self.blobs[digest] = data
        return digest

    def add_manifest(self, repository: str, name: str, data: bytes, media_type: str = MANIFEST) -> str:
        """Keep a manifest under a tag and its digest; return its digest."""
        digest = digest_of(data)
        for key in (name, digest):
            self.manifests[f"{repository}@{key}"] = (data, media_type)
        return digest

    def script(self, method: str, path: str, *steps: Step, for_ever: bool = False) -> None:
        """Send these replies to the requests that match (`path` is searched for, a regular expression), in order.

        With `for_ever` the last one is repeated. Of several scripts that match, the one given first counts.
        """
        self._rules.append(_Rule(method, re.compile(path), list(steps), for_ever))

    def wait_for_requests(self, number: int) -> None:
        """Wait until so many requests have come."""
        with self._came:
            assert self._came.wait_for(lambda: len(self.requests) >= number, 20), "no request came"

    def forget_scripts(self) -> None:
        """Do everything right from now on."""
        self._rules.clear()

    def asked(self, method: str, path: str = "") -> list[Seen]:
        """Return the requests so far of a method whose path has a text in it."""
        return [seen for seen in self.requests if seen.method == method and path in seen.path]

    def reply_to(self, seen: Seen) -> Reply:
        """Return what to answer, and write the request down."""
        with self._lock:
            step = self._next_step(seen)
            right = step if isinstance(step, Reply) else self._right_reply(seen)
        with self._came:
            self.requests.append(seen)
            self._came.notify_all()
        return right if step is None or isinstance(step, Reply) else step(seen, right)

    def _next_step(self, seen: Seen) -> Step | None:
        for rule in self._rules:
            if rule.method == seen.method and rule.steps and rule.path.search(seen.path):
                return rule.steps[0] if rule.for_ever and len(rule.steps) == 1 else rule.steps.pop(0)
        return None

    # ── a registry that does everything right ────────────────────────────────────────────────────

    def _right_reply(self, seen: Seen) -> Reply:
        path = urlsplit(seen.path).path
        if path == "/v2/":
            return Reply(body=b"{}")
        if match := re.fullmatch(r"/v2/(.+)/manifests/([^/]+)", path):
            return self._manifest(seen, match[1], match[2])
        if match := re.fullmatch(r"/v2/(.+)/blobs/(sha256:[0-9a-f]+)", path):
            return self._blob(seen, match[2])
        if match := re.fullmatch(r"/v2/(.+)/blobs/uploads/([^/]*)", path):
            return self._upload(seen, match[1], match[2])
        if match := re.fullmatch(r"/v2/(.+)/tags/list", path):
            tags = [key.partition("@")[2] for key in self.manifests if key.startswith(f"{match[1]}@")]
            return Reply(body=json.dumps({"name": match[1], "tags": [t for t in tags if ":" not in t]}).encode())
        return refuse(404, "NOT_FOUND")

    def _manifest(self, seen: Seen, repository: str, name: str) -> Reply:
        if seen.method == "PUT":
            digest = self.add_manifest(repository, name, seen.body, seen.header("Content-Type"))
            return Reply(status=201, headers=(("Docker-Content-Digest", digest),))
        found = self.manifests.get(f"{repository}@{name}")
        if found is None:
            return refuse(404, "MANIFEST_UNKNOWN", "manifest unknown")
        headers = (("Content-Type", found[1]), ("Docker-Content-Digest", digest_of(found[0])))
        return Reply(headers=headers, body=found[0])

    def _blob(self, seen: Seen, digest: str) -> Reply:
        data = self.blobs.get(digest)
        if data is None:
            return refuse(404, "BLOB_UNKNOWN", "blob unknown")
        asked = re.fullmatch(r"bytes=(\d+)-", seen.header("Range"))
        if asked is None:
            return Reply(body=data)
        first = int(asked[1])
        if first >= len(data):
            return Reply(status=416, headers=(("Content-Range", f"bytes */{len(data)}"),))
        part = f"bytes {first}-{len(data) - 1}/{len(data)}"
        return Reply(status=206, headers=(("Content-Range", part),), body=data[first:])

    def _upload(self, seen: Seen, repository: str, session: str) -> Reply:
        query = parse_qs(urlsplit(seen.path).query)
        if seen.method == "POST":
            session = f"session{next(self._sessions)}"
            self.uploads[session] = bytearray()
            return Reply(status=202, headers=self._session_headers(repository, session))
        if session not in self.uploads:
            return refuse(404, "BLOB_UPLOAD_UNKNOWN")
        if seen.method == "GET":
            return Reply(status=204, headers=self._session_headers(repository, session))
        if seen.method == "DELETE":
            del self.uploads[session]
            return Reply(status=204)
        self.uploads[session] += seen.body
        if seen.method == "PATCH":
            return Reply(status=202, headers=self._session_headers(repository, session))
        data, wanted = bytes(self.uploads.pop(session)), query["digest"][0]
        if digest_of(data) != wanted:
            return refuse(400, "DIGEST_INVALID", "wrong digest")
        self.blobs[wanted] = data
        return Reply(status=201, headers=(("Location", f"/v2/{repository}/blobs/{wanted}"),))

    def _session_headers(self, repository: str, session: str) -> tuple[tuple[str, str], ...]:
        last = max(len(self.uploads[session]) - 1, 0)
        return ("Location", f"/v2/{repository}/blobs/uploads/{session}"), ("Range", f"0-{last}")


class _Handler(BaseHTTPRequestHandler):
    """Reads a request, sends the reply as it is told to."""

    registry: FaultRegistry
    protocol_version = "HTTP/1.1"

    def handle(self) -> None:
        """Serve one connection; that the client goes away is its right."""
        with contextlib.suppress(OSError):
            super().handle()

    def finish(self) -> None:
        with contextlib.suppress(OSError):
            super().finish()

    def _serve(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        if len(body) < length:
            self._keep_partial(body)
            self.close_connection = True
            return
        seen = Seen(method=self.command, path=self.path, headers=self.headers, body=body)
        self._send(self.registry.reply_to(seen))

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = _serve  # noqa: N815  # the base class's names

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class's name
        """Say nothing."""

    def _keep_partial(self, body: bytes) -> None:
        session = urlsplit(self.path).path.rpartition("/")[2]
        if self.command == "PATCH" and session in self.registry.uploads:
            self.registry.uploads[session] += body  # as real ones do

    def _send(self, reply: Reply) -> None:
        lines = [f"{reply.version} {reply.status} {_phrase(reply.status)}"]
        lines += [f"{name}: {value}" for name, value in reply.headers]
        if reply.chunked:
            lines.append("Transfer-Encoding: chunked")
        elif reply.length != -1 and reply.status != 204:
            known = len(reply.body) if isinstance(reply.body, bytes) else 1 << 62
            lines.append(f"Content-Length: {known if reply.length is None else reply.length}")
        else:
            self.close_connection = reply.status != 204
        if reply.version == "HTTP/1.0":
            self.close_connection = True
        self.wfile.write("".join(f"{line}\r\n" for line in [*lines, ""]).encode("latin-1"))
        if self.command != "HEAD":
            self._send_body(reply)

    def _send_body(self, reply: Reply) -> None:
        done = 0
        marks = [mark for mark in (reply.end_at, reply.stall_at, (reply.at_byte or (None,))[0]) if mark is not None]
        for piece in _cut(reply.body, reply.piece, marks):
            if not self._go_on(reply, done):
                return
            self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece) if reply.chunked else piece)
            done += len(piece)
            self.registry.sent += len(piece)
        if self._go_on(reply, done) and reply.chunked:
            self.wfile.write(b"0\r\n\r\n")

    def _go_on(self, reply: Reply, done: int) -> bool:
        if reply.at_byte is not None and done == reply.at_byte[0]:
            reply.at_byte[1]()
        if reply.stall_at is not None and done >= reply.stall_at:
            self.registry.stopping.wait(60)
            self.close_connection = True
            return False
        if reply.end_at is not None and done >= reply.end_at:
            self._end()
            return False
        return not self.registry.stopping.is_set()

    def _end(self) -> None:
        self.close_connection = True
        self.wfile.flush()
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_WR)  # what was sent still arrives


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"


def _cut(body: bytes | Iterable[bytes], piece: int, marks: list[int]) -> Iterator[bytes]:
    """Yield the body in pieces that end at the marks."""
    done = 0
    for part in (body,) if isinstance(body, bytes) else body:
        at = 0
        while at < len(part):
            ends = [at + piece, len(part), *(at + mark - done for mark in marks if mark > done)]
            end = min(max(end, at + 1) for end in ends)
            yield part[at:end]
            done += end - at
            at = end


@pytest.fixture
def fault_registry() -> Iterator[FaultRegistry]:
    """Give a registry that does as it is told, over http."""
    with FaultRegistry() as registry:
        yield registry


@pytest.fixture
def second_registry() -> Iterator[FaultRegistry]:
    """Give another one, on another port: another origin."""
    with FaultRegistry() as registry:
        yield registry
