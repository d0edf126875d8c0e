"""A client of registries: the OCI distribution API as images need it.

Each method asks mirrors first where the configuration has some, repeats what may be repeated, proves who the
user is when asked to, and verifies what has a digest. What it does with a blob's bytes is the caller's business.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from itertools import islice
from types import TracebackType
from typing import BinaryIO, Self

from container_kit._registry import download, lists, manifests, upload
from container_kit._registry.asking import Asker, At, repeat, telling
from container_kit._registry.credentials import Credentials
from container_kit._registry.results import Resolved as Resolved
from container_kit._registry.results import SearchResult as SearchResult
from container_kit._registry.results import Sink as Sink
from container_kit._registry.retrying import Patience
from container_kit._registry.session import Known, Request, Session
from container_kit._registry.transport import Transport
from container_kit._spec.descriptor import Descriptor
from container_kit._spec.digest import Digest, digest_of
from container_kit._spec.reference import DEFAULT_TAG, Reference
from container_kit._spec.registries import HUB, Endpoint, Registries
from container_kit.errors import DigestMismatchError, InvalidSpecError

_HUB_SEARCH = Endpoint(url="https://index.docker.io")
_MOST_FOUND = 1000


class Client:
    """Asks registries; thread-safe. Close it, best by `with`.

    All methods raise `ImageUnreachableError` when nobody answers, `AuthenticationError` when the registry wants other
    credentials, `RateLimitedError` when it wants fewer requests, and `RegistryError` when it refuses otherwise.

    Args:
        registries: Mirrors, insecure ones, certificates.
        credentials: Who the user is.
        patience: Attempts and timeouts.
    """

    def __init__(
        self,
        registries: Registries,
        credentials: Credentials,
        *,
        patience: Patience | None = None,
        _known: Known | None = None,
    ) -> None:
        self._registries = registries
        self._credentials = credentials
        self._patience = patience or Patience()
        self._known = _known or Known()
        self._transport = Transport(self._patience)
        self._closing = threading.Event()
        session = Session(self._transport, registries, credentials, self._patience, known=self._known)
        pause = self._closing.wait if self._patience.pause is None else self._patience.pause
        self._asker = Asker(session, registries, self._patience, pause)

    def twin(self) -> Client:
        """Return another client that knows what this one learned, with connections of its own."""
        return Client(self._registries, self._credentials, patience=self._patience, _known=self._known)

    def close(self) -> None:
        """Close all connections; requests that wait in other threads fail at once, as later ones do. Idempotent."""
        self._closing.set()
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # ── manifests ────────────────────────────────────────────────────────────────────────────────

    def resolve(self, reference: Reference) -> Resolved:
        """Return what a reference means now: one HEAD, or one GET for a digest and where HEAD does not tell.

        Raises:
            ManifestUnknownError: The registry has no such image.
            DigestMismatchError: It has something else under the digest.
        """
        if reference.digest is not None:
            return self.manifest(reference)
        tag = reference.tag or DEFAULT_TAG
        return self._asker.ask(
            reference, lambda at: manifests.head_manifest(at, tag) or manifests.get_manifest(at, tag, None)
        )

    def manifest(self, reference: Reference, digest: Digest | None = None) -> Resolved:
        """Return a manifest or index with its bytes, at most 4 MiB.

        Args:
            reference: Which repository, and what in it.
            digest: What in it instead, e.g. a manifest that an index names.

        Raises:
            ManifestUnknownError: The registry has none.
            DigestMismatchError: The bytes are not those of the digest.
        """
        wanted = digest or reference.digest
        name = wanted or reference.tag or DEFAULT_TAG
        return self._asker.ask(reference, lambda at: manifests.get_manifest(at, name, wanted))

    def put_manifest(self, reference: Reference, data: bytes, media_type: str) -> Digest:
        """Store a manifest or index under the reference's tag, without one under its digest; return the digest."""
        name = reference.tag or digest_of(data)
        return self._asker.ask(reference, lambda at: manifests.put_manifest(at, name, data, media_type), push=True)

    # ── blobs ────────────────────────────────────────────────────────────────────────────────────

    def download(
        self,
        reference: Reference,
        descriptor: Descriptor,
        sink: Sink,
        progress: Callable[[int], None] | None = None,
        *,
        verify: Callable[[], None] | None = None,
    ) -> None:
        """Write a blob into a sink, from `sink.offset` on; never more than `descriptor.size` bytes.

        Args:
            reference: Which repository.
            descriptor: Which blob; its URLs are never asked.
            sink: Is reset when what it has cannot be continued. What it raises ends the download.
            progress: Called with the number of bytes that are there so far; fewer than before after a reset.
            verify: Called when all bytes are there, e.g. to commit them. When it raises DigestMismatchError, another
                attempt is made: from the first byte on if this one had continued something, else at the next mirror.

        Raises:
            DigestMismatchError: What `verify` raised, when there is nobody else to ask.
        """
        was_wrong = False

        def action(at: At) -> None:
            nonlocal was_wrong
            if was_wrong:
                sink.reset()
                was_wrong = False
            try:
                download.download(at, descriptor, sink, progress, verify)
            except DigestMismatchError:
                was_wrong = True
                raise

        self._asker.ask_once(reference, action)

    def has_blob(self, reference: Reference, digest: Digest) -> bool:
        """Tell whether the repository has a blob, in the registry that would be pushed to."""
        return self._asker.ask(reference, lambda at: upload.has_blob(at, digest, at.push_scope), push=True)

    def mount_blob(self, reference: Reference, digest: Digest, from_repository: str) -> bool:
        """Make a blob of another repository of this registry part of this one too; False when it could not be."""
        return self._asker.ask(reference, lambda at: upload.mount_blob(at, digest, from_repository), push=True)

    def upload(
        self,
        reference: Reference,
        descriptor: Descriptor,
        open_content: Callable[[int], BinaryIO],
        *,
        chunk_bytes: int | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> None:
        """Upload a blob.

        Args:
            reference: Which repository.
            descriptor: The blob's digest and size.
            open_content: Opens its bytes from an offset on; called again for another attempt.
            chunk_bytes: Send it in pieces of this size; None: in one request.
            progress: Called with the number of bytes sent so far; fewer than before when it begins again.

        Raises:
            ImageError: The content ended early.
        """
        if chunk_bytes is not None and chunk_bytes < 1:
            raise InvalidSpecError(field="chunk_bytes", value=chunk_bytes, reason="must be at least 1")
        content = upload.Content(descriptor=descriptor, open_at=open_content, progress=progress)
        self._asker.ask_once(reference, lambda at: upload.upload(at, content, chunk_bytes), push=True)

    # ── lists ────────────────────────────────────────────────────────────────────────────────────

    def tags(self, reference: Reference) -> Iterator[str]:
        """Yield the tags of a repository, page by page; asks the registry itself, no mirror."""
        ((endpoint, repository),) = self._registries.endpoints_for(reference, push=True)
        with telling(endpoint):
            yield from lists.read_tags(self._asker.at(endpoint, repository))

    def catalog(self, registry: str) -> Iterator[str]:
        """Yield the repositories of a registry, page by page; Docker Hub does not tell."""
        endpoint = self._registries.registry_endpoint(registry)
        with telling(endpoint):
            yield from lists.read_catalog(self._asker.at(endpoint))

    def search(self, registry: str, term: str, limit: int) -> list[SearchResult]:
        """Return at most `limit` repositories that match a term: by the registry's search, else by their names."""
        limit = max(0, min(limit, _MOST_FOUND))
        endpoint = _HUB_SEARCH if registry == HUB else self._registries.registry_endpoint(registry)
        with telling(endpoint):
            found = lists.search(self._asker.at(endpoint), term, limit)
        if found is None:
            names = (name for name in self.catalog(registry) if term.lower() in name)
            found = [SearchResult(name=name) for name in islice(names, limit)]
        return found

    # ── login ────────────────────────────────────────────────────────────────────────────────────

    def check_login(self, registry: str) -> None:
        """Ask the registry whether it takes the credentials for it.

        Raises:
            AuthenticationError: It does not.
        """
        at = self._asker.at(self._registries.registry_endpoint(registry))
        ping = Request(method="GET", target="/v2/")
        with telling(at.endpoint):
            repeat(at, lambda at: at.session.send(at.endpoint, ping, expect=(200,)).close())
