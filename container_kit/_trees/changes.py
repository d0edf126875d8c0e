"""What a container has changed in its image's tree: `docker diff`, by walking its own directories only.

The upper directory is read as the layer it would become (headers alone), so whiteouts and
opaque directories come out as the image-spec writes them (layer.md); each name is then looked
up in the layers below. The cost depends on what was changed, not on the image.

What a launch made for itself, empty mount points, is no change of the container's.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from posixpath import dirname
from typing import Literal, TypeAlias

import attrs

from container_kit._files.view import directory_view
from container_kit._files.worker import FileStatus, FileWorker, PackOptions
from container_kit._plan import etc_files
from container_kit._runtime.failures import typed_refusals
from container_kit._runtime.site import Site
from container_kit._runtime.status import find
from container_kit._spec.paths import HostPath
from container_kit._spec.root_filesystem import OverlayLayers
from container_kit._state.container_record import ContainerRecord
from container_kit._trees import container_views
from container_kit._trees.pouring import pour
from container_kit.errors import PathNotADirectoryError, PathNotFoundError

ChangeKind: TypeAlias = Literal["A", "C", "D"]

_WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"
_OWN_DIRECTORIES = ("/proc", "/sys", "/dev", "/etc")


@attrs.frozen(kw_only=True, order=True)
class Change:
    """One changed path: added, changed or deleted. What is below a deleted directory is not listed."""

    path: str
    kind: ChangeKind

    def __str__(self) -> str:
        return f"{self.kind} {self.path}"


@typed_refusals("cannot list the container's changes")
def diff(site: Site, container_id: str) -> tuple[Change, ...]:
    """Return what a container, running or not, has changed, sorted by path.

    Raises:
        ContainerNotFoundError: there is none.
    """
    record = find(site, container_id).record
    changes: list[Change] = []
    for number, overlay in enumerate(record.root.overlays):
        upper = upper_directory(site, record, number)
        if os.path.isdir(upper):
            with open_upper(site, upper) as own, _open_lowers(site, overlay) as below:
                found = _Walk(own, below, rootless=site.facts.rootless).changes()
                stubs = _stubs_in(own, below, found, mount_points(record, overlay))
            prefix = overlay.target.rstrip("/")
            changes += (Change(path=prefix + path, kind=kind) for path, kind in found.items() if path not in stubs)
    return tuple(sorted(changes))


def find_stubs(site: Site, record: ContainerRecord) -> frozenset[str]:
    """Return what a launch made in the root overlay for itself: empty mount points, and directories only for those."""
    overlay = record.root.overlays[0]
    upper = upper_directory(site, record, 0)
    if not os.path.isdir(upper):
        return frozenset()
    with open_upper(site, upper) as own, _open_lowers(site, overlay) as below:
        wanted = mount_points(record, overlay)
        if not any(_status(own, path) for path in wanted):
            return frozenset()
        return _stubs_in(own, below, _Walk(own, below, rootless=site.facts.rootless).changes(), wanted)


def upper_directory(site: Site, record: ContainerRecord, number: int) -> HostPath:
    """Return where a container's own part of one of its overlays is; it need not exist."""
    name = container_views.directories_of(record.root)[2 * number]
    return HostPath(f"{site.home.container_dir(record.id)}/{name}")


def open_upper(site: Site, upper: HostPath) -> FileWorker:
    """Return a worker in an upper directory as it is on disk, to read only. The caller closes it."""
    return FileWorker.start(directory_view(upper, read_only=True), user_namespace=site.user_namespace())


def mount_points(record: ContainerRecord, overlay: OverlayLayers) -> tuple[str, ...]:
    """Return the paths in one overlay, from its own root on, that launches mount something over."""
    places = (*_OWN_DIRECTORIES, *sorted(etc_files.ALL), *(mount.target for mount in record.config.mounts))
    prefix = overlay.target.rstrip("/")
    return tuple(place.removeprefix(prefix) for place in places if place.startswith(f"{prefix}/"))


def _open_lowers(site: Site, overlay: OverlayLayers) -> FileWorker:
    return FileWorker.start(container_views.lowers_view(site, overlay), user_namespace=site.user_namespace())


class _Walk:
    """The comparison of one upper directory with what is below it."""

    def __init__(self, own: FileWorker, below: FileWorker, *, rootless: bool) -> None:
        self._rootless = rootless
        self._own = own
        self._below = below
        self._found: dict[str, ChangeKind] = {}
        self._fresh: set[str] = set()  # directories with nothing of the image's in them
        self._opaque: set[str] = set()

    def changes(self) -> dict[str, ChangeKind]:
        """Return the kind of each changed path."""
        for path in _names_in(self._own, rootless=self._rootless):
            directory, _, name = path.rpartition("/")
            if name == _OPAQUE:
                self._opaque.add(directory)
            elif name.startswith(_WHITEOUT):
                self._note_deleted(directory, f"{directory}/{name.removeprefix(_WHITEOUT)}")
            else:
                self._note(directory, path)
        for directory in self._opaque - self._fresh:
            for name, _ in self._below.list(directory or "/"):
                if f"{directory}/{name}" not in self._found:
                    self._found[f"{directory}/{name}"] = "D"
        return self._found

    def _note_deleted(self, directory: str, path: str) -> None:
        if directory not in self._fresh and _status(self._below, path) is not None:
            self._found[path] = "D"

    def _note(self, directory: str, path: str) -> None:
        before = None if directory in self._fresh else _status(self._below, path)
        self._found[path] = "A" if before is None else "C"
        if before is None or not before.is_dir:
            self._fresh.add(path)  # of a file this says nothing


def _names_in(own: FileWorker, *, rootless: bool) -> Iterator[str]:
    from tarfile import open as open_tar

    def consume(stream: int) -> list[str]:
        with open(stream, "rb", closefd=False) as file, open_tar(fileobj=file, mode="r|") as tar:
            return [entry.name for entry in tar]

    options = PackOptions(layer=True, headers_only=True, user_xattr=rootless)
    names = pour(lambda sink: own.pack("/", sink, options), consume)
    for name in names:
        path = "/" + name.removeprefix("./").strip("/")
        if path not in ("/", "/."):
            yield path


def _stubs_in(
    own: FileWorker, below: FileWorker, found: dict[str, ChangeKind], places: Sequence[str]
) -> frozenset[str]:
    stubs: set[str] = set()
    for place in places:
        if found.get(place) == "A" and _is_empty(own, place):
            stubs.add(place)
    # A directory that was made, or copied up, for nothing but that.
    for place in sorted({above for stub in stubs for above in _above(stub)}, key=len, reverse=True):
        others = any(path.startswith(f"{place}/") and path not in stubs for path in found)
        if place in found and not others and _is_untouched(own, below, place, found[place]):
            stubs.add(place)
    return frozenset(stubs)


def _is_untouched(own: FileWorker, below: FileWorker, path: str, kind: ChangeKind) -> bool:
    if kind == "A":
        return True
    now, before = _status(own, path), _status(below, path)
    if now is None or before is None:
        return False
    return (now.mode, now.uid, now.gid) == (before.mode, before.uid, before.gid)


def _above(path: str) -> Iterator[str]:
    while (path := dirname(path)) != "/":
        yield path


def _is_empty(own: FileWorker, path: str) -> bool:
    status = _status(own, path)
    if status is None:
        return False
    return not own.list(path) if status.is_dir else status.is_file and not status.size


def _status(worker: FileWorker, path: str) -> FileStatus | None:
    try:
        return worker.status(path, follow=False)
    except (PathNotFoundError, PathNotADirectoryError):
        return None
