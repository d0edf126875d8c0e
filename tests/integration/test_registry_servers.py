"""The client and real registries: Debian's docker-registry, plain, with passwords, tokens or TLS; skopeo beside it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from container_kit._registry.client import Client
from container_kit._registry.login import Login
from container_kit._spec.descriptor import Descriptor
from container_kit._spec.digest import Digest, digest_of
from container_kit._spec.registries import Registries
from container_kit.errors import AuthenticationError, ImageUnreachableError, InvalidSpecError, RegistryError
from tests.fault_registry import FaultRegistry, redirect
from tests.registries import PASSWORD, USER, Registry, make_authority, make_certificate, run_registry
from tests.registries import password_registry as password_registry
from tests.registries import plain_registry as plain_registry
from tests.registries import tls_registry as tls_registry
from tests.registries import token_registry as token_registry
from tests.registry_clients import MemorySink, blob_of, describe, make_client, opener, reference_to

pytestmark = pytest.mark.needs_tools("docker-registry", "openssl", "htpasswd")

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
LAYER, LAYER_DESCRIPTOR = blob_of(3 << 20)
CONFIG = json.dumps(
    {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [LAYER_DESCRIPTOR.digest]}}
).encode()
CONFIG_DESCRIPTOR = describe(CONFIG, "application/vnd.oci.image.config.v1+json")
LOGIN = Login(username=USER, password=PASSWORD)


def manifest() -> bytes:
    """Return the manifest of an image with one layer."""
    layers = [LAYER_DESCRIPTOR.to_json()]
    document = {"schemaVersion": 2, "mediaType": MANIFEST, "config": CONFIG_DESCRIPTOR.to_json(), "layers": layers}
    return json.dumps(document).encode()


def publish(client: Client, authority: str, chunk_bytes: int | None = None) -> Digest:
    """Push the image; return its digest."""
    reference = reference_to(authority)
    for data, blob in ((LAYER, LAYER_DESCRIPTOR), (CONFIG, CONFIG_DESCRIPTOR)):
        assert not client.has_blob(reference, blob.digest)
        client.upload(reference, blob, opener(data), chunk_bytes=chunk_bytes)
        assert client.has_blob(reference, blob.digest)
    return client.put_manifest(reference, manifest(), MANIFEST)


def fetch(client: Client, authority: str, blob: Descriptor = LAYER_DESCRIPTOR, begun: bytes = b"") -> bytes:
    """Download a blob."""
    sink = MemorySink(begun)
    client.download(reference_to(authority), blob, sink, verify=sink.verifier(blob))
    return bytes(sink.data)


def client_for(registry: Registry, *, login: Login | None = LOGIN, registries: Registries | None = None) -> Client:
    """Return a client with a login for this registry."""
    return make_client(registries, logins={} if login is None else {registry.authority: login})


@pytest.mark.parametrize("chunk_bytes", [None, 1 << 20, 3 << 20])
def test_what_is_pushed_can_be_pulled(plain_registry: Registry, chunk_bytes: int | None) -> None:
    """Blobs and a manifest, there and back, whole and from the middle."""
    authority = plain_registry.authority
    with client_for(plain_registry) as client:
        digest = publish(client, authority, chunk_bytes)
        found = client.resolve(reference_to(authority))

        assert (digest, MANIFEST, len(manifest())) == (found.digest, found.media_type, found.size)
        assert manifest() == client.manifest(reference_to(authority), digest).data
        assert LAYER == fetch(client, authority)
        assert LAYER == fetch(client, authority, begun=LAYER[:1_000_000])
        assert ["1"] == list(client.tags(reference_to(authority)))
        assert ["team/app"] == list(client.catalog(authority))
        assert ["team/app"] == [found.name for found in client.search(authority, "app", 5)]


def test_an_unchanged_tag_is_one_request(plain_registry: Registry) -> None:
    """From a client that knows nothing yet: no ping, no attempt by https."""
    with client_for(plain_registry) as client:
        publish(client, plain_registry.authority)
    before = plain_registry.count_requests()

    with client_for(plain_registry) as client:
        client.resolve(reference_to(plain_registry.authority))

    assert ["HEAD /v2/team/app/manifests/1 200"] == plain_registry.wait_for_requests(before + 1)[before:]


def test_a_blob_of_another_repository_is_mounted(plain_registry: Registry) -> None:
    """Without its content being sent."""
    with client_for(plain_registry) as client:
        publish(client, plain_registry.authority)
        other = reference_to(plain_registry.authority, "other/app")

        assert client.mount_blob(other, LAYER_DESCRIPTOR.digest, "team/app")
        assert client.has_blob(other, LAYER_DESCRIPTOR.digest)
        assert not client.mount_blob(other, digest_of(b"nothing"), "team/app")


@pytest.mark.needs_tools("skopeo")
def test_skopeo_reads_what_is_pushed(plain_registry: Registry, tmp_path: Path) -> None:
    """Another client finds the image whole."""
    with client_for(plain_registry) as client:
        publish(client, plain_registry.authority)
    source = f"docker://{plain_registry.reference('team/app:1')}"
    command = ["skopeo", "copy", "--src-tls-verify=false", "--insecure-policy", source, f"dir:{tmp_path}/copy"]

    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    assert LAYER == (tmp_path / "copy" / LAYER_DESCRIPTOR.digest.partition(":")[2]).read_bytes()


# ── passwords and tokens ─────────────────────────────────────────────────────────────────────────


def test_a_password_lets_in(password_registry: Registry) -> None:
    """Basic authentication; the password has letters beyond ASCII."""
    with client_for(password_registry) as client:
        client.check_login(password_registry.authority)
        publish(client, password_registry.authority)

        assert LAYER == fetch(client, password_registry.authority)


@pytest.mark.parametrize("login", [None, Login(username=USER, password="wrong"), Login(username="nobody")])  # noqa: S106
def test_without_the_right_password_nobody_gets_in(password_registry: Registry, login: Login | None) -> None:
    """The error says that credentials are the matter, and which registry."""
    with client_for(password_registry, login=login) as client:
        for ask in (
            lambda: client.check_login(password_registry.authority),
            lambda: client.resolve(reference_to(password_registry.authority)),
        ):
            with pytest.raises(AuthenticationError) as caught:
                ask()

            assert 401 == caught.value.status
            assert password_registry.authority in caught.value.url


def test_a_token_lets_in(token_registry: Registry) -> None:
    """Tokens for pulling and for pushing, one of each."""
    assert token_registry.realm is not None
    with client_for(token_registry) as client:
        client.check_login(token_registry.authority)
        publish(client, token_registry.authority)
        fetch(client, token_registry.authority)
        fetch(client, token_registry.authority)

    asked = [request.parameters.get("scope", []) for request in token_registry.realm.requests]
    assert [[], ["repository:team/app:pull,push"], ["repository:team/app:pull"]] == asked


def test_anonymous_users_may_pull_by_a_token_and_not_push(token_registry: Registry) -> None:
    """As at public registries."""
    with client_for(token_registry) as client:
        publish(client, token_registry.authority)

    with client_for(token_registry, login=None) as client:
        assert LAYER == fetch(client, token_registry.authority)
        with pytest.raises(AuthenticationError):
            client.put_manifest(reference_to(token_registry.authority), manifest(), MANIFEST)


def test_a_refresh_token_lets_in(token_registry: Registry) -> None:
    """OAuth 2, by POST."""
    login = Login(identity_token=f"refresh-{USER}")
    with client_for(token_registry, login=login) as client:
        publish(client, token_registry.authority)

    assert token_registry.realm is not None
    assert {"POST"} == {request.method for request in token_registry.realm.requests}


# ── TLS ──────────────────────────────────────────────────────────────────────────────────────────


def test_an_authority_of_its_own_is_trusted_when_told(tls_registry: Registry) -> None:
    """By `ca_files`, for this registry."""
    registries = Registries(ca_files={tls_registry.authority: str(tls_registry.ca_file)})
    with client_for(tls_registry, registries=registries) as client:
        publish(client, tls_registry.authority)

        assert LAYER == fetch(client, tls_registry.authority)


def test_an_insecure_registry_needs_no_certificate_that_is_trusted(tls_registry: Registry) -> None:
    """When it is declared so."""
    with client_for(tls_registry, registries=Registries(insecure=[tls_registry.authority])) as client:
        publish(client, tls_registry.authority)


def run_with(tmp_path: Path, *, alternative: str = "IP:127.0.0.1", days: int = 2) -> Iterator[Registry]:
    """Run a registry whose certificate says this."""
    ca_file = make_authority(tmp_path / "tls")
    cert = make_certificate(tmp_path / "tls", alternative=alternative, days=days)
    tls = {"certificate": str(cert), "key": str(cert.with_suffix(".key"))}
    with run_registry(tmp_path / "registry", ca_file=ca_file, tls=tls) as registry:
        yield registry


@pytest.mark.parametrize(
    ("certificate", "trusted"),
    [
        pytest.param({}, False, id="of an unknown authority"),
        pytest.param({"alternative": "IP:127.0.0.2"}, True, id="for another host"),
        pytest.param({"days": -1}, True, id="expired"),
    ],
)
def test_a_certificate_that_is_not_good_is_refused(
    tmp_path: Path, certificate: dict[str, object], trusted: bool
) -> None:
    """Also on loopback: nothing is sent, and http is no way out."""
    for registry in run_with(tmp_path, **certificate):  # type: ignore[arg-type]  # of the table above
        ca_files = {registry.authority: str(registry.ca_file)} if trusted else {}
        client = client_for(registry, registries=Registries(ca_files=ca_files))
        with client, pytest.raises(ImageUnreachableError) as caught:
            client.check_login(registry.authority)

        assert "certificate" in caught.value.reason
        assert "ca_files" in str(caught.value.hint)
        assert [] == registry.requests()


def test_a_file_of_authorities_that_holds_none_is_named(tls_registry: Registry, tmp_path: Path) -> None:
    """As is one that is not there."""
    (tmp_path / "empty.pem").write_text("")
    for name in ("empty.pem", "missing.pem"):
        registries = Registries(ca_files={tls_registry.authority: str(tmp_path / name)})
        with client_for(tls_registry, registries=registries) as client, pytest.raises(InvalidSpecError, match=name):
            client.check_login(tls_registry.authority)


def test_no_redirect_leads_from_https_to_http(tmp_path: Path) -> None:
    """Not even without credentials: nobody could tell who answers."""
    ca_file = make_authority(tmp_path / "tls")
    cert = make_certificate(tmp_path / "tls")
    with FaultRegistry(tls=(cert, cert.with_suffix(".key"))) as secure, FaultRegistry() as plain:
        plain.add_blob(LAYER)
        there = f"http://{plain.authority}/v2/cdn/blobs/{LAYER_DESCRIPTOR.digest}"
        secure.script("GET", "/blobs/", redirect(there), for_ever=True)

        client = make_client(Registries(ca_files={secure.authority: ca_file}))
        with client, pytest.raises(RegistryError, match="from https to http"):
            fetch(client, secure.authority)

        assert [] == plain.requests
