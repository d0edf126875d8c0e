"""Make an image of what a container has changed: one more layer on its image's, which are shared.

The layer is the container's upper directory, packed as it is; what is mounted in the container
is no part of it, nor the empty mount points that launches made. The cost depends on what was
changed. The config is the container's own: its environment, command and labels on top of its image's.

A container of a directory (`Image.from_directory` without a name) has no image to build on: the directory becomes
the first layer. One of the host (`Image.host`) cannot be committed: its /usr is the host's.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

import attrs

from container_kit._files.worker import FileWorker, PackOptions
from container_kit._linux import cgroup
from container_kit._plan.process import argv_of
from container_kit._runtime.container_locks import PATIENCE, hold_commit, hold_directory
from container_kit._runtime.failures import typed_refusals
from container_kit._runtime.site import Site
from container_kit._runtime.status import Look, find
from container_kit._spec.digest import Digest
from container_kit._spec.image_config import ImageConfig
from container_kit._spec.lifecycle import Status
from container_kit._spec.progress import ProgressCallback
from container_kit._state import journal
from container_kit._state.container_record import ContainerRecord
from container_kit._trees import changes as _changes
from container_kit._trees.layer_filter import drop_entries
from container_kit._trees.pouring import pour
from container_kit.errors import (
    CgroupError,
    ContainerNotFoundError,
    ImageError,
    InvalidCommandError,
    InvalidTransitionError,
    StorageFullError,
    UnsupportedHostError,
)

if TYPE_CHECKING:  # loaded when something is committed
    from container_kit._images.layer_stream import Compression
    from container_kit._images.make import Note
    from container_kit._spec.descriptor import Descriptor
    from container_kit._spec.manifest import Manifest
    from container_kit._spec.oci_config import OciConfig
    from container_kit._store.index_file import Entry
    from container_kit._store.store import Lease

_Layer = tuple["Descriptor", Digest]

_ATTEMPTS = 5  # to pack what is not changed meanwhile


@typed_refusals("cannot commit the container")
def commit(
    site: Site,
    container_id: str,
    name: str | None,
    *,
    author: str = "",
    message: str = "",
    pause: bool | None = None,
    changes: Sequence[str] = (),
    compression: Compression = "zstd",
    progress: ProgressCallback | None = None,
) -> Entry:
    """Make an image of a container.

    Args:
        site: where both are.
        container_id: the container, in any state.
        name: what the image is called; None: it has no name.
        author: of the image.
        message: a comment for its history.
        pause: freeze a running container meanwhile; None: where that is possible.
        changes: Dockerfile instructions for the config.
        compression: of the new layer.
        progress: is told of bytes.

    Raises:
        UnsupportedHostError: it shall be paused and has no control group.
        InvalidTransitionError: it shall be paused, and was started or ended each time that it was packed.
        LockTimeoutError: others were at its files, or committed it, for too long.
        ImageError: it is a container of the host.
        InvalidReferenceError, InvalidSpecError: the name or a change makes no sense; nothing was done.
    """
    from container_kit._images import make
    from container_kit._spec.changes import apply_changes
    from container_kit._spec.oci_config import edit_oci_config

    canonical = make.check_name(name)
    record, store = find(site, container_id).record, site.images
    note = make.Note(created=_now(), created_by=_command_of(record), author=author, comment=message)
    with store.lease(*_digests(record)) as lease:
        _check_there(site, record)  # so far it protected its image, from here on the lease does
        manifest, before = _base_of(site, record)
        edited = apply_changes(edit_oci_config(before, image=config_of(record)), changes)
        layers = _directory_layers(site, record, lease, compression, progress)
        pack = partial(_own_layers, site, record, lease, compression, progress)
        layers += _pack_settled(site, record.id, pack, pause=pause)
        after = _described(edited, layers, note)
        descriptor = make.compose(store, after, base=manifest, layers=[layer for layer, _ in layers], lease=lease)
        for layer, diff_id in layers:
            store.layers.ensure(diff_id, layer, progress=progress)
        entry = make.give_name(store, canonical, descriptor)
    _note(site, record, name or "")
    return entry


def _check_there(site: Site, record: ContainerRecord) -> Look:
    """Look again; raise `ContainerNotFoundError` when the container is gone, or is being removed."""
    seen = find(site, record.id)
    if seen.status is Status.DEAD:
        raise ContainerNotFoundError(name=record.name, hint="it was removed meanwhile")
    return seen


def config_of(record: ContainerRecord) -> ImageConfig:
    """Return a container's config as that of an image: what was asked for, on top of what its image says."""
    config, image = record.config, record.image
    return attrs.evolve(
        image,
        env=tuple({**dict(image.env), **dict(config.env)}.items()),
        entrypoint=image.entrypoint if config.entrypoint is None else config.entrypoint,
        command=config.command or (image.command if config.entrypoint is None else ()),
        working_dir=config.working_dir or image.working_dir,
        user=image.user if config.user is None else config.user,
        stop_signal=config.stop_signal or image.stop_signal,
        labels=tuple({**dict(image.labels), **dict(config.labels)}.items()),
        healthcheck=config.healthcheck or image.healthcheck,
    )


