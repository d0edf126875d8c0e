"""A token server for docker-registry: signs JSON web tokens with openssl; says whom it was asked by.

The protocol is https://distribution.github.io/distribution/spec/auth/token/ and …/oauth/.
"""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
import threading
import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import parse_qs, urlsplit

import attrs


@attrs.frozen
class TokenRequest:
    """One request for a token, as it came."""

    method: str
    authorization: str
    parameters: dict[str, list[str]]


def write_token_certificate(directory: Path) -> Path:
    """Make the key pair that signs tokens; return the certificate, its key beside it."""
    directory.mkdir(parents=True, exist_ok=True)
    certificate = directory / "token.crt"
    command = [
        "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=tokens",
        "-keyout", str(certificate.with_suffix(".key")), "-out", str(certificate),
    ]  # fmt: skip
    subprocess.run(command, capture_output=True, check=True)
    return certificate


class TokenServer:
    """Gives tokens: anonymous users may pull, known ones may do what they ask for.

    `lifetime` is what the tokens are worth in seconds; `requests` are those so far. A refresh token of a user is
    `refresh-<name>`.
    """

    def __init__(self, key: Path, *, users: Mapping[str, str], lifetime: int = 300) -> None:
        self.users = dict(users)
        self.lifetime = lifetime
        self.requests: list[TokenRequest] = []
        self._key = key
        self._id = _key_id(key)
        owner = self

        class Answers(BaseHTTPRequestHandler):
            """Answers GET and POST of /token."""

            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                owner.answer(self, parse_qs(urlsplit(self.path).query))

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                owner.answer(self, parse_qs(body))

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class's name
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
        self._server.daemon_threads = True
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
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def answer(self, request: BaseHTTPRequestHandler, parameters: dict[str, list[str]]) -> None:
        """Answer one request."""
        authorization = request.headers.get("Authorization", "")
        self.requests.append(TokenRequest(request.command, authorization, parameters))
        user = self._user(authorization, parameters)
        if user is None:
            _reply(request, 401, {"details": "incorrect username or password"})
            return
        token = self._token(user, " ".join(parameters.get("scope", [])))
        name = "access_token" if request.command == "POST" else "token"
        _reply(request, 200, {name: token, "expires_in": self.lifetime})

    def _user(self, authorization: str, parameters: dict[str, list[str]]) -> str | None:
        if authorization.startswith("Basic "):
            name, _, password = base64.b64decode(authorization[6:]).decode().partition(":")
            return name if self.users.get(name) == password else None
        refresh = parameters.get("refresh_token", [""])[0]
        if refresh:
            name = refresh.removeprefix("refresh-")
            return name if name in self.users else None
        return ""

    def _token(self, user: str, scopes: str) -> str:
        access = [_access(scope, known=bool(user)) for scope in scopes.split()]
        now = int(time.time())
        claims = {
            "iss": "test-issuer",
            "sub": user,
            "aud": "test-registry",
            "exp": now + self.lifetime,
            "nbf": now - 10,
            "iat": now,
            "jti": str(len(self.requests)),
            "access": access,
        }
        head = _b64(json.dumps({"typ": "JWT", "alg": "RS256", "kid": self._id}).encode())
        body = f"{head}.{_b64(json.dumps(claims).encode())}"
        command = ["openssl", "dgst", "-sha256", "-sign", str(self._key)]
        signature = subprocess.run(command, input=body.encode(), capture_output=True, check=True).stdout
        return f"{body}.{_b64(signature)}"


def _access(scope: str, *, known: bool) -> dict[str, object]:
    kind, _, rest = scope.partition(":")
    name, _, actions = rest.rpartition(":")
    allowed = [action for action in actions.split(",") if known or action == "pull"]
    return {"type": kind, "name": name, "actions": allowed}


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _key_id(key: Path) -> str:
    # libtrust's: the first 240 bits of the public key's SHA-256 in base32, in groups of four.
    command = ["openssl", "pkey", "-in", str(key), "-pubout", "-outform", "DER"]
    der = subprocess.run(command, capture_output=True, check=True).stdout
    text = base64.b32encode(hashlib.sha256(der).digest()[:30]).decode().rstrip("=")
    return ":".join(text[at : at + 4] for at in range(0, len(text), 4))


def _reply(request: BaseHTTPRequestHandler, status: int, value: object) -> None:
    body = json.dumps(value).encode()
    request.send_response(status)
    request.send_header("Content-Type", "application/json")
    request.send_header("Content-Length", str(len(body)))
    request.end_headers()
    request.wfile.write(body)
