"""Real registries on loopback: Debian's docker-registry, plain, with htpasswd, with TLS, and behind bearer tokens.

Each is a process that ends with its fixture, on a free port, with its storage below the test's directory.
A test module imports the fixtures that it needs: `from tests.registries import plain_registry  # noqa: F401`.
"""

from __future__ import annotations

import http.client
import json
import re
import subprocess
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import attrs
import pytest

from tests.token_server import TokenServer, write_token_certificate

PATIENCE = 20.0  # seconds; a slow machine under load
USER, PASSWORD = "robin", "p%ss:w0rd-äöü"


@attrs.define(kw_only=True)
class Registry:
    """A running docker-registry.

    `authority` is `127.0.0.1:port`; `requests()` are "METHOD path status" lines of its access log, in order.
    """

    authority: str
    storage: Path
    ca_file: str | None = None
    realm: TokenServer | None = None
    output: Output

    def requests(self) -> list[str]:
        """Return what was asked so far, such as `HEAD /v2/a/manifests/t 200`."""
        found = (re.search(r'"([A-Z]+) (\S+) HTTP/[0-9.]+" (\d+)', line) for line in self.output.lines)
        return [f"{match[1]} {match[2]} {match[3]}" for match in found if match]

    def wait_for_requests(self, count: int) -> list[str]:
        """Return the requests as soon as there are `count`; the log is written after the answer."""
        self.output.wait(lambda: len(self.requests()) >= count, f"{count} requests")
        return self.requests()

    def count_requests(self) -> int:
        """Return how many requests there were, all of them: what was asked before is in the log when this one is.

        A registry writes its log after its answer; this asks for something over plain http and waits for its line.
        """
        mark = f"/v2/mark-{len(self.requests())}/tags/list"
        connection = http.client.HTTPConnection(self.authority, timeout=PATIENCE)
        connection.request("GET", mark)
        connection.getresponse().read()
        connection.close()
        self.output.wait(lambda: any(mark in line for line in self.requests()), mark)
        return len(self.requests())

    def reference(self, name: str) -> str:
        """Return the full name of an image here."""
        return f"{self.authority}/{name}"


class Output:
    """What a process wrote, read by a thread until its end."""

    def __init__(self, stream: IO[str]) -> None:
        self.lines: list[str] = []
        self._changed = threading.Condition()
        self._stream = stream
        self._thread = threading.Thread(target=self._read, name="registry-log", daemon=True)
        self._thread.start()
        self._ended = False

    def _read(self) -> None:
        for line in self._stream:
            with self._changed:
                self.lines.append(line.rstrip("\n"))
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def wait(self, happened: Callable[[], object], what: str) -> None:
        """Wait until `happened()` is true of the lines."""
        with self._changed:
            self._changed.wait_for(lambda: bool(happened()) or self._ended, PATIENCE)
            assert happened(), f"the registry did not show {what}:\n" + "\n".join(self.lines)

    def join(self) -> None:
        """Wait for the end of the output."""
        self._thread.join(PATIENCE)
        self._stream.close()


def _configuration(storage: Path, **sections: object) -> str:
    http: dict[str, object] = {"addr": "127.0.0.1:0"}
    if "tls" in sections:
        http["tls"] = sections.pop("tls")
    return json.dumps(  # JSON is YAML
        {
            "version": 0.1,
            "log": {"level": "info"},
            "storage": {
                "filesystem": {"rootdirectory": str(storage)},
                "delete": {"enabled": True},
                "cache": {"blobdescriptor": "inmemory"},
            },
            "http": http,
            **sections,
        }
    )


