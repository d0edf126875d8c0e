"""What everything in `_images` works on: an engine's content store.

Images are an OCI layout (`layout`), unpacked layers are overlay lower directories (`layers`). Neither
counts references: what nothing refers to is collected (`collect`), and what somebody is still at
work with is protected by a lease.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Generator
from contextlib import contextmanager

from container_kit._linux import processes
from container_kit._spec.digest import Digest
from container_kit._spec.facts import IdMap, OverlayForm
from container_kit._state import content_records
from container_kit._state.database import Database
from container_kit._state.home import Home
from container_kit._store.layers import Layers
from container_kit._store.layout import Layout


class ImageStore:
    """An engine's images and layers. Thread-safe; a fork's child may go on with it."""

    def __init__(
        self,
        home: Home,
        database: Database,
        *,
        rootless: bool,
        id_map: IdMap,
        overlay_form: OverlayForm,
        user_namespace: Callable[[], int | None],
    ) -> None:
        self.home = home
        self.database = database
        self.rootless = rootless
        self.id_map = id_map
        self.overlay_form = overlay_form
        self.user_namespace = user_namespace
        self.layout = Layout(home)
        self.layers = Layers(self)

    @property
    def has_many_ids(self) -> bool:
        """False in a user namespace with a single id, where files cannot have other owners."""
        return sum(each.size for each in self.id_map.uids) > 1

    @contextmanager
    def lease(self, *digests: Digest) -> Generator[Lease, None, None]:
        """Protect content that no name refers to yet from being collected.

        A lease on a manifest or an index holds all that it refers to, as far as it is there. It
        ends with the block, or with this process. Take it before looking whether something is
        there: afterwards it stays.

        Args:
            digests: of blobs, and diff_ids of layers.
        """
        lease = Lease(self.database)
        lease.add(*digests)
        try:
            yield lease
        finally:
            lease.release()


class Lease:
    """Protects the digests that were added to it."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._token = secrets.token_hex(8)
        self._process = processes.own_process_id()

    def add(self, *digests: Digest) -> None:
        """Protect more."""
        if digests:
            content_records.add_leases(self._database, self._token, self._process, digests)

    def release(self) -> None:
        """Protect nothing any more. Idempotent; a fork's child leaves its parent's lease alone."""
        if self._process.pid == os.getpid():
            content_records.drop_lease(self._database, self._token)
