"""Collecting what nothing refers to: mark from what is named, used or leased, then sweep.

Marking and taking away happen in one transaction of the database, under the index's lock: a lease, a
container's row or a name is there before, and protects, or comes after, and whoever made it then sees
that the content is gone. Taking away is a rename; deleting takes as long as it takes.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterable

import attrs

from container_kit._files.view import directory_view
from container_kit._files.worker import FileWorker
from container_kit._spec.digest import Digest, parse_digest
from container_kit._spec.paths import HostPath
from container_kit._state import content_records
from container_kit._store.claims import remove_unclaimed
from container_kit._store.durable import CONTENT_MODE, storage_errors
from container_kit._store.ingest import PARTIAL
from container_kit._store.layers import UNPACKING
from container_kit._store.marks import Marks, mark
from container_kit._store.reserve import keep_reserve
from container_kit._store.scratch import is_abandoned, scratch_path
from container_kit._store.store import ImageStore
from container_kit.errors import InvalidDigestError, StorageFullError

_PARTIAL_SECONDS = 7 * 24 * 3600.0
_FOREIGN_SECONDS = 3600.0


@attrs.frozen(kw_only=True)
class Collected:
    """What was taken away: numbers of blobs and layers, and their bytes on disk."""

    blobs: int = 0
    layers: int = 0
    bytes: int = 0


def collect(store: ImageStore, *, keep: Callable[[Digest], bool] | None = None) -> Collected:
    """Delete the blobs and layers that no image, container or lease refers to, and what dead processes left.

    Nothing is deleted while an image's manifest or configuration is damaged: what it refers to
    cannot be told then. Blobs that another tool wrote (`skopeo copy`) less than an hour ago stay,
    it may be about to name them.

    On a full disk partial blobs go as well, whatever their age: others need the room.

    Args:
        store: where.
        keep: says of a blob or a diff_id whether it stays although nothing refers to it.

    Raises:
        StateError: the index is damaged.
        StorageFullError: there is no room for the records; see `reserve`.
        HostError: something cannot be deleted; it is gone from the store nevertheless.
    """
    try:
        return _collect(store, keep)
    except StorageFullError:
        freed = free_partials(store)
        if not freed:
            raise
    collected = _collect(store, keep)
    return attrs.evolve(collected, bytes=collected.bytes + freed)


def free_partials(store: ImageStore) -> int:
    """Delete the partial blobs that nobody is at work on, whatever their age, and return how many bytes they had.

    Raises:
        HostError: one cannot be deleted.
    """
    with storage_errors(store.home.ingest, "cannot delete partial blobs"):
        return sum(
            _remove_partial(store, name, older_than=math.inf)
            for name in _names_in(store.home.ingest)
            if name.endswith(PARTIAL)
        )


def _collect(store: ImageStore, keep: Callable[[Digest], bool] | None) -> Collected:
    trash: list[HostPath] = []
    collected = Collected()
    try:
        if os.path.exists(f"{store.home.images}/oci-layout"):
            collected = _take_away(store, keep, trash)
    finally:
        _delete(store, trash)  # whatever came after: it has lost its name
    sweep(store)
    keep_reserve(store.home)
    return collected


def _take_away(store: ImageStore, keep: Callable[[Digest], bool] | None, trash: list[HostPath]) -> Collected:
    taking = storage_errors(store.home.root, "cannot collect what is not used")
    with taking, store.layout.edit() as index, store.database.transaction():
        marks = mark(store, index.entries)
        if not marks.is_complete:
            return Collected()
        blobs = _sweep_blobs(store, marks, keep, trash)
        layers = _sweep_layers(store, marks, keep, trash)
        return Collected(blobs=len(blobs), layers=len(layers), bytes=sum(blobs) + sum(layers))


def sweep(store: ImageStore) -> None:
    """Delete what processes left that are gone: unfinished work, and partial blobs that nobody went on with for a week.

    Raises:
        HostError: something cannot be deleted.
    """
    for name in _names_in(store.home.ingest):
        if name.endswith(PARTIAL):
            _remove_partial(store, name, older_than=time.time() - _PARTIAL_SECONDS)
        elif name.endswith(UNPACKING):
            remove_unclaimed(HostPath(f"{store.home.ingest}/{name}"), older_than=time.time())
    homes = (store.home.ingest, store.home.layers)
    _delete(store, [HostPath(f"{home}/{name}") for home in homes for name in _names_in(home) if is_abandoned(name)])


def _remove_partial(store: ImageStore, name: str, *, older_than: float) -> int:
    """Delete a partial blob unless somebody is at work on it, and return how many bytes it had."""
    path = HostPath(f"{store.home.ingest}/{name}")
    try:
        size = os.stat(path, follow_symlinks=False).st_size
    except FileNotFoundError:
        return 0
    return size if remove_unclaimed(path, older_than=older_than) else 0


def _sweep_blobs(
    store: ImageStore, marks: Marks, keep: Callable[[Digest], bool] | None, trash: list[HostPath]
) -> list[int]:
    sizes: list[int] = []
    place = scratch_path(store.home.ingest, is_trash=True)
    for digest, entry in _blobs(store):
        info = entry.stat(follow_symlinks=False)
        is_ours = info.st_mode & 0o777 == CONTENT_MODE
        if digest in marks.blobs:
            if not is_ours:
                os.chmod(entry.path, CONTENT_MODE)  # it has a name by now
            continue
        if (keep is not None and keep(digest)) or not (is_ours or time.time() - info.st_ctime > _FOREIGN_SECONDS):
            continue
        if not sizes:
            os.mkdir(place, 0o700)
            trash.append(place)
        os.rename(entry.path, f"{place}/{entry.name}")
        sizes.append(info.st_size)
    return sizes


def _sweep_layers(
    store: ImageStore, marks: Marks, keep: Callable[[Digest], bool] | None, trash: list[HostPath]
) -> list[int]:
    sizes: list[int] = []
    records = content_records.layers(store.database)
    there = {diff_id: name for name in _names_in(store.home.layers) if (diff_id := _digest_of(name)) is not None}
    complete = store.layers.complete(list(there))
    for diff_id, name in there.items():
        is_wanted = diff_id in marks.layers or (keep is not None and keep(diff_id))
        if name in marks.directories or (is_wanted and diff_id in complete):
            continue
        place = scratch_path(store.home.layers, is_trash=True)
        os.rename(f"{store.home.layers}/{name}", place)
        trash.append(place)
        sizes.append(records[diff_id].bytes if diff_id in records else 0)
        store.layers.forget(diff_id)
        content_records.drop_layer(store.database, diff_id)
    for gone in records.keys() - there.keys():
        content_records.drop_layer(store.database, gone)
    return sizes


def _delete(store: ImageStore, paths: Iterable[HostPath]) -> None:
    """Delete files and trees, whoever owns what is in them."""
    by_directory: dict[str, list[str]] = {}
    for path in paths:
        by_directory.setdefault(os.path.dirname(path), []).append(os.path.basename(path))
    for directory, names in by_directory.items():
        with storage_errors(directory, f"cannot delete what is left in {directory}"):
            view = directory_view(HostPath(directory))
            with FileWorker.start(view, user_namespace=store.user_namespace()) as worker:
                for name in names:
                    _remove(worker, name)


def _remove(worker: FileWorker, name: str) -> None:
    try:
        worker.remove(f"/{name}", recursive=True)
    except FileNotFoundError:
        pass  # another process sweeps as well


def _blobs(store: ImageStore) -> Iterable[tuple[Digest, os.DirEntry[str]]]:
    for algorithm in _names_in(HostPath(f"{store.home.images}/blobs")):
        with os.scandir(f"{store.home.images}/blobs/{algorithm}") as entries:
            for entry in entries:
                digest = _digest_of(f"{algorithm}-{entry.name}")
                if digest is not None:
                    yield digest, entry


def _digest_of(name: str) -> Digest | None:
    """Return the digest that a file or directory is named by; None for another one."""
    try:
        return parse_digest(name.replace("-", ":", 1))
    except InvalidDigestError:
        return None


def _names_in(directory: HostPath) -> list[str]:
    try:
        return os.listdir(directory)
    except (FileNotFoundError, NotADirectoryError):
        return []
