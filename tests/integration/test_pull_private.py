"""Pushing to and pulling from registries that ask who one is, and that have certificates of their own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import container_kit as ck
from container_kit._images.pull import pull
from container_kit._images.push import push
from container_kit._registry.client import Client
from container_kit._registry.credentials import Credentials, Login
from container_kit._spec.digest import Digest
from container_kit._spec.registries import Registries
from container_kit._store.collect import collect
from container_kit.errors import AuthenticationError, ImageUnreachableError
from tests.conftest import LedgerWatch
from tests.image_places import Place
from tests.registries import (
    PASSWORD,
    USER,
    Registry,
    htpasswd_section,
    make_authority,
    make_certificate,
    run_registry,
)
from tests.small_images import digest_of, make_image, make_tar, noise
from tests.stores import put_image

TAR = make_tar({"data": noise(300_000)})
IMAGE = make_image(TAR, make_tar({"other": b"x"}))
MINE = Login(username=USER, password=PASSWORD)
WRONG = Login(username=USER, password=PASSWORD + "wrong")


@pytest.fixture
def private_registry(tmp_path: Path, ledger: LedgerWatch) -> Iterator[Registry]:
    """Give a registry that wants a password."""
    with run_registry(tmp_path / "registry", auth=htpasswd_section(tmp_path)) as registry:
        yield registry


@pytest.fixture
def tls_registry(tmp_path: Path, ledger: LedgerWatch) -> Iterator[Registry]:
    """Give a registry with a certificate by an authority that nobody knows."""
    ca_file = make_authority(tmp_path / "tls")
    cert = make_certificate(tmp_path / "tls")
    tls = {"certificate": str(cert), "key": str(cert.with_suffix(".key"))}
    with run_registry(tmp_path / "registry", ca_file=ca_file, tls=tls) as registry:
        yield registry


def client_for(registry: Registry, login: Login | None = None, ca_file: str | None = None) -> Client:
    """Return a client that knows a login and an authority for this registry."""
    registries = Registries(ca_files={registry.authority: ca_file} if ca_file else {})
    return Client(registries, Credentials(explicit={registry.authority: login} if login else {}))


def test_with_the_password_it_goes_out_and_comes_in(private_registry: Registry, engine: ck.Engine) -> None:
    """Every request of every thread proves who asks."""
    with client_for(private_registry, MINE) as client:
        place = Place(store=engine.site.images, client=client)
        reference = place.reference(private_registry.reference("box:1"))
        push(place.store, client, put_image(place.store, IMAGE), reference)
        with place.store.layout.edit() as index:
            index.remove(Digest(IMAGE.digest))
        collect(place.store)
        assert set() == place.blobs()

        entry = pull(place.store, client, reference)

    assert IMAGE.digest == entry.descriptor.digest
    assert noise(300_000) == place.file(digest_of(TAR), "data")


@pytest.mark.parametrize("login", [None, WRONG])
def test_without_the_password_nothing_comes(private_registry: Registry, engine: ck.Engine, login: Login | None) -> None:
    """The error says so, and not what was tried."""
    with client_for(private_registry, login) as client:
        place = Place(store=engine.site.images, client=client)
        reference = place.reference(private_registry.reference("box:1"))

        with pytest.raises(AuthenticationError) as caught:
            pull(place.store, client, reference)
        with pytest.raises(AuthenticationError):
            push(place.store, client, put_image(place.store, IMAGE), reference)

    assert "wrong" not in repr(caught.value) + str(caught.value)


def test_with_the_authority_it_goes_out_and_comes_in(tls_registry: Registry, engine: ck.Engine) -> None:
    """Over TLS, verified; without the authority nobody is spoken to."""
    with client_for(tls_registry, ca_file=tls_registry.ca_file) as client:
        place = Place(store=engine.site.images, client=client)
        reference = place.reference(tls_registry.reference("box:1"))

        push(place.store, client, put_image(place.store, IMAGE), reference)
        entry = pull(place.store, client, reference)

    assert IMAGE.digest == entry.descriptor.digest
    with client_for(tls_registry) as stranger, pytest.raises(ImageUnreachableError):
        pull(place.store, stranger, reference.with_tag("2"))
