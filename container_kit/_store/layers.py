"""Unpacked layers: directories that an overlay can use as they are, shared by all images that have them.

One is named by its diff_id and never changed. It has that name only when it is complete, and counts
only while a row says so. Unpacking does not wait for the disk: until a layer is known to be durable, it
counts in the boot in which it was unpacked, and after a power cut it is unpacked again.
"""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from container_kit._files.view import directory_view
from container_kit._files.worker import Counts, FileWorker
from container_kit._linux import processes, shim
from container_kit._spec.descriptor import Descriptor
from container_kit._spec.digest import Digest
from container_kit._spec.manifest import Manifest
from container_kit._spec.oci_config import OciConfig
from container_kit._spec.paths import HostPath
from container_kit._spec.progress import ProgressCallback
from container_kit._state import content_records
from container_kit._state.content_records import LayerRecord
from container_kit._store.claims import Claim, claim_work
from container_kit._store.durable import storage_errors
from container_kit._store.scratch import scratch_path
from container_kit._store.trust import is_trusted, may_settle
from container_kit._store.unpack import Cancellation, LayerSource, unpack_layer
from container_kit.errors import ContainerKitError, HostError, ImageError

if TYPE_CHECKING:
    from container_kit._store.store import ImageStore

UNPACKING = ".unpack"
_MOST_THREADS = 4
_PUBLIC = 0o755  # whoever a container's user is looks into its root


