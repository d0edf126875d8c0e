"""Copy files between the host and a container or an image, by the rules of `copy_rules`.

Names on the container's side resolve inside its root by openat2(2) in a worker that has that
root, so a container that swaps symlinks meanwhile only misleads itself. On the host's side what
the container chose (names below a directory, links, modes, owners) meets a worker too, whose
root is the destination: nothing lands beside it, no device is made, no set-id bit survives, and
everything belongs to the caller. A single file is written beside its place and renamed.

What comes in belongs to root (or to `owner`) unless `archive` keeps the ids. Rootless they are
the ids of the user namespace: the caller is 0 there, as files in a bind are.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import BinaryIO, TypeAlias

import attrs

from container_kit._files.worker import FileStatus, FileWorker, PackOptions, UnpackOptions
from container_kit._plan.identity import resolve_identity
from container_kit._runtime.site import Site
from container_kit._spec.paths import HostPath
from container_kit._spec.text import check_text
from container_kit._trees import container_views, single_files
from container_kit._trees.copy_rules import (
    Kind,
    Landing,
    Source,
    ends_like_a_directory,
    find_landing,
    last_name,
    without_end,
)
from container_kit._trees.pouring import copy_stream, feed, pour
from container_kit._trees.single_files import typed_paths
from container_kit.errors import HostError, InvalidSpecError, InvalidUserError, PathNotFoundError, path_error

Owner: TypeAlias = int | str | tuple[int, int] | None
_MOST_LINKS = 40  # as path_resolution(7)
_MAX_ACCOUNT_FILE = 10 << 20
_ACCOUNTS = ("/etc/passwd", "/etc/group")
_OF_THE_DIRECTORY = (errno.EACCES, errno.ENOENT, errno.ENOTDIR)  # what may be wrong with it, not with the host


@attrs.frozen(kw_only=True)
class CopyOptions:
    """How something is copied.

    Attributes:
        owner: (uid, gid) in the container of what comes in; a text is looked up there; None: root.
        archive: keep owners, and directories' own attributes where they are merged.
        follow_links: copy what a symlink as the source leads to, not the symlink.
    """

    owner: Owner = None
    archive: bool = False
    follow_links: bool = False

    def __attrs_post_init__(self) -> None:
        if self.archive and self.owner is not None:
            raise InvalidSpecError(field="owner", value=self.owner, reason="contradicts archive=True, which keeps ids")


# ── in ──────────────────────────────────────────────────────────────────────


def copy_in(site: Site, inside: FileWorker, source: str, destination: str, options: CopyOptions) -> None:
    """Copy a file or directory of the host into a tree.

    Args:
        site: for the user namespace.
        inside: a worker in the tree, which may write.
        source: a path on the host; relative ones start at the caller's directory.
        destination: a path in the tree.
        options: see `CopyOptions`.

    Raises:
        PathError: what the rules or the kernel refuse, on either side.
    """
    _check_given(source, "source")
    with typed_paths("copy"):
        info = os.stat(source) if options.follow_links else os.lstat(source)
        real = os.path.realpath(source) if stat.S_ISDIR(info.st_mode) or options.follow_links else source
    if not stat.S_ISDIR(info.st_mode) and ends_like_a_directory(source):
        raise path_error(errno.ENOTDIR, source, "copy")
    described = Source.of(source, is_directory=stat.S_ISDIR(info.st_mode))
    if described.name in ("", ".", ".."):
        described = attrs.evolve(described, name=last_name(os.path.realpath(source)))
    landing = _landing_inside(inside, described, destination)
    unpack = _incoming(site, inside, options)
    if not described.is_directory:
        single_files.put_path(inside, real, landing, unpack, id_map=site.id_map)
        return
    with _host_worker(site, real, read_only=True) as outside:
        _pour_tree(outside, "/", inside, landing, unpack, host_source=real)


def write_file(site: Site, inside: FileWorker, data: bytes, destination: str, options: CopyOptions) -> None:
    """Write a file into a tree: at the destination, which must not be a directory.

    Raises:
        PathIsADirectoryError: it is one; PathError: what else the kernel refuses.
    """
    landing = _landing_inside(inside, Source(name="", is_directory=False), destination)
    if not landing.name:
        raise path_error(errno.EISDIR, destination, "write")
    single_files.put_bytes(inside, data, landing, _incoming(site, inside, options))


def write_archive(site: Site, inside: FileWorker, archive: BinaryIO, destination: str, options: CopyOptions) -> None:
    """Unpack a tar stream, compressed or not, into a directory of a tree, which must be there.

    Raises:
        UnsafeArchiveError: the archive is malformed or leads out of the tree; `entry` says where.
        PathError: the destination is missing or no directory, or the kernel refuses.
    """
    from container_kit._images.sources import open_any

    kind, real = _arrival(inside, destination)
    if kind is not Kind.DIRECTORY:
        number = errno.ENOENT if kind is Kind.MISSING else errno.ENOTDIR
        raise path_error(number, destination, "unpack into")
    unpack = _incoming(site, inside, options)
    plain = open_any(archive, what="archive")
    feed(lambda sink: copy_stream(plain, sink), lambda stream: inside.unpack(real, stream, unpack))


# ── out ─────────────────────────────────────────────────────────────────────


def copy_out(site: Site, inside: FileWorker, source: str, destination: str, options: CopyOptions) -> None:
    """Copy a file or directory of a tree to the host.

    Args:
        site: for the user namespace.
        inside: a worker in the tree.
        source: a path in the tree.
        destination: a path on the host; relative ones start at the caller's directory.
        options: see `CopyOptions`; the owner is always the caller unless `archive` keeps ids.

    Raises:
        PathError: what the rules or the kernel refuse, on either side.
    """
    _check_given(destination, "destination")
    path, status = find_source(inside, source, follow_links=options.follow_links)
    described = Source.of(rooted(source), is_directory=status.is_dir)
    landing = _landing_outside(described, destination)
    if not options.archive and not status.is_dir:
        single_files.take(inside, path, status, f"{landing.directory.rstrip('/')}/{landing.name}")
        return
    with _host_worker(site, landing.directory, read_only=False) as outside:
        there = attrs.evolve(landing, directory="/")
        unpack = _outgoing(site, archive=options.archive)
        _pour_tree(inside, path, outside, there, unpack, host_target=landing.directory)


def find_source(inside: FileWorker, source: str, *, follow_links: bool) -> tuple[str, FileStatus]:
    """Return where a source in a tree really is, and its status.

    Raises:
        PathNotFoundError: there is nothing; PathNotADirectoryError: it ends with a slash and is no directory.
    """
    path = without_end(rooted(source))
    if not (follow_links or ends_like_a_directory(source)):
        return path, inside.status(path, follow=False)
    _, path = _arrival(inside, path)
    status = inside.status(path, follow=False)
    if ends_like_a_directory(source) and not status.is_dir:
        raise path_error(errno.ENOTDIR, source, "copy")
    return path, status


def rooted(path: str) -> str:
    """Return a path in a tree as an absolute one: relative paths start at its root, as in Docker."""
    _check_given(path, "path")
    return path if path.startswith("/") else f"/{path}"


def _check_given(path: str, field: str) -> None:
    if not check_text(path, field):
        raise InvalidSpecError(field=field, value=path, reason="must not be empty")


# ── both ────────────────────────────────────────────────────────────────────


def _pour_tree(
    source: FileWorker,
    path: str,
    target: FileWorker,
    landing: Landing,
    unpack: UnpackOptions,
    *,
    host_source: str = "",
    host_target: str = "",
) -> None:
    def produce(sink: int) -> None:
        with typed_paths("copy", below=host_source):
            source.pack(path, sink, PackOptions(name=landing.name))

    def consume(stream: int) -> None:
        with typed_paths("copy to", below=host_target):
            target.unpack(landing.directory, stream, unpack)

    pour(produce, consume)


def _landing_inside(inside: FileWorker, source: Source, destination: str) -> Landing:
    kind, real = _arrival(inside, destination)
    return find_landing(source, rooted(destination), kind, real)


def _arrival(inside: FileWorker, path: str) -> tuple[Kind, str]:
    """Return what a path in a tree leads to, and where that is; the symlink at its end may lead to nothing yet."""
    real = without_end(rooted(path))
    for _ in range(_MOST_LINKS):
        try:
            status = inside.status(real, follow=False)
        except PathNotFoundError:
            return Kind.MISSING, real
        if not status.is_symlink:
            return (Kind.DIRECTORY if status.is_dir else Kind.FILE), real
        target = inside.read_link(real)
        real = without_end(target if target.startswith("/") else f"{real.rpartition('/')[0]}/{target}")
    raise path_error(errno.ELOOP, path, "reach")


def _landing_outside(source: Source, destination: str) -> Landing:
    with typed_paths("copy to"):
        real = os.path.realpath(without_end(os.path.abspath(destination)))
        try:
            kind = Kind.DIRECTORY if stat.S_ISDIR(os.stat(real).st_mode) else Kind.FILE
        except FileNotFoundError:
            kind = Kind.MISSING
        landing = find_landing(source, destination, kind, real)
        if not os.path.isdir(landing.directory):
            raise path_error(errno.ENOENT, landing.directory, "copy into")
    return landing


def _incoming(site: Site, inside: FileWorker, options: CopyOptions) -> UnpackOptions:
    if options.archive:
        several = len(site.id_map.uids) > 1 or not site.facts.rootless
        return UnpackOptions(devices=False, replace=True, keep_kind=True, keep_owner=several)
    return UnpackOptions(devices=False, replace=True, keep_kind=True, owner=_find_owner(site, inside, options.owner))


def _outgoing(site: Site, *, archive: bool) -> UnpackOptions:
    caller = (0, 0) if site.facts.rootless else (os.geteuid(), os.getegid())
    owner = None if archive else caller
    return UnpackOptions(devices=False, replace=True, keep_kind=True, set_id=False, owner=owner)


def _find_owner(site: Site, inside: FileWorker, owner: Owner) -> tuple[int, int]:
    if owner is None:
        return 0, 0
    if isinstance(owner, tuple):
        uid, gid = owner
    else:
        identity = resolve_identity(str(owner), (), *(_read_accounts(inside, path) for path in _ACCOUNTS))
        uid, gid = identity.uid, identity.gid
    if not (site.id_map.has_uid(uid) and site.id_map.has_gid(gid)):
        reason = "the id does not exist in the container's user namespace"
        raise InvalidUserError(field="owner", value=owner, reason=reason)
    return uid, gid


def _read_accounts(inside: FileWorker, path: str) -> bytes:
    try:
        fd = inside.open(path, os.O_RDONLY)
    except PathNotFoundError:
        return b""
    with open(fd, "rb") as file:
        return file.read(_MAX_ACCOUNT_FILE) if stat.S_ISREG(os.fstat(fd).st_mode) else b""


def _host_worker(site: Site, directory: str, *, read_only: bool) -> FileWorker:
    view = container_views.tree_view(HostPath(directory), read_only=read_only)
    try:
        return FileWorker.start(view, user_namespace=site.user_namespace())
    except HostError as err:
        if err.errno not in _OF_THE_DIRECTORY:
            raise
        raise path_error(err.errno, directory, "enter") from err
