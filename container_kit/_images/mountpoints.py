"""A lowest layer that holds the mount points every container needs.

An image may lack /proc or /etc/hosts, and a rootless container may not be allowed to make
them in directories that belong to somebody else. With this layer below the image they are
always there, and nothing has to be written to the container's own layer.
"""

from __future__ import annotations

import os
import shutil

from container_kit._spec.paths import HostPath

DIRECTORIES = {"proc": 0o555, "sys": 0o555, "dev": 0o755, "etc": 0o755}
FILES = ("etc/hosts", "etc/hostname", "etc/resolv.conf")
_NAME = "mountpoints-1"
_PUBLIC = 0o755  # whoever a container's user is looks into its root


def build_mountpoints(layers: HostPath) -> HostPath:
    """Make the layer below `layers` if it is missing and return where it is."""
    final = HostPath(f"{layers}/{_NAME}")
    if os.path.isdir(final):
        return final
    temporary = f"{layers}/.{_NAME}-{os.getpid()}-{os.urandom(4).hex()}"
    os.mkdir(temporary)
    try:
        os.chmod(temporary, _PUBLIC)
        for name, mode in DIRECTORIES.items():
            os.mkdir(f"{temporary}/{name}")
            os.chmod(f"{temporary}/{name}", mode)
        for name in FILES:
            with open(f"{temporary}/{name}", "wb") as file:
                os.fchmod(file.fileno(), 0o644)
        os.rename(temporary, final)
    except OSError:
        shutil.rmtree(temporary, ignore_errors=True)
        if not os.path.isdir(final):  # else another process was first
            raise
    return final
