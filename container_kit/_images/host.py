"""The host itself as an image: its /usr and what that needs to run, nothing personal.

`build_skeleton` makes the small generated part of it once: the symlinks or mount points for
the host's program directories, the loader's cache, alternatives and certificates, and
minimal account files. /usr and the directories a caller includes are not copied; they are
lower directories of overlays of their own.

Shown of /etc: ld.so.cache, ld.so.conf(.d), alternatives, ssl (without private), ca-certificates.conf,
localtime, timezone, os-release, mime.types, protocols, services, and generated passwd, group,
nsswitch.conf. Of /home, /root and /var: nothing; the directories are there and empty.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import sys
import time
from collections.abc import Iterator, Sequence
from functools import lru_cache

from container_kit._images.mountpoints import build_mountpoints
from container_kit._spec.paths import ContainerPath, HostPath, parse_container_path, parse_host_path
from container_kit._spec.root_filesystem import OverlayLayers, RootFilesystem
from container_kit.errors import InvalidSpecError

_PROGRAM_DIRECTORIES = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
_EMPTY_DIRECTORIES = {
    "dev": 0o755,
    "etc": 0o755,
    "home": 0o755,
    "mnt": 0o755,
    "opt": 0o755,
    "proc": 0o555,
    "root": 0o700,
    "run": 0o755,
    "srv": 0o755,
    "sys": 0o555,
    "tmp": 0o1777,
    "usr": 0o755,
    "var": 0o755,
    "var/cache": 0o755,
    "var/lib": 0o755,
    "var/log": 0o755,
    "var/tmp": 0o1777,
}
_ETC_FILES = (
    "ld.so.cache",
    "ld.so.conf",
    "localtime",
    "timezone",
    "os-release",
    "mime.types",
    "protocols",
    "services",
    "ca-certificates.conf",
)
_ETC_TREES = ("ld.so.conf.d", "alternatives", "ssl", "ca-certificates", "pki/tls", "pki/ca-trust")
_SECRET_NAMES = frozenset({"private"})
_GENERATED = {
    "etc/passwd": (
        "root:x:0:0:root:/root:/bin/sh\n"
        "daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin\n"
        "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"
    ),
    "etc/group": "root:x:0:\ndaemon:x:1:\ntty:x:5:\nnogroup:x:65534:\n",
    "etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
}
_NEVER_INCLUDED = ("/", "/proc", "/sys", "/dev", "/home", "/root", "/var", "/etc", "/run", "/boot")
_FORMAT = "2"
_PUBLIC = 0o755  # whoever a container's user is looks into its root


def choose_directories(include: Sequence[str | os.PathLike[str]]) -> tuple[HostPath, ...]:
    """Return the directories of the host that a caller wants to show, with the interpreters they need.

    Raises:
        InvalidSpecError: one is no directory, or would show private parts of the host as a whole.
    """
    return tuple(dict.fromkeys(path for given in include for path in _with_interpreter(_included(given))))


def host_root(layers: HostPath, include: Sequence[HostPath]) -> RootFilesystem:
    """Return the root file system of `Image.host(include=…)`, making the skeleton below `layers` if missing."""
    skeleton = build_skeleton(layers, include)
    targets = [f"/{name}" for name in ("usr", *_PROGRAM_DIRECTORIES) if _is_real_directory(f"/{name}")]
    for path in sorted(include):
        if not any(path == target or path.startswith(f"{target}/") for target in targets):
            targets.append(path)
    overlays = [OverlayLayers(target=ContainerPath("/"), lowers=(skeleton, build_mountpoints(layers)))]
    overlays += [OverlayLayers(target=ContainerPath(target), lowers=(HostPath(target),)) for target in targets]
    return RootFilesystem(overlays=tuple(overlays))


def build_skeleton(layers: HostPath, include: Sequence[HostPath]) -> HostPath:
    """Make the generated part of the host image and return where it is. Visible only when complete (rename)."""
    files, look = _look_at_etc(int(time.monotonic()))
    digest = hashlib.sha256(look)
    digest.update("\0".join(sorted(include)).encode(errors="surrogateescape"))
    final = HostPath(f"{layers}/host-{digest.hexdigest()[:32]}")
    if os.path.isdir(final):
        return final
    temporary = f"{layers}/.host-{os.getpid()}-{os.urandom(4).hex()}"
    os.makedirs(temporary, mode=0o755)
    try:
        os.chmod(temporary, _PUBLIC)
        _fill(temporary, files, include)
        os.rename(temporary, final)
    except OSError:
        shutil.rmtree(temporary, ignore_errors=True)
        if not os.path.isdir(final):  # else another process was first: its skeleton is the same
            raise
    return final


def _fill(root: str, files: Sequence[str], include: Sequence[HostPath]) -> None:
    for name, mode in _EMPTY_DIRECTORIES.items():
        _make_directory(f"{root}/{name}", mode)
    for name in _PROGRAM_DIRECTORIES:
        if os.path.islink(f"/{name}"):
            os.symlink(os.readlink(f"/{name}"), f"{root}/{name}")
        elif os.path.isdir(f"/{name}"):
            _make_directory(f"{root}/{name}", 0o755)
    for name in files:
        _copy_entry(f"/{name}", f"{root}/{name}")
    for name, text in _GENERATED.items():
        _write(f"{root}/{name}", text)
    for path in include:
        _make_mount_point(root, path)


def _make_mount_point(root: str, path: HostPath) -> None:
    # Whoever the container's user is must get there, also below /root: the directories are ours and empty.
    current = root
    for part in path.strip("/").split("/"):
        current = f"{current}/{part}"
        _make_directory(current, 0o755)


@lru_cache(maxsize=1)
def _look_at_etc(second: int) -> tuple[tuple[str, ...], bytes]:  # noqa: ARG001  # the cache's key
    """Return what is shown of /etc and a digest of its state: hundreds of files, so looked at once a second at most."""
    files = tuple(sorted(_etc_entries()))
    digest = hashlib.sha256(_FORMAT.encode())
    for path in files:
        info = os.lstat(f"/{path}")
        digest.update(f"{path} {info.st_mtime_ns} {info.st_size} {info.st_mode}\n".encode(errors="surrogateescape"))
    return files, digest.digest()


def _etc_entries() -> Iterator[str]:
    for name in _ETC_FILES:
        if os.path.lexists(f"/etc/{name}"):
            yield f"etc/{name}"
    for tree in _ETC_TREES:
        for directory, subdirectories, names in os.walk(f"/etc/{tree}"):
            subdirectories[:] = [name for name in subdirectories if name not in _SECRET_NAMES]
            for name in (*names, *subdirectories):
                path = f"{directory}/{name}"
                if os.path.islink(path) or _is_public_file(path):
                    yield path.lstrip("/")


def _is_public_file(path: str) -> bool:
    # Only what everybody on the host may read: a key that strayed into /etc/ssl stays out.
    mode = os.lstat(path).st_mode
    return stat.S_ISREG(mode) and bool(mode & stat.S_IROTH)


def _copy_entry(source: str, target: str) -> None:
    _make_directory(os.path.dirname(target), 0o755)
    if os.path.islink(source):
        os.symlink(os.readlink(source), target)
    else:
        shutil.copyfile(source, target)
        os.chmod(target, 0o644)


def _make_directory(path: str, mode: int) -> None:
    if not os.path.isdir(path):
        if not os.path.isdir(os.path.dirname(path)):
            _make_directory(os.path.dirname(path), _PUBLIC)
        os.mkdir(path)
    os.chmod(path, mode)  # whatever the umask was, for parents as well


def _write(path: str, text: str) -> None:
    with open(path, "w", encoding="ascii") as file:
        file.write(text)
    os.chmod(path, 0o644)


def _is_real_directory(path: str) -> bool:
    return os.path.isdir(path) and not os.path.islink(path)


def _included(given: str | os.PathLike[str]) -> HostPath:
    # It is a path in the container, too: one name for one place.
    path = HostPath(parse_container_path(parse_host_path(given, "include"), "include"))
    if os.path.realpath(path) in {os.path.realpath(private) for private in _NEVER_INCLUDED}:
        raise InvalidSpecError(field="include", value=path, reason="shows private parts of the host as a whole")
    if not os.path.isdir(path):
        raise InvalidSpecError(field="include", value=path, reason="is not a directory")
    return path


def _with_interpreter(path: HostPath) -> tuple[HostPath, ...]:
    """Return a directory and, if it is a virtual environment, where its interpreter is installed (PEP 405)."""
    try:
        with open(f"{path}/pyvenv.cfg", encoding="utf-8") as file:
            lines = [line.partition("=") for line in file]
    except OSError:
        return (path,)
    homes = [value.strip() for key, _, value in lines if key.strip() == "home"]
    prefix = os.path.dirname(os.path.realpath(homes[0])) if homes else sys.base_prefix
    if prefix in ("/", "/usr", "/usr/local") or not os.path.isdir(prefix):
        return (path,)
    return (path, _included(prefix))