@contextmanager
def run_registry(directory: Path, *, ca_file: str | None = None, **sections: object) -> Generator[Registry, None, None]:
    """Run a docker-registry with these sections in its configuration (`tls` belongs to http)."""
    storage = directory / "storage"
    storage.mkdir(parents=True)
    config = directory / "config.yml"
    config.write_text(_configuration(storage, **sections))
    process = subprocess.Popen(
        ["docker-registry", "serve", str(config)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        # With one processor nothing is answered before what was answered earlier is in the log.
        env={"PATH": "/usr/bin:/bin", "OTEL_TRACES_EXPORTER": "none", "GOMAXPROCS": "1"},
    )
    assert process.stdout is not None
    output = Output(process.stdout)
    try:
        output.wait(lambda: _address(output.lines), "its address")
        yield Registry(authority=_address(output.lines), storage=storage, ca_file=ca_file, output=output)
    finally:
        process.kill()
        process.wait(PATIENCE)
        output.join()


def _address(lines: list[str]) -> str:
    found = (re.search(r"listening on (127\.0\.0\.1:\d+)", line) for line in list(lines))
    return next((match[1] for match in found if match), "")


# ── certificates ─────────────────────────────────────────────────────────────────────────────────


def make_authority(directory: Path) -> str:
    """Make a certificate authority with openssl; return its certificate's path."""
    directory.mkdir(parents=True, exist_ok=True)
    key, cert = directory / "ca.key", directory / "ca.crt"
    _openssl(
        "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
        "-subj", "/CN=test authority", "-keyout", str(key), "-out", str(cert),
        "-addext", "keyUsage=critical,keyCertSign,cRLSign",
    )  # fmt: skip
    return str(cert)


def make_certificate(
    directory: Path, *, name: str = "server", alternative: str = "IP:127.0.0.1", days: int = 2
) -> Path:
    """Make a server's certificate signed by the authority in `directory`; return the path of the certificate."""
    key, request, cert = (directory / f"{name}.{kind}" for kind in ("key", "csr", "crt"))
    _openssl(
        "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", f"/CN={name}",
        "-keyout", str(key), "-out", str(request),
    )  # fmt: skip
    extensions = directory / f"{name}.ext"
    extensions.write_text(f"subjectAltName={alternative}\nextendedKeyUsage=serverAuth\n")
    _openssl(
        "x509", "-req", "-in", str(request), "-CA", str(directory / "ca.crt"), "-CAkey", str(directory / "ca.key"),
        "-CAcreateserial", "-days", str(days), "-extfile", str(extensions), "-out", str(cert),
    )  # fmt: skip
    return cert


def _openssl(*arguments: str) -> None:
    done = subprocess.run(["openssl", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


# ── fixtures ─────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def plain_registry(tmp_path: Path) -> Iterator[Registry]:
    """Give a registry that everybody may read and write, over http."""
    with run_registry(tmp_path / "registry") as registry:
        yield registry


@pytest.fixture
def password_registry(tmp_path: Path) -> Iterator[Registry]:
    """Give a registry that wants USER and PASSWORD (basic authentication), over http."""
    with run_registry(tmp_path / "registry", auth=htpasswd_section(tmp_path)) as registry:
        yield registry


def htpasswd_section(directory: Path) -> dict[str, object]:
    """Return the `auth` section for USER and PASSWORD."""
    passwords = directory / "htpasswd"
    command = ["htpasswd", "-nbB", "-C", "4", USER, PASSWORD]
    passwords.write_text(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return {"htpasswd": {"realm": "test realm", "path": str(passwords)}}


@pytest.fixture
def tls_registry(tmp_path: Path) -> Iterator[Registry]:
    """Give a registry with a certificate for 127.0.0.1 by an authority of its own (`ca_file`)."""
    ca_file = make_authority(tmp_path / "tls")
    cert = make_certificate(tmp_path / "tls")
    tls = {"certificate": str(cert), "key": str(cert.with_suffix(".key"))}
    with run_registry(tmp_path / "registry", ca_file=ca_file, tls=tls) as registry:
        yield registry


@pytest.fixture
def token_registry(tmp_path: Path) -> Iterator[Registry]:
    """Give a registry that wants tokens of a token server (`realm`), which knows USER and PASSWORD."""
    certificate = write_token_certificate(tmp_path / "tokens")
    with TokenServer(certificate.with_suffix(".key"), users={USER: PASSWORD}) as realm:
        token = {
            "realm": f"http://{realm.authority}/token",
            "service": "test-registry",
            "issuer": "test-issuer",
            "rootcertbundle": str(certificate),
        }
        with run_registry(tmp_path / "registry", auth={"token": token}) as registry:
            registry.realm = realm
            yield registry
