"""What tests of the registry client share: a client that does not wait, a sink in memory, blobs."""

from __future__ import annotations

import hashlib
import io
import random
import time
from collections.abc import Callable, Mapping
from typing import BinaryIO

from container_kit._registry.client import Client
from container_kit._registry.credentials import Credentials
from container_kit._registry.login import Login
from container_kit._registry.retrying import Patience
from container_kit._spec.descriptor import Descriptor
from container_kit._spec.digest import Digest, digest_of
from container_kit._spec.reference import Reference
from container_kit._spec.registries import Registries
from container_kit.errors import DigestMismatchError


class MemorySink:
    """Takes a blob into memory; `verify` judges it as a store would."""

    def __init__(self, begun: bytes = b"") -> None:
        self.data = bytearray(begun)
        self.offset = len(begun)
        self.resets = 0

    def write(self, chunk: bytes) -> None:
        """Append."""
        self.data += chunk
        self.offset = len(self.data)

    def reset(self) -> None:
        """Forget."""
        self.data.clear()
        self.offset = 0
        self.resets += 1

    def verifier(self, descriptor: Descriptor) -> Callable[[], None]:
        """Return what checks the bytes against a descriptor."""

        def verify() -> None:
            actual = digest_of(bytes(self.data))
            if actual != descriptor.digest:
                raise DigestMismatchError(image="blob", expected=descriptor.digest, actual=actual)

        return verify


class Pauses(list[float]):
    """Pauses that a client would have made, in seconds; none is made."""

    def __call__(self, seconds: float) -> None:
        """Note a pause."""
        self.append(seconds)


def make_client(
    registries: Registries | None = None,
    *,
    logins: Mapping[str, Login] | None = None,
    pauses: Pauses | None = None,
    stall_timeout: float = 10.0,
    attempts: int = 5,
    monotonic: Callable[[], float] | None = None,
) -> Client:
    """Return a client that does not pause between attempts and knows no credentials but these."""
    patience = Patience(
        attempts=attempts,
        connect_timeout=5.0,
        stall_timeout=stall_timeout,
        pause=Pauses() if pauses is None else pauses,
        jitter=lambda: 1.0,
        monotonic=monotonic or time.monotonic,
    )
    return Client(registries or Registries(), Credentials(explicit=logins), patience=patience)


def reference_to(authority: str, repository: str = "team/app", tag: str | None = "1") -> Reference:
    """Return the reference of an image at a registry."""
    return Reference(registry=authority, repository=repository, tag=tag, digest=None)


def blob_of(size: int, seed: int = 1) -> tuple[bytes, Descriptor]:
    """Return so many bytes, always the same ones, and their descriptor."""
    data = random.Random(seed).randbytes(size)
    return data, describe(data)


def describe(data: bytes, media_type: str = "application/vnd.oci.image.layer.v1.tar") -> Descriptor:
    """Return the descriptor of bytes."""
    digest = Digest(f"sha256:{hashlib.sha256(data).hexdigest()}")
    return Descriptor(media_type=media_type, digest=digest, size=len(data))


def opener(data: bytes) -> Callable[[int], BinaryIO]:
    """Return what opens bytes at an offset."""
    return lambda offset: io.BytesIO(data[offset:])