class Layers:
    """The unpacked layers of an engine. Thread-safe."""

    def __init__(self, store: ImageStore) -> None:
        self._store = store
        self._durable: set[Digest] = set()

    def find(self, diff_id: Digest) -> HostPath | None:
        """Return where a layer is unpacked, or None."""
        return self.find_all((diff_id,)).get(diff_id)

    def find_all(self, diff_ids: Sequence[Digest]) -> dict[Digest, HostPath]:
        """Return where layers are unpacked, as far as they are. May write out what was unpacked a while ago."""
        there, may_settle = self._look(diff_ids)
        if may_settle:
            self._settle()
        return there

    def complete(self, diff_ids: Sequence[Digest]) -> set[Digest]:
        """Return which of these layers are unpacked; never blocks."""
        return set(self._look(diff_ids)[0])

    def _look(self, diff_ids: Sequence[Digest]) -> tuple[dict[Digest, HostPath], bool]:
        """Return where layers are, and whether one of them has probably reached the disk but is not known to."""
        paths = {diff_id: self._store.home.layer_dir(diff_id) for diff_id in diff_ids}
        there = {diff_id: path for diff_id, path in paths.items() if os.path.isdir(path)}
        unsure = [diff_id for diff_id in there if diff_id not in self._durable]
        if not unsure:
            return there, False
        records = content_records.layers(self._store.database, unsure)
        for diff_id in unsure:
            if not is_trusted(records.get(diff_id), self._boot_id):
                del there[diff_id]
        self._durable.update(diff_id for diff_id in unsure if diff_id in there and records[diff_id].durable)
        return there, any(may_settle(record) for diff_id, record in records.items() if diff_id in there)

    def ensure(
        self,
        diff_id: Digest,
        layer: Descriptor,
        *,
        read: Callable[[int], bytes] | None = None,
        close: Callable[[], None] | None = None,
        progress: ProgressCallback | None = None,
        cancellation: Cancellation | None = None,
    ) -> HostPath:
        """Return where a layer is unpacked; unpack it, or wait for somebody else who does, if it is not.

        The layer stays as long as an image, a container or a lease refers to it.

        Args:
            diff_id: which layer.
            layer: its blob.
            read: returns up to so many bytes of the blob, nothing at its end; None: it is in the store.
            close: makes `read` raise, from another thread; called when unpacking fails.
            progress: told about unpacking.
            cancellation: ends unpacking early, with a `HostError`.

        Raises:
            DigestMismatchError: the layer has another diff_id.
            UnsafeArchiveError: it is malformed, a bomb, or writes where it must not.
            ImageError: its blob is not in the store.
            StorageFullError: there is no room.
        """
        found = self.find(diff_id)
        if found is not None:
            return found
        source = LayerSource(layer=layer, read=read, close=close)
        cancellation = cancellation or Cancellation()
        with storage_errors(self._store.home.layers, f"cannot unpack the layer {source.name}"):
            work = HostPath(f"{self._store.home.ingest}/{diff_id.replace(':', '-')}{UNPACKING}")
            claim = claim_work(work, lambda: self._is_done(diff_id, cancellation))
            if claim is not None:
                try:
                    self._make(diff_id, source, claim, cancellation, progress)
                finally:
                    claim.release(remove=True)
        return self._store.home.layer_dir(diff_id)

    def ensure_all(
        self, manifest: Manifest, config: OciConfig, progress: ProgressCallback | None = None
    ) -> tuple[HostPath, ...]:
        """Return where all layers of an image are, the topmost first; unpack in parallel what is missing.

        Raises:
            ImageError: manifest and configuration do not agree; or as `ensure`.
        """
        pairs = pair_layers(manifest, config)
        there = self.find_all(list(pairs))
        missing = {diff_id: layer for diff_id, layer in pairs.items() if diff_id not in there}
        if missing:
            self._ensure_missing(missing, progress)
        # The topmost of two that are the same hides the other; overlayfs refuses a layer twice.
        topmost_first = dict.fromkeys(reversed(config.diff_ids))
        return self._visible(self._store.home.layer_dir(diff_id) for diff_id in topmost_first)

    def _visible(self, topmost_first: Iterable[HostPath]) -> tuple[HostPath, ...]:
        """Return the layers down to one whose root is opaque: overlayfs would go on below it."""
        attribute = "user.overlay.opaque" if self._store.rootless else "trusted.overlay.opaque"
        visible: list[HostPath] = []
        for path in topmost_first:
            visible.append(path)
            try:
                if attribute in os.listxattr(path):
                    break
            except FileNotFoundError:
                hint = "pull or load it again"
                raise ImageError(image=os.path.basename(path), reason="was removed just now", hint=hint) from None
        return tuple(visible)

    def discard(self, path: HostPath) -> None:
        """Delete a tree in the directory of layers, whoever owns what is in it. Idempotent."""
        if os.path.lexists(path):
            view = directory_view(self._store.home.layers)
            with FileWorker.start(view, user_namespace=self._store.user_namespace()) as worker:
                worker.remove(f"/{os.path.basename(path)}", recursive=True)

    def forget(self, diff_id: Digest) -> None:
        """Look anew whether a layer is there."""
        self._durable.discard(diff_id)

    # ── unpacking ────────────────────────────────────────────────────────────────────────────────

    def _ensure_missing(self, missing: dict[Digest, Descriptor], progress: ProgressCallback | None) -> None:
        waiting = sorted(missing.items(), key=lambda pair: pair[1].size)  # taken from the end: the largest first
        cancellation = Cancellation()
        errors: list[BaseException] = []
        lock = threading.Lock()

        def work() -> None:
            while not cancellation.is_cancelled:
                with lock:
                    if not waiting:
                        return
                    diff_id, layer = waiting.pop()
                try:
                    self.ensure(diff_id, layer, progress=progress, cancellation=cancellation)
                except BaseException as err:  # noqa: BLE001  # raised again below
                    errors.append(err)
                    cancellation.cancel()

        count = min(len(waiting), _MOST_THREADS, len(os.sched_getaffinity(0)))
        threads: list[threading.Thread] = []
        try:
            for _ in range(count - 1):
                thread = threading.Thread(target=work, name="container_kit unpack")
                thread.start()
                threads.append(thread)
            work()
        except RuntimeError as err:  # the limit of processes or of memory
            cancellation.cancel()
            raise HostError(attempted="cannot start a thread", errno=errno.EAGAIN) from err
        except BaseException:
            cancellation.cancel()
            raise
        finally:
            for thread in threads:
                thread.join()
        if errors:
            raise errors[0]

    def _is_done(self, diff_id: Digest, cancellation: Cancellation) -> bool:
        if cancellation.is_cancelled:
            raise HostError(attempted="cannot unpack a layer", errno=errno.ECANCELED)
        return diff_id in self.complete((diff_id,))

    def _make(
        self,
        diff_id: Digest,
        source: LayerSource,
        claim: Claim,
        cancellation: Cancellation,
        progress: ProgressCallback | None,
    ) -> None:
        temporary = scratch_path(self._store.home.layers)
        os.mkdir(temporary, _PUBLIC)
        try:
            os.chmod(temporary, _PUBLIC)  # whatever the umask was
            counts = unpack_layer(
                self._store,
                diff_id,
                source,
                temporary,
                touch=claim.touch,
                cancellation=cancellation,
                progress=progress,
            )
            self._place(diff_id, temporary, counts)
        except BaseException as error:
            try:
                self.discard(temporary)
            except ContainerKitError as err:
                error.add_note(f"and its directory could not be removed: {err}")
            raise

    def _place(self, diff_id: Digest, temporary: HostPath, counts: Counts) -> None:
        """Give a complete tree its name, and record that."""
        final = self._store.home.layer_dir(diff_id)
        record = LayerRecord(
            diff_id=diff_id,
            boot_id=self._boot_id,
            durable=False,
            unpacked_at=time.time(),
            bytes=counts.bytes,
            entries=counts.entries,
        )
        surplus = temporary
        with self._store.database.transaction():
            if diff_id not in self.complete((diff_id,)):
                self.forget(diff_id)
                surplus = scratch_path(self._store.home.layers, is_trash=True)
                if os.path.lexists(final):  # of a process that was killed, or from before a power cut
                    os.rename(final, surplus)
                os.rename(temporary, final)
                content_records.put_layer(self._store.database, record)
        self.discard(surplus)

    # ── what counts ──────────────────────────────────────────────────────────────────────────────

    @cached_property
    def _boot_id(self) -> str:
        return processes.boot_id()

    def _settle(self) -> None:
        """Make what was unpacked until now survive a power cut: mostly it is on the disk by now."""
        before = time.time()
        shim.sync_file_system(self._store.home.layers)
        content_records.set_layers_durable(self._store.database, boot_id=self._boot_id, before=before)


def pair_layers(manifest: Manifest, config: OciConfig) -> dict[Digest, Descriptor]:
    """Return the layers of an image by diff_id.

    Raises:
        ImageError: manifest and configuration do not list the same number.
    """
    if len(manifest.layers) != len(config.diff_ids):
        reason = f"it has {len(manifest.layers)} layers, and its configuration lists {len(config.diff_ids)}"
        raise ImageError(image=manifest.config.digest, reason=reason)
    return dict(zip(config.diff_ids, manifest.layers, strict=True))
