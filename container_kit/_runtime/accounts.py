"""Who a container's user is: its passwd and group files, read without trusting its tree.

Before a launch the files are looked for in the container's own upper directory and then in
the image's layers; in a running container below the root of its init.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence

from container_kit._linux.files import read_beneath
from container_kit._plan.identity import resolve_identity
from container_kit._runtime.site import Site
from container_kit._spec.identity import Identity
from container_kit._spec.root_filesystem import RootFilesystem


def find_identity(
    site: Site, container_id: str, root: RootFilesystem, user: str | None, groups: Sequence[str]
) -> Identity:
    """Return who `user` is in a container that does not run.

    Raises:
        InvalidUserError: malformed, out of range, or a name that the image does not know.
    """
    layers = (f"{site.home.container_dir(container_id)}/upper", *root.overlays[0].lowers)
    return resolve_identity(user, groups, _from_layers(layers, "etc/passwd"), _from_layers(layers, "etc/group"))


def find_identity_inside(init_pid: int, user: str | None, groups: Sequence[str]) -> Identity:
    """Return who `user` is in a running container.

    Raises:
        InvalidUserError: as `find_identity`.
    """
    root = f"/proc/{init_pid}/root"
    return resolve_identity(
        user, groups, read_beneath(root, "etc/passwd") or b"", read_beneath(root, "etc/group") or b""
    )


def _from_layers(layers: Sequence[str], path: str) -> bytes:
    for layer in layers:
        try:
            info = os.lstat(f"{layer}/{path}")
        except (FileNotFoundError, NotADirectoryError):
            continue
        if stat.S_ISCHR(info.st_mode):
            return b""  # a whiteout: the container removed it
        return read_beneath(layer, path) or b""
    return b""
