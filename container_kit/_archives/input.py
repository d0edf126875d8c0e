"""An archive that somebody hands in, unpacked where it can do no harm, and its files on their way into the store.

The archive is unpacked by a `FileWorker` into a directory below `ingest/` that is its whole
world: names, symlinks and hard links of the archive resolve in there, devices are left out,
ownership is ours. Files are read through descriptors that the worker opens. A verified file
becomes a blob by rename, so nothing is copied twice. The directory is gone at the end,
whatever happens.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import stat
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from functools import partial
from io import FileIO
from typing import BinaryIO

import attrs

from container_kit._files.view import directory_view
from container_kit._files.worker import FileWorker, UnpackOptions
from container_kit._images.crew import Crew
from container_kit._images.layer_stream import tell_nobody
from container_kit._images.meter import Meter
from container_kit._images.pipes import open_pipe
from container_kit._images.sources import BEGINNING, open_any, open_source
from container_kit._spec.digest import Digest
from container_kit._spec.paths import HostPath
from container_kit._spec.progress import ProgressCallback
from container_kit._store.compression import sniff
from container_kit._store.durable import CONTENT_MODE, storage_errors, sync_directory, write_all
from container_kit._store.layout import Layout
from container_kit._store.scratch import scratch_path
from container_kit._store.store import ImageStore
from container_kit.errors import ContainerKitError, ImageError, PathError

MOST_DOCUMENT_BYTES = 4 << 20
MOST_DOCUMENTS_BYTES = 256 << 20  # of all together
MOST_ENTRIES = 100_000
MOST_BYTES = 256 << 30
_CHUNK = 1 << 20
_DIGEST_NAME = re.compile(r"([0-9a-f]{12})(?:[0-9a-f]{52}|[0-9a-f]{116})(\.tar)?")  # SHA-256 or SHA-512
_MOST_LINKS = 40  # path_resolution(7)


@attrs.frozen(kw_only=True)
class Measured:
    """What a file of an archive is: its digest, its size in bytes, and how it is compressed (`none`, `gzip` …)."""

    digest: Digest
    size: int
    compression: str


class Scratch:
    """The files of an unpacked archive. `name` is what errors call the archive."""

    def __init__(self, name: str, directory: HostPath, worker: FileWorker, progress: ProgressCallback | None) -> None:
        self.name = name
        self._directory = directory
        self._worker = worker
        self._progress = progress
        self._outgoing = f"outgoing-{secrets.token_hex(8)}"  # not a name that the archive could have known
        self._number = 0
        self._document_bytes = 0

    def has(self, path: str) -> bool:
        """Say whether there is a regular file."""
        try:
            return self._worker.status(_absolute(path)).is_file
        except PathError:
            return False

    def read(self, path: str, limit: int = MOST_DOCUMENT_BYTES) -> bytes:
        """Return a whole file.

        Raises:
            ImageError: it is not there, is no regular file, or is larger than `limit` bytes.
        """
        with self._open(path) as file:
            data = file.read(limit + 1)
        if len(data) > limit:
            raise ImageError(image=self.name, reason=f"{_shown(path)} is larger than {limit} bytes")
        self._document_bytes += len(data)
        if self._document_bytes > MOST_DOCUMENTS_BYTES:
            raise ImageError(image=self.name, reason=f"has more than {MOST_DOCUMENTS_BYTES} bytes of documents")
        return data

    def measure(self, wanted: Iterable[tuple[str, str]]) -> Mapping[str, Measured]:
        """Return digest and size of files, given as (path, algorithm); several are read at a time, each once.

        Raises:
            ImageError: one is not there or is no regular file.
        """
        # Symlinks and hard links make many names of one large file.
        names: dict[tuple[int, str], list[str]] = {}
        for path, algorithm in dict.fromkeys(wanted):
            with self._open(path) as file:
                names.setdefault((os.fstat(file.fileno()).st_ino, algorithm), []).append(path)
        found: dict[str, Measured] = {}

        def measure_one(subject: str, paths: list[str], algorithm: str) -> None:
            with self._open(paths[0]) as file:
                total = os.fstat(file.fileno()).st_size
                meter = Meter(crew.report, "verify", subject=subject, total=total)
                found.update(dict.fromkeys(paths, _measured(file, algorithm, crew, meter)))
                meter.finish()

        with Crew("ck-load", {"verify": len(os.sched_getaffinity(0))}, progress=self._progress) as crew:
            for number, ((_, algorithm), paths) in enumerate(names.items(), 1):
                crew.submit("verify", partial(measure_one, _subject(paths[0], number), paths, algorithm))
            crew.finish()
        return found

    def move(self, path: str, digest: Digest, layout: Layout) -> None:
        """Make a file whose digest was verified a blob of the store. It stays in the archive under its other name."""
        if layout.has(digest):
            return
        if self._number == 0:
            self._worker.make_directory(f"/{self._outgoing}", 0o700)
        self._number += 1
        name = f"{self._outgoing}/{self._number}"
        self._worker.link(self._resolve(path), f"/{name}")
        layout.prepare_for(digest)
        with storage_errors(self._directory, f"cannot store the blob {digest}"):
            _make_durable(f"{self._directory}/{name}")
            os.rename(f"{self._directory}/{name}", layout.blob_path(digest))
            sync_directory(os.path.dirname(layout.blob_path(digest)))

    @contextmanager
    def _open(self, path: str) -> Generator[FileIO, None, None]:
        if "\0" in path:
            raise ImageError(image=self.name, reason=f"a name in it holds a NUL: {_shown(path)}")
        try:
            fd = self._worker.open(_absolute(path), os.O_RDONLY | os.O_NONBLOCK)
        except PathError as error:
            raise ImageError(
                image=self.name, reason=f"cannot read {_shown(path)}: {os.strerror(error.errno or 0)}"
            ) from error
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise ImageError(image=self.name, reason=f"{_shown(path)} is not a regular file")
        with open(fd, "rb", buffering=0) as file:
            yield file

    def _resolve(self, path: str) -> str:
        # A hard link is made to what a symlink names, which link(2) does not follow.
        name = _absolute(path)
        for _ in range(_MOST_LINKS):
            if not self._worker.status(name, follow=False).is_symlink:
                return name
            name = os.path.join(os.path.dirname(name), self._worker.read_link(name))
        raise ImageError(image=self.name, reason=f"{_shown(path)} is a chain of symlinks")


@contextmanager
def open_archive(
    store: ImageStore, source: str | BinaryIO, *, progress: ProgressCallback | None
) -> Generator[Scratch, None, None]:
    """Give the files of an archive, which is read once from its beginning to its end.

    Args:
        store: whose `ingest` directory holds the files meanwhile.
        source: a path, or a binary file to read from, which need not be able to seek and stays open.
        progress: is told of bytes read and verified.

    Raises:
        UnsafeArchiveError: it is malformed, damaged, or larger than is allowed.
        HostError: it cannot be read.
    """
    name = source if isinstance(source, str) else "archive"
    directory = scratch_path(store.home.ingest)
    with storage_errors(directory, f"cannot make {directory}"):
        os.mkdir(directory, 0o700)
    try:
        with FileWorker.start(directory_view(directory), user_namespace=store.user_namespace()) as worker:
            _unpack(worker, source, name, progress)
            worker.change_mode("/", 0o700)  # whatever the archive says of its top
            yield Scratch(name, directory, worker, progress)
    except BaseException as error:
        try:
            _discard(store, directory)
        except ContainerKitError as err:
            error.add_note(f"and its files could not be removed: {err}")
        raise
    _discard(store, directory)


def _unpack(worker: FileWorker, source: str | BinaryIO, name: str, progress: ProgressCallback | None) -> None:
    options = UnpackOptions(
        owner=(0, 0), devices=False, replace=True, max_bytes=MOST_BYTES, max_entries=MOST_ENTRIES, subject=name
    )
    if not isinstance(source, str):
        _unpack_stream(worker, source, options, progress)
        return
    with open_source(source) as file:
        is_regular = stat.S_ISREG(os.fstat(file.fileno()).st_mode)
        if is_regular and sniff(os.pread(file.fileno(), BEGINNING, 0)) == "none":
            _unpack_from(worker, file.fileno(), options)  # the worker reads it itself
        else:
            _unpack_stream(worker, file, options, progress)


def _unpack_from(worker: FileWorker, fd: int, options: UnpackOptions) -> None:
    with storage_errors("ingest", f"cannot unpack {options.subject}"):
        worker.unpack("/", fd, options)


def _unpack_stream(
    worker: FileWorker, source: BinaryIO | FileIO, options: UnpackOptions, progress: ProgressCallback | None
) -> None:
    # The caller's file is read in the caller's thread: it may be anything, and Ctrl-C is for it.
    reader = open_any(source, what=options.subject)
    meter = Meter(progress or tell_nobody, "unpack", subject=options.subject)
    with open_pipe() as (incoming, outgoing), Crew("ck-load", {"unpack": 1}) as crew, outgoing:

        def unpack() -> None:
            with incoming:  # its end is what the pump notices when this fails
                _unpack_from(worker, incoming.fileno(), options)

        crew.submit("unpack", unpack)
        count = 0
        try:
            while chunk := reader.read(_CHUNK):
                write_all(outgoing.fileno(), chunk)
                count += len(chunk)
                meter.advance(count)
        except BrokenPipeError:
            pass  # `finish` has the reason
        outgoing.shut()
        crew.finish()
    meter.finish()


def _measured(file: FileIO, algorithm: str, crew: Crew, meter: Meter) -> Measured:
    total = hashlib.new(algorithm)
    buffer = memoryview(bytearray(_CHUNK))
    size = 0
    compression = ""
    while count := file.readinto(buffer):
        crew.check()
        if not size:
            compression = sniff(bytes(buffer[:BEGINNING]))
        total.update(buffer[:count])
        size += count
        meter.advance(size)
    return Measured(digest=Digest(f"{algorithm}:{total.hexdigest()}"), size=size, compression=compression or "none")


def _make_durable(path: str) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.fchmod(fd, CONTENT_MODE)
        os.fsync(fd)
    finally:
        os.close(fd)


def _discard(store: ImageStore, directory: HostPath) -> None:
    # By another worker: the first one may have been interrupted, and what it made may belong to other ids.
    view = directory_view(HostPath(os.path.dirname(directory)))
    with FileWorker.start(view, user_namespace=store.user_namespace()) as worker:
        worker.remove(f"/{os.path.basename(directory)}", recursive=True)


def _absolute(path: str) -> str:
    return f"/{path.lstrip('/')}"


def _subject(path: str, number: int) -> str:
    # Any other name would be the archive's own words.
    hexadecimal = _DIGEST_NAME.fullmatch(os.path.basename(path))
    return hexadecimal[1] if hexadecimal else f"layer {number}"


def _shown(path: str) -> str:
    return repr(path[:200])
