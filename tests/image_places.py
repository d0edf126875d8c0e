"""Where images are in tests: a store of its own, and a client without the user's configuration."""

from __future__ import annotations

import hashlib
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import attrs

from container_kit._registry.client import Client
from container_kit._registry.credentials import Credentials
from container_kit._registry.retrying import Patience
from container_kit._spec.digest import Digest
from container_kit._spec.reference import Reference, parse_reference
from container_kit._spec.registries import Registries
from container_kit._store.store import ImageStore


@contextmanager
def open_client(
    registries: Registries | None = None, *, patience: Patience | None = None
) -> Generator[Client, None, None]:
    """Give a client that knows nobody's credentials."""
    client = Client(registries or Registries(), Credentials(), patience=patience)
    try:
        yield client
    finally:
        client.close()


@attrs.frozen(kw_only=True)
class Place:
    """A store and a client: what a pull and a push work with."""

    store: ImageStore
    client: Client

    def reference(self, text: str) -> Reference:
        """Return a reference."""
        return parse_reference(text)

    def names(self) -> list[str | None]:
        """Return the names of the images in the store, None for a dangling one."""
        return [entry.name for entry in self.store.layout.entries()]

    def blobs(self) -> set[str]:
        """Return the digests of the complete blobs in the store; each is checked."""
        place = Path(self.store.home.images, "blobs", "sha256")
        found = sorted(place.iterdir()) if place.is_dir() else []
        for path in found:
            assert path.name == hashlib.sha256(path.read_bytes()).hexdigest()
        return {f"sha256:{path.name}" for path in found}

    def partials(self) -> list[str]:
        """Return what downloads have left to go on with."""
        return sorted(path.name for path in Path(self.store.home.ingest).iterdir())

    def file(self, diff_id: str, name: str) -> bytes:
        """Return a file of an unpacked layer."""
        place = self.store.layers.find(Digest(diff_id))
        assert place is not None
        return Path(place, name).read_bytes()

    def layers(self) -> list[str]:
        """Return the names of directories of layers, complete or not."""
        return sorted(path.name for path in Path(self.store.home.layers).iterdir())