def _base_of(site: Site, record: ContainerRecord) -> tuple[Manifest | None, OciConfig]:
    from container_kit._spec.manifest import Manifest, parse_document
    from container_kit._spec.oci_config import new_oci_config
    from container_kit._spec.platform import host_platform

    if not record.image_id:
        if len(record.root.overlays) > 1:
            hint = "use an image of a store, or Image.from_directory"
            reason = "is the host itself: an image of it would need a copy of its /usr"
            raise ImageError(image=record.image_name, reason=reason, hint=hint)
        return None, new_oci_config(host_platform(site.facts.machine))
    layout = site.images.layout
    manifest = parse_document(layout.read(Digest(record.image_id)), media_type=None, what=record.image_name)
    assert isinstance(manifest, Manifest), "a container's image is one manifest"
    return manifest, layout.oci_config(manifest)


def _digests(record: ContainerRecord) -> tuple[Digest, ...]:
    return (Digest(record.image_id),) if record.image_id else ()


def _directory_layers(
    site: Site, record: ContainerRecord, lease: Lease, compression: Compression, progress: ProgressCallback | None
) -> tuple[_Layer, ...]:
    from container_kit._images import make

    if record.image_id:
        return ()
    packing = make.Packing(compression=compression)
    directories = reversed(record.root.overlays[0].lowers[:-1])  # the last one holds every launch's mount points
    return tuple(
        make.add_directory(site.images, directory, packing=packing, lease=lease, progress=progress)
        for directory in directories
    )


def _own_layers(
    site: Site, record: ContainerRecord, lease: Lease, compression: Compression, progress: ProgressCallback | None
) -> tuple[_Layer, ...]:
    """Return the layer that the container's upper directory makes; none when nothing was changed."""
    from container_kit._images import make

    upper = _changes.upper_directory(site, record, 0)
    if not os.path.isdir(upper):
        return ()
    stubs = _changes.find_stubs(site, record)
    options = PackOptions(layer=True, user_xattr=site.facts.rootless)
    with _changes.open_upper(site, upper) as worker:
        if not worker.list("/"):
            return ()
        tar = partial(_pack_without, worker, options, stubs)
        return (make.add_layer(site.images, tar, compression=compression, lease=lease, progress=progress),)


def _pack_without(worker: FileWorker, options: PackOptions, stubs: frozenset[str], sink: int) -> None:
    if not stubs:
        worker.pack("/", sink, options)
        return
    names = {os.fsencode(stub.strip("/")) for stub in stubs}

    def consume(stream: int) -> None:
        with open(stream, "rb", closefd=False) as source, open(sink, "wb", closefd=False) as target:
            drop_entries(source, target, names)

    pour(lambda end: worker.pack("/", end, options), consume)


