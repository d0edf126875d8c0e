"""The image layout: blobs by digest, and the index with the images' names. A standard OCI image layout.

Other tools read and write it too. A blob has its name only when it is complete and verified, and is
never changed afterwards; bytes that have a digest are never serialised again. Reading takes no
lock. The index is replaced as a whole by one process at a time.
Source: OCI image-layout.md.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import platform as _host
import stat
import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, TypeVar

from container_kit._spec.descriptor import Descriptor
from container_kit._spec.digest import Digest, algorithm_of, digest_of, hex_of, short_digest
from container_kit._spec.manifest import Index, Manifest, parse_document
from container_kit._spec.media_types import DocumentKind, kind
from container_kit._spec.oci_config import OciConfig, parse_oci_config
from container_kit._spec.paths import HostPath
from container_kit._spec.platform import Platform, choose_platform, host_platform
from container_kit._state.home import Home
from container_kit._state.locks import hold_lock
from container_kit._store.durable import CONTENT_MODE, make_directory, storage_errors, write_whole
from container_kit._store.index_file import Entry, IndexEdit, entries_of, rows_of
from container_kit._store.index_storage import RepeatableEdit, read_index, replace_index
from container_kit._store.reserve import keep_reserve
from container_kit._store.scratch import scratch_path
from container_kit.errors import (
    ContainerKitError,
    DigestMismatchError,
    ImageError,
    ImageNotFoundError,
    StateError,
    UnsupportedMediaTypeError,
)

__all__ = ["Entry", "IndexEdit", "Layout"]

LARGEST_DOCUMENT = 4 << 20  # of a manifest, an index and a config
_DEEPEST_INDEX = 4
_REMEMBERED = 512
_TICK_NS = 20_000_000  # within one tick of the kernel's clock a file may change twice with one mtime
_NO_FILE = (errno.ELOOP, errno.ENXIO)  # of open(2): a symlink, a socket
_MARKER = json.dumps({"imageLayoutVersion": "1.0.0"}).encode()

_Value = TypeVar("_Value")


class Layout:
    """The image layout of an engine. Thread-safe; holds nothing but what it read."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._root = home.images
        self._index_file = f"{home.images}/index.json"
        self._seen: tuple[object, tuple[Entry, ...]] = (None, ())
        self._documents: dict[Digest, Manifest | Index] = {}
        self._configs: dict[Digest, OciConfig] = {}

    # ── the index ────────────────────────────────────────────────────────────────────────────────

    def entries(self) -> tuple[Entry, ...]:
        """Return all images, in the order of the index.

        Raises:
            StateError: index.json is damaged, or missing although there are images.
        """
        try:
            info = os.stat(self._index_file)
        except FileNotFoundError:
            self._check_fresh()
            return ()
        stamp = (info.st_ino, info.st_mtime_ns, info.st_size)
        seen = self._seen
        if seen[0] != stamp:
            is_settled = time.time_ns() - info.st_mtime_ns >= _TICK_NS
            seen = (stamp, entries_of(rows_of(read_index(self._index_file)[1])))
            self._seen = seen if is_settled else (None, ())
        return seen[1]

    @contextmanager
    def edit(self, timeout: float = 30.0) -> Generator[IndexEdit, None, None]:
        """Change the index: exclusively, and atomically when the block ends without an exception.

        Not inside a transaction of the database: those come after this lock. Other tools do not know
        the lock: what they wrote since the index was read stays, and the change is made in that.

        Args:
            timeout: seconds to wait for other processes.

        Raises:
            LockTimeoutError: another one did not finish; `holder` is its pid.
            StateError: index.json is damaged.
            StorageFullError: there is no room to write it.
        """
        with hold_lock(self._home.lock_file("images"), timeout=timeout):
            self._prepare()
            data, document = read_index(self._index_file)
            edit = RepeatableEdit(document)
            yield edit
            while edit.is_changed and not self._replace_index(edit.encode(), data):
                self._prepare()
                data, document = read_index(self._index_file)
                edit = edit.repeated_in(document)

    # ── blobs ────────────────────────────────────────────────────────────────────────────────────

    def blob_path(self, digest: Digest) -> HostPath:
        """Return where a blob is, or would be."""
        return HostPath(f"{self._root}/blobs/{algorithm_of(digest)}/{hex_of(digest)}")

    def has(self, digest: Digest) -> bool:
        """Say whether a blob is there, and then complete.

        Raises:
            HostError: that cannot be told.
        """
        with storage_errors(self._root, f"cannot look for the blob {digest}"):
            try:
                os.stat(self.blob_path(digest))
            except (FileNotFoundError, NotADirectoryError):
                return False
        return True

    def size(self, digest: Digest) -> int:
        """Return a blob's size in bytes.

        Raises:
            ImageError: it is not there.
            HostError: that cannot be told.
        """
        with storage_errors(self._root, f"cannot look for the blob {digest}"):
            try:
                return os.stat(self.blob_path(digest)).st_size
            except FileNotFoundError:
                raise _missing(digest) from None

    def open(self, digest: Digest) -> int:
        """Open a blob for reading; the caller closes the descriptor.

        Raises:
            ImageError: it is not there, or no regular file.
            HostError: it cannot be opened: there are too many open files, or the storage fails.
        """
        with storage_errors(self._root, f"cannot open the blob {digest}"):
            try:
                # O_NONBLOCK: whatever else may be there, opening it does not wait.
                fd = os.open(self.blob_path(digest), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            except FileNotFoundError:
                raise _missing(digest) from None
            except OSError as err:
                if err.errno in _NO_FILE:
                    raise _no_file(digest) from err
                raise
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise _no_file(digest)
        return fd

    def read(self, what: Descriptor | Digest, limit: int = LARGEST_DOCUMENT) -> bytes:
        """Return a small blob, verified.

        Args:
            what: its digest, or a descriptor whose size is verified as well.
            limit: the most bytes that are read.

        Raises:
            ImageError: it is not there, or too large.
            DigestMismatchError: it was changed, or has another size than promised.
            HostError: it cannot be read.
        """
        digest = what.digest if isinstance(what, Descriptor) else what
        fd = self.open(digest)
        with open(fd, "rb", buffering=0) as file:
            size = os.fstat(fd).st_size
            if size > limit:
                raise ImageError(
                    image=short_digest(digest), reason=f"a part has {size} bytes, at most {limit} are read"
                )
            with storage_errors(self._root, f"cannot read the blob {digest}"):
                data = file.read(size) or b""
        if isinstance(what, Descriptor) and size != what.size:
            reason = "the content does not have the promised size"
            raise DigestMismatchError(
                image=short_digest(digest), reason=reason, expected=f"{what.size}", actual=f"{size}"
            )
        actual = f"{algorithm_of(digest)}:{hashlib.new(algorithm_of(digest), data).hexdigest()}"
        if actual != digest:
            raise DigestMismatchError(image=short_digest(digest), expected=digest, actual=actual)
        return data

    def put(self, data: bytes) -> Digest:
        """Store a small blob and return its digest; nothing happens when it is there.

        Raises:
            StorageFullError: there is no room.
        """
        digest = digest_of(data)
        if not self.has(digest):
            self.prepare_for(digest)
            self._write(self.blob_path(digest), data, CONTENT_MODE)
        return digest

    def prepare_for(self, digest: Digest) -> None:
        """Make the directories that a blob goes to."""
        with storage_errors(self._root, "cannot make the image store"):
            self._prepare()
            make_directory(HostPath(os.path.dirname(self.blob_path(digest))))

    # ── images ───────────────────────────────────────────────────────────────────────────────────

    def document(self, descriptor: Descriptor) -> Manifest | Index:
        """Return a manifest or an index.

        Raises:
            ImageError: it is not there, damaged or malformed.
        """
        return _remember(
            self._documents,
            descriptor.digest,
            lambda: parse_document(
                self.read(descriptor), media_type=descriptor.media_type, what=short_digest(descriptor.digest)
            ),
        )

    def manifest_of(self, image: Entry | Descriptor, platform: Platform | None = None) -> tuple[Descriptor, Manifest]:
        """Return the manifest of an image, for one platform where it has several.

        Args:
            image: the image.
            platform: which; None: this host's where there is a choice.

        Raises:
            ImageNotFoundError: it is there for other platforms only; `near` says for which.
            ImageError: a part is missing, damaged or malformed.
        """
        descriptor = image.descriptor if isinstance(image, Entry) else image
        name = (image.name if isinstance(image, Entry) else None) or short_digest(descriptor.digest)
        document = self.document(descriptor)
        if isinstance(document, Manifest):
            if platform is not None:
                self._check_platform(name, document, platform)
            return descriptor, document
        wanted = platform or host_platform(_host.machine())
        candidates = self._manifests_below(descriptor, name, _DEEPEST_INDEX, set())
        chosen = choose_platform(wanted, candidates, lambda candidate: candidate.platform)
        if chosen is None:
            raise _no_platform(name, wanted, [one.platform for one in candidates if one.platform is not None])
        found = self.document(chosen)
        assert isinstance(found, Manifest)
        return chosen, found

    def oci_config(self, manifest: Manifest) -> OciConfig:
        """Return an image's configuration.

        Raises:
            UnsupportedMediaTypeError: it is no image but something else that a registry keeps.
            ImageError: it is not there, damaged or malformed.
        """
        config = manifest.config
        if kind(config.media_type) is not DocumentKind.CONFIG:
            reason = f"is not an image: its configuration is {config.media_type}"
            raise UnsupportedMediaTypeError(image=short_digest(config.digest), reason=reason)
        return _remember(
            self._configs, config.digest, lambda: parse_oci_config(self.read(config), what=short_digest(config.digest))
        )

    def _manifests_below(self, descriptor: Descriptor, name: str, depth: int, seen: set[Digest]) -> list[Descriptor]:
        """Return the manifests of an index and of the indexes in it, each of which is looked at once."""
        seen.add(descriptor.digest)
        if depth == 0:
            raise ImageError(image=name, reason=f"indexes are nested more than {_DEEPEST_INDEX} deep")
        index = self.document(descriptor)
        if isinstance(index, Manifest):
            raise ImageError(image=name, reason="a manifest is listed as an index")
        found: list[Descriptor] = []
        for child in index.manifests:
            match kind(child.media_type):
                case DocumentKind.MANIFEST:
                    found.append(child)
                case DocumentKind.INDEX if child.digest not in seen and self.has(child.digest):
                    found += self._manifests_below(child, name, depth - 1, seen)
                case _:
                    pass  # something else that a registry keeps, or an index that we do not have, or have seen
        return found

    def _check_platform(self, name: str, manifest: Manifest, wanted: Platform) -> None:
        actual = self.oci_config(manifest).platform
        if choose_platform(wanted, [actual], lambda one: one) is None:
            raise _no_platform(name, wanted, [actual])

    # ── files ────────────────────────────────────────────────────────────────────────────────────

    def _replace_index(self, data: bytes, expected: bytes | None) -> bool:
        return replace_index(self._index_file, data, expected=expected, temporary=scratch_path(self._home.ingest))

    def _check_fresh(self) -> None:
        if os.path.exists(f"{self._root}/oci-layout"):
            hint = "restore it, or move images/ away and pull again"
            raise StateError(path=self._index_file, reason="is missing", hint=hint)

    def _prepare(self) -> None:
        """Make an empty layout; the marker comes last, so that one with a marker had an index."""
        if os.path.exists(f"{self._root}/oci-layout"):
            if not os.path.exists(self._index_file):
                self._check_fresh()
            return
        self._write(self._index_file, IndexEdit(None).encode(), 0o644, replace=False)
        self._write(f"{self._root}/oci-layout", _MARKER, 0o644)
        keep_reserve(self._home)

    def _write(self, path: str, data: bytes, mode: int, *, replace: bool = True) -> None:
        with storage_errors(path, f"cannot write {path}"):
            write_whole(path, data, temporary=scratch_path(self._home.ingest), mode=mode, replace=replace)


def _remember(cache: dict[Digest, _Value], digest: Digest, read: Any) -> _Value:
    """Return what is remembered of a digest, else read it: content never changes."""
    found = cache.get(digest)
    if found is None:
        found = read()
        if len(cache) >= _REMEMBERED:
            cache.clear()
        cache[digest] = found
    return found


def _missing(digest: Digest) -> ContainerKitError:
    reason = f"its part {digest} is not in the store"
    return ImageError(image=short_digest(digest), reason=reason, hint="pull or load it again")


def _no_file(digest: Digest) -> ContainerKitError:
    return ImageError(image=short_digest(digest), reason="a part is not a regular file")


def _no_platform(name: str, wanted: Platform, there: list[Platform]) -> ContainerKitError:
    near = tuple(dict.fromkeys(str(one) for one in there))
    hint = f"it is there for {', '.join(near)}" if near else "pull it with platform="
    return ImageNotFoundError(name=f"{name} for {wanted}", near=near, hint=hint)
