"""Who a container's user is: its passwd and group files, read without trusting its tree.

Before a launch the files are looked for in the container's own upper directory and then in
the image's layers; in a running container below the root of its init.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence

from container_kit._linux.files import kind_beneath, read_beneath
from container_kit._plan.identity import resolve_identity
from container_kit._runtime.site import Site
from container_kit._spec.identity import Identity
from container_kit._spec.root_filesystem import RootFilesystem
from container_kit.errors import ImageError

_NOT_THE_FILES_FAULT = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)


def find_identity(
    site: Site, container_id: str, root: RootFilesystem, user: str | None, groups: Sequence[str]
) -> Identity:
    """Return who `user` is in a container that does not run.

    Raises:
        InvalidUserError: malformed, out of range, or a name that the image does not know.
        ImageError: its account files are not readable files of at most 10 MiB.
    """
    layers = (f"{site.home.container_dir(container_id)}/upper", *root.overlays[0].lowers)
    return resolve_identity(user, groups, _from_layers(layers, "etc/passwd"), _from_layers(layers, "etc/group"))


def find_identity_inside(init_pid: int, user: str | None, groups: Sequence[str]) -> Identity:
    """Return who `user` is in a running container.

    Raises:
        InvalidUserError: as `find_identity`.
    """
    root = f"/proc/{init_pid}/root"
    return resolve_identity(user, groups, _read(root, "etc/passwd"), _read(root, "etc/group"))


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