def _described(config: OciConfig, layers: Sequence[_Layer], note: Note) -> OciConfig:
    from container_kit._spec.oci_config import edit_oci_config

    author = note.author or None
    if layers:
        added = tuple((diff_id, note.entry()) for _, diff_id in layers)
        return edit_oci_config(config, add_layers=added, created=note.created, author=author)
    history = (*config.history, note.entry(empty_layer=True))
    return edit_oci_config(config, history=history, created=note.created, author=author)


def _pack_settled(
    site: Site, container_id: str, pack: Callable[[], tuple[_Layer, ...]], *, pause: bool | None
) -> tuple[_Layer, ...]:
    """Pack what a container has changed; again when it was started, ended or thawed meanwhile.

    Raises:
        InvalidTransitionError: that happened each time, and the container shall be paused.
    """
    attempts = 0
    while True:
        with hold_commit(site, container_id):
            seen = find(site, container_id)
            with _settled(site, seen, pause=pause) as expected:
                layers = pack()
                now = _check_there(site, seen.record)  # a removal does not wait for us: it may be half of the tree
        if expected is None or _run_of(expected) == _run_of(now):
            return layers
        attempts += 1
        if attempts == _ATTEMPTS:
            if not pause:
                return layers
            hint = "stop() it, or commit(pause=False)"
            raise InvalidTransitionError(action="commit", status=now.status.value, container=now.record.name, hint=hint)


def _run_of(seen: Look) -> tuple[object, ...]:
    return seen.status, seen.record.monitor, seen.state.started_at if seen.state is not None else None


@contextmanager
def _settled(site: Site, seen: Look, *, pause: bool | None) -> Generator[Look | None]:
    """Keep the upper directory from changing, as far as asked for and possible.

    Yields:
        How the container looks as long as nothing changes, for a start and an unpause are not held up; None: it may
        change, which is not wanted otherwise or cannot be helped.
    """
    with ExitStack() as stack:
        if seen.status is Status.RUNNING:
            expected = None if pause is False else _freeze(site, seen, stack, must=pause is True)
        else:
            deadline = time.monotonic() + PATIENCE
            stack.enter_context(hold_directory(site, seen.record.id, alone=False, deadline=deadline))
            expected = None if pause is False else seen
        yield expected


def _freeze(site: Site, seen: Look, stack: ExitStack, *, must: bool) -> Look | None:
    """Freeze a running container until the stack unwinds, and return what `_settled` gives."""
    try:
        group = stack.enter_context(_open_group(site, seen.record.id))
        if not cgroup.is_freezing(group):  # else it was paused just now, and stays so
            stack.callback(_thaw, group)
        cgroup.freeze(group, frozen=True)
    except UnsupportedHostError:
        if find(site, seen.record.id).status is not Status.RUNNING:
            return seen  # it has ended, and its control group is gone
        if must:
            raise
        return None
    except CgroupError as err:
        if err.errno not in cgroup.GONE:
            raise
        return seen
    return attrs.evolve(seen, status=Status.PAUSED)


def _thaw(group: str) -> None:
    try:
        cgroup.freeze(group, frozen=False)
    except CgroupError as err:
        if err.errno not in cgroup.GONE:  # else it was killed meanwhile
            raise


@contextmanager
def _open_group(site: Site, container_id: str) -> Generator[str]:
    """Give a path of a container's control group that does not come to mean that of a later run."""
    try:
        fd = os.open(site.cgroup_of(container_id) or "", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError as err:
        raise UnsupportedHostError(
            feature="pause",
            reason=site.no_cgroup_reason or "the container has no control group",
            hint="run as root, or in a delegated cgroup (systemd-run --user --scope -p Delegate=yes …)",
        ) from err
    try:
        yield f"/proc/self/fd/{fd}"
    finally:
        os.close(fd)


def _command_of(record: ContainerRecord) -> str:
    try:
        return " ".join(argv_of(record.config, record.image))
    except InvalidCommandError:
        return ""


def _now() -> str:
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")


def _note(site: Site, record: ContainerRecord, image: str) -> None:
    try:
        journal.append(site.database, record.id, record.name, "commit", image=image)
    except StorageFullError:
        pass  # the image is there, which counts more than the word about it
