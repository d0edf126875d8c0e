"""Where everything is: the only module that knows the directory layout.

::

    <root>/state.sqlite              containers, events
    <root>/locks/<name>              lock files, never removed
    <root>/containers/<id>/          upper, work, log, log.1, …
    <root>/layers/host-<digest>/     skeletons of Image.host()
    <root>/layers/sha256-<hex>/      unpacked layers by diff_id
    <root>/images/                   an OCI image layout, and nothing else
    <root>/ingest/                   content on its way in or out
    <runtime>/<id>/state             written by the monitor
    <runtime>/<id>/control.sock

The runtime directory's name has the boot's id in it: after a reboot the old one is never
looked at again. Every directory is private to its owner, and one that belongs to
somebody else is refused: in a place that others can write, such as /tmp, it could be
theirs and full of symlinks (CVE-2024-5154, CVE-2025-0750).
"""

from __future__ import annotations

import hashlib
import os
import stat

import attrs

from container_kit._spec.ids import parse_container_id
from container_kit._spec.paths import HostPath
from container_kit._spec.text import check_text
from container_kit.errors import InvalidSpecError, RootDirectoryError

_PRIVATE = 0o700
_NAME = "container_kit"


@attrs.frozen(kw_only=True)
class Home:
    """The paths of one engine. Ids are checked before they become part of a path."""

    root: HostPath
    runtime: HostPath

    @classmethod
    def at(cls, root: str, *, boot_id: str, runtime_parent: str) -> Home:
        """Return the home in a root directory, which need not exist yet.

        Args:
            root: The engine's directory; symlinks in it are resolved.
            boot_id: This boot's id, with or without dashes (random(4)).
            runtime_parent: Where runtime directories are; see `find_runtime_parent`.
        """
        if not check_text(root, "root") or not check_text(runtime_parent, "runtime"):
            raise InvalidSpecError(field="root" if runtime_parent else "runtime", reason="must not be empty")
        real = os.path.realpath(root)
        digest = hashlib.sha256(os.fsencode(real)).hexdigest()[:16]
        runtime = os.path.join(os.path.abspath(runtime_parent), f"{digest}-{boot_id.replace('-', '')[:8]}")
        return cls(root=HostPath(real), runtime=HostPath(runtime))

    def make(self) -> None:
        """Make every directory that is missing. Idempotent.

        Raises:
            RootDirectoryError: One cannot be made, or belongs to somebody else.
        """
        try:
            os.makedirs(os.path.dirname(self.root), exist_ok=True)
        except OSError as error:
            raise _unusable(self.root, "cannot be made", error) from error
        own = (self.root, self.containers, self.layers, self.images, self.ingest, self.locks)
        for path in (*own, os.path.dirname(self.runtime), self.runtime):
            make_private(path)

    @property
    def database(self) -> HostPath:
        """The file with all records."""
        return HostPath(f"{self.root}/state.sqlite")

    @property
    def containers(self) -> HostPath:
        """The directory with one directory a container."""
        return HostPath(f"{self.root}/containers")

    @property
    def layers(self) -> HostPath:
        """The directory of read-only trees."""
        return HostPath(f"{self.root}/layers")

    @property
    def images(self) -> HostPath:
        """The OCI image layout; other tools read and write it as well."""
        return HostPath(f"{self.root}/images")

    @property
    def ingest(self) -> HostPath:
        """The directory of content that is not complete yet, or about to be deleted."""
        return HostPath(f"{self.root}/ingest")

    @property
    def auth_file(self) -> HostPath:
        """The file with the credentials of `Engine.login`, in the format of containers-auth.json(5)."""
        return HostPath(f"{self.root}/auth.json")

    @property
    def locks(self) -> HostPath:
        """The directory of lock files."""
        return HostPath(f"{self.root}/locks")

    def lock_file(self, name: str) -> HostPath:
        """Return the path of a lock; `name` is a word of ours, never a caller's."""
        return HostPath(f"{self.locks}/{name}")

    def layer_dir(self, digest: str) -> HostPath:
        """Return where a layer is unpacked; `digest` is its diff_id, as a parsed `Digest`."""
        return HostPath(f"{self.layers}/{digest.replace(':', '-')}")

    def container_dir(self, container: str) -> HostPath:
        """Return where a container keeps its writable layers and its log."""
        return HostPath(f"{self.containers}/{parse_container_id(container)}")

    def log_file(self, container: str) -> HostPath:
        """Return the file a container's newest output is in."""
        return HostPath(f"{self.container_dir(container)}/log")

    def container_runtime_dir(self, container: str) -> HostPath:
        """Return where a container's monitor keeps its state file and socket."""
        return HostPath(f"{self.runtime}/{parse_container_id(container)}")

    def state_file(self, container: str) -> HostPath:
        """Return the file a container's monitor writes its state to."""
        return HostPath(f"{self.container_runtime_dir(container)}/state")

    def control_socket(self, container: str) -> HostPath:
        """Return a monitor's socket. Longer than an address may be: connect through its directory's descriptor."""
        return HostPath(f"{self.container_runtime_dir(container)}/control.sock")


def find_runtime_parent(uid: int, xdg_runtime_dir: str | None) -> str:
    """Return where a user's runtime directories are: in memory, private, gone after a reboot where possible."""
    if uid == 0:
        return f"/run/{_NAME}"
    for directory in (xdg_runtime_dir, f"/run/user/{uid}"):
        if directory and os.path.isabs(directory) and _is_owned(directory, uid):
            return f"{directory.rstrip('/')}/{_NAME}"
    return f"/tmp/{_NAME}-{uid}"  # noqa: S108  # others can make it first: make_private refuses theirs


def make_private(path: str) -> None:
    """Make a directory that only its owner may enter, or check that the one there is ours.

    Raises:
        RootDirectoryError: It cannot be made, is no directory, is a symlink, belongs to
            somebody else, or others may write to it.
    """
    try:
        os.mkdir(path, _PRIVATE)
        os.chmod(path, _PRIVATE)  # whatever the umask was
    except FileExistsError:
        _check_ours(path)
    except OSError as error:
        raise _unusable(path, "cannot be made", error) from error


def _check_ours(path: str) -> None:
    info = os.lstat(path)
    if not stat.S_ISDIR(info.st_mode):
        raise RootDirectoryError(path=path, reason="is not a directory")
    if info.st_uid != os.geteuid():
        hint = "choose another root directory, or remove this one"
        raise RootDirectoryError(path=path, reason=f"belongs to the user with id {info.st_uid}", hint=hint)
    if info.st_mode & 0o022:
        reason = f"others may write to it (mode {stat.S_IMODE(info.st_mode):04o})"
        raise RootDirectoryError(path=path, reason=reason, hint=f"chmod 700 {path}")


def _is_owned(path: str, uid: int) -> bool:
    try:
        info = os.lstat(path)
    except OSError:
        return False
    return stat.S_ISDIR(info.st_mode) and info.st_uid == uid


def _unusable(path: str, reason: str, error: OSError) -> RootDirectoryError:
    return RootDirectoryError(path=path, reason=reason, errno=error.errno)
