"""Blobs come from a registry into the store, and layers are unpacked while they come.

A blob that is here is not fetched; one that another process fetches is waited for; one
that was begun is gone on with. Unpacking reads what has arrived and is not verified yet,
which is safe because a layer counts only when its diff_id is right, and a blob only when
its digest is.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from container_kit._images.crew import Crew
from container_kit._images.meter import Meter
from container_kit._spec.descriptor import Descriptor
from container_kit._spec.digest import Digest, short_digest
from container_kit._spec.progress import Progress, ProgressCallback
from container_kit._spec.reference import Reference
from container_kit._store.ingest import BlobWriter, GrowingFile, begin_blob
from container_kit._store.unpack import Cancellation
from container_kit.errors import DigestMismatchError

if TYPE_CHECKING:
    from container_kit._registry.client import Client
    from container_kit._store.store import ImageStore

DOWNLOAD = "download"
UNPACK = "unpack"
_MOST_UNPACKING = 4


def open_crew(parallel: int, progress: ProgressCallback | None) -> Crew:
    """Return threads for a pull: so many downloads at a time, and as many unpackings as there are processors."""
    unpacking = min(len(os.sched_getaffinity(0)), _MOST_UNPACKING)
    return Crew("ck-pull", {DOWNLOAD: parallel, UNPACK: unpacking}, progress=progress)


class _HereError(Exception):
    """Another process has finished the blob meanwhile."""


class Arrival:
    """A blob that is being downloaded: the sink of the client, over one writer or, after wrong bytes, several.

    Args:
        store: where it goes.
        writer: what was begun.
        check: called with each piece; what it raises ends the download.

    `offset` is how many bytes are there.
    """

    def __init__(self, store: ImageStore, writer: BlobWriter, check: Callable[[], None]) -> None:
        self._store = store
        self._writer = writer
        self._check = check
        self.offset = self.began_at = writer.offset
        self.was_reset = False
        self._is_spent = False

    def write(self, chunk: bytes) -> None:
        """Take the next bytes."""
        self._check()
        self._writer.write(chunk)
        self.offset = self._writer.offset

    def reset(self) -> None:
        """Begin again: what came was wrong, or the server does not go on where we are."""
        self.was_reset = True
        self.offset = 0
        if not self._is_spent:
            self._writer.reset()
            return
        writer = begin_blob(self._store, self._writer.descriptor, resumable=False)
        if writer is None:
            raise _HereError
        self._writer, self._is_spent = writer, False

    def commit(self) -> None:
        """Verify what came and give it its name."""
        try:
            self._writer.commit()
        except DigestMismatchError:
            self._is_spent = True
            raise

    def abandon(self) -> None:
        """Keep what came for a later try. Nothing happens after `commit`."""
        self._writer.abandon(keep=True)


def fetch_blob(
    store: ImageStore,
    client: Client,
    reference: Reference,
    descriptor: Descriptor,
    *,
    check: Callable[[], None] = lambda: None,
    pause: Callable[[float], object] = time.sleep,
    meter: Meter | None = None,
    begun: Callable[[BlobWriter, Arrival], None] | None = None,
) -> bool:
    """Have a blob in the store; return False when it was there, or came by another process.

    Args:
        store: where it goes.
        client: asks the registry.
        reference: which repository it is in.
        descriptor: what is wanted.
        check: called with each piece; what it raises ends the download.
        pause: waits so many seconds while somebody else downloads; what it raises ends that.
        meter: counts the bytes.
        begun: called before the first byte comes.

    Raises:
        DigestMismatchError: the registry does not have what the digest promises.
        RegistryError: it could not be fetched; what came is kept for a later try.
    """
    writer = begin_blob(store, descriptor, pause=pause)
    if writer is None:
        return False
    arrival = Arrival(store, writer, check)
    try:
        if begun is not None:
            begun(writer, arrival)
        with contextlib.suppress(_HereError):
            progress = None if meter is None else meter.advance
            client.download(reference, descriptor, arrival, progress, verify=arrival.commit)
    finally:
        arrival.abandon()
    return True


class Fetch:
    """Downloads blobs and unpacks layers by the threads of a crew.

    Args:
        store: where they go.
        client: asks the registry.
        reference: which repository they are in.
        crew: does the work; its `with` block is around the use of this.
    """

    def __init__(self, store: ImageStore, client: Client, reference: Reference, *, crew: Crew) -> None:
        self.store = store
        self.client = client
        self.reference = reference
        self.crew = crew
        self.cancellation = Cancellation()
        crew.at_stop(self.cancellation.cancel)

    def add(self, descriptor: Descriptor, diff_id: Digest | None = None) -> None:
        """Have a blob in the store, and with `diff_id` the layer that it holds unpacked."""
        self._check_size(descriptor)
        work = _Work(self, descriptor, diff_id)
        if not self.store.layout.has(descriptor.digest):
            self.crew.submit(DOWNLOAD, work.bring)
        elif work.is_unpacking_wanted():
            self.crew.submit(UNPACK, work.unpack)

    def _check_size(self, descriptor: Descriptor) -> None:
        """Refuse a descriptor with the digest of what is here and another size: one of both is a lie."""
        layout = self.store.layout
        if layout.has(descriptor.digest) and layout.size(descriptor.digest) != descriptor.size:
            raise DigestMismatchError(
                image=short_digest(descriptor.digest),
                reason="the content does not have the promised size",
                expected=f"{descriptor.size} bytes",
                actual=f"{layout.size(descriptor.digest)} bytes",
            )


class _Work:
    """What is to be done for one blob, by a thread that downloads and one that unpacks."""

    def __init__(self, fetch: Fetch, descriptor: Descriptor, diff_id: Digest | None) -> None:
        self._fetch = fetch
        self._crew = fetch.crew
        self._layers = fetch.store.layers
        self._descriptor = descriptor
        self._diff_id = diff_id
        self._arrival: Arrival | None = None
        self._growing: GrowingFile | None = None
        self._ended = threading.Event()  # whether or not it came
        self._is_here = False
        self._telling = threading.Lock()
        self._is_told = False
        self._held: Progress | None = None

    def is_unpacking_wanted(self) -> bool:
        """Say whether there is a layer in it that is not unpacked yet."""
        return self._diff_id is not None and self._layers.find(self._diff_id) is None

    def bring(self) -> None:
        """Download the blob; what unpacks it runs beside."""
        blob = self._descriptor
        meter = Meter(self._crew.report, "download", subject=short_digest(blob.digest), total=blob.size)
        fetch = self._fetch
        try:
            meter.advance(0)
            fetched = fetch_blob(
                fetch.store,
                fetch.client,
                fetch.reference,
                blob,
                check=self._crew.check,
                pause=self._crew.pause,
                meter=meter,
                begun=self._begin,
            )
            self._is_here = True
        finally:
            self._ended.set()
        self._tell_end(meter, "" if fetched else "already here")
        if self._growing is None and self.is_unpacking_wanted():
            self._crew.submit(UNPACK, self.unpack)

    def unpack(self) -> None:
        """Unpack the layer from a blob that is here."""
        assert self._diff_id is not None
        self._layers.ensure(self._diff_id, self._descriptor, progress=self._tell, cancellation=self._fetch.cancellation)

    def _begin(self, writer: BlobWriter, arrival: Arrival) -> None:
        if self.is_unpacking_wanted():
            self._arrival = arrival
            self._growing = growing = GrowingFile(writer)
            self._crew.at_end(growing.close)
            self._crew.submit(UNPACK, self._unpack_arriving)

    def _unpack_arriving(self) -> None:
        assert self._growing is not None
        assert self._arrival is not None
        assert self._diff_id is not None
        growing = self._growing
        try:
            self._layers.ensure(
                self._diff_id,
                self._descriptor,
                read=growing.read,
                close=growing.close,
                progress=self._tell,
                cancellation=self._fetch.cancellation,
            )
        except Exception:
            self._ended.wait()
            if not self._is_here:
                return  # the download tells what happened
            if not self._arrival.was_reset and self._arrival.began_at == 0:
                raise
            self.unpack()  # it read bytes that turned out to be wrong
        finally:
            growing.close()

    def _tell(self, event: Progress) -> None:
        """Report how unpacking goes; while the blob still comes, that is what is shown."""
        with self._telling:
            if self._growing is None or self._is_told:
                self._crew.report(event)
            else:
                self._held = event

    def _tell_end(self, meter: Meter, message: str) -> None:
        with self._telling:
            meter.finish(message)
            self._is_told = True
            if self._held is not None:
                self._crew.report(self._held)
