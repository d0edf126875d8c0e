"""Who a container's user is: its passwd and group files, read without trusting its tree.

Before a launch the files are looked for in the container's own upper directory and then in
the image's layers; in a running container below the root of its init.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Sequence

from container_kit._linux.files import Stamp, kind_beneath, read_beneath, stamp_of, stamps_beneath
from container_kit._linux.processes import ProcessId
from container_kit._plan.identity import resolve_identity
from container_kit._runtime.site import Site
from container_kit._spec.identity import Identity
from container_kit._spec.root_filesystem import RootFilesystem
from container_kit.errors import ImageError

_FILES = ("etc/passwd", "etc/group")
_KEPT = 256  # identities remembered
_NOT_THE_FILES_FAULT = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)


def find_identity(
    site: Site, container_id: str, root: RootFilesystem, user: str | None, groups: Sequence[str]
) -> Identity:
    """Return who `user` is in a container that does not run.

    Raises:
        InvalidUserError: malformed, out of range, or a name that the image does not know.
        ImageError: its account files are not readable files of at most 10 MiB.
    """
    upper = f"{site.home.container_dir(container_id)}/upper"
    layers = (*((upper,) if os.path.isdir(upper) else ()), *root.overlays[0].lowers)
    stamp = tuple(_stamps_of(layer, path) for layer in layers for path in _FILES)
    return _remembered(
        site,
        (layers, user, tuple(groups)),
        stamp,
        lambda: resolve_identity(user, groups, *(_from_layers(layers, path) for path in _FILES)),
    )


def find_identity_inside(site: Site, init: ProcessId, user: str | None, groups: Sequence[str]) -> Identity:
    """Return who `user` is in a running container.

    Raises:
        InvalidUserError: as `find_identity`.
    """
    root = f"/proc/{init.pid}/root"
    stamp = stamps_beneath(root, _FILES)
    return _remembered(
        site,
        (init, user, tuple(groups)),
        stamp,
        lambda: resolve_identity(user, groups, *(_read(root, path) for path in _FILES)),
    )


def _remembered(site: Site, key: object, stamp: object, find: Callable[[], Identity]) -> Identity:
    # Looking users up costs as much as a good part of a launch, and the files hardly ever change.
    kept = site.identities.get(key)
    if kept is not None and kept[0] == stamp:
        return kept[1]
    identity = find()
    if len(site.identities) >= _KEPT:
        site.identities.clear()
    site.identities[key] = (stamp, identity)
    return identity


def _stamps_of(layer: str, path: str) -> tuple[Stamp | None, ...]:
    # Only to notice a change: what the file says is read beneath its layer.
    try:
        info = os.lstat(f"{layer}/{path}")
    except OSError:
        return ()
    return stamp_of(info), *(stamps_beneath(layer, (path,)) if stat.S_ISLNK(info.st_mode) else ())


def _from_layers(layers: Sequence[str], path: str) -> bytes:
    for layer in layers:
        kind = kind_beneath(layer, path)
        if kind == stat.S_IFCHR:
            return b""  # a whiteout: the container removed it
        if kind is not None:
            return _read(layer, path)
    return b""


def _read(root: str, path: str) -> bytes:
    try:
        return read_beneath(root, path) or b""
    except OSError as err:
        if err.errno in _NOT_THE_FILES_FAULT:
            raise
        reason = f"its /{path} cannot be read: {os.strerror(err.errno or errno.EIO)}"
        raise ImageError(image=root, reason=reason, hint="a regular file of at most 10 MiB is wanted there") from err
