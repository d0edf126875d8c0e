"""What is shown inside a container besides its image: host paths and memory file systems.

Targets over /, /proc, /sys and /dev, and anything below /proc, are refused: what a
container believes about itself and what later steps write would come from the caller's
mount (CVE-2019-16884, CVE-2019-19921).
"""

from __future__ import annotations

import enum
from typing import Literal, TypeAlias, get_args

import attrs

from container_kit._spec.paths import (
    AnyPath,
    ContainerPath,
    HostPath,
    check_container_path,
    parse_container_path,
    parse_host_path,
)
from container_kit._spec.sizes import parse_size
from container_kit.errors import InvalidMountError, InvalidSpecError

Propagation: TypeAlias = Literal["rprivate", "rslave"]

_TAKEN = frozenset({"/", "/proc", "/sys", "/dev"})


class MountKind(enum.Enum):
    """Where the contents of a mount come from."""

    BIND = "bind"
    TMPFS = "tmpfs"


@attrs.frozen(kw_only=True)
class Mount:
    """One mount; made by `Mount.bind` or `Mount.tmpfs`.

    `size_bytes` and `mode` belong to tmpfs, `source` to binds. Whether `source_is_dir`
    is a fact of the host, found by whoever launches; it decides what a missing target
    is made as.
    """

    kind: MountKind
    target: ContainerPath
    source: HostPath | None = None
    read_only: bool = False
    recursive: bool = True
    propagation: Propagation = "rprivate"
    size_bytes: int | None = None
    mode: int | None = None
    noexec: bool = False
    nosuid: bool = False
    create_source: bool = False
    source_is_dir: bool = True

    def __attrs_post_init__(self) -> None:
        _check_target(self.target)
        if (self.kind is MountKind.BIND) != (self.source is not None):
            raise self._invalid("a bind needs a source, a tmpfs has none")
        if self.propagation not in get_args(Propagation):
            raise self._invalid(f"propagation must be one of {', '.join(get_args(Propagation))}")
        if self.mode is not None and not 0 <= self.mode <= 0o7777:
            raise self._invalid(f"mode {self.mode:#o} is no file mode")

    def _invalid(self, reason: str) -> InvalidMountError:
        return InvalidMountError(field=f"mount {self.target}", reason=reason)

    @classmethod
    def bind(
        cls,
        source: AnyPath,
        target: AnyPath,
        *,
        read_only: bool = False,
        recursive: bool = True,
        propagation: Propagation = "rprivate",
        noexec: bool = False,
        create_source: bool = False,
    ) -> Mount:
        """Show a file or directory of the host in the container.

        Args:
            source: Absolute path on the host.
            target: Absolute path in the container; made if missing.
            read_only: Refuse writes through this mount.
            recursive: Show mounts below the source, too (and make them read-only, too).
            propagation: `rslave` lets mounts that the host makes later appear in the container.
            noexec: Refuse to execute from this mount.
            create_source: Make the source as a directory if it is missing.
        """
        return cls(
            kind=MountKind.BIND,
            target=_parse_target(target, "mount target"),
            source=parse_host_path(source, "mount source"),
            read_only=read_only,
            recursive=recursive,
            propagation=propagation,
            noexec=noexec,
            create_source=create_source,
        )

    @classmethod
    def tmpfs(
        cls,
        target: AnyPath,
        *,
        size: int | str | None = None,
        mode: int = 0o1777,
        read_only: bool = False,
        noexec: bool = True,
    ) -> Mount:
        """Show an empty file system in memory, gone with the container.

        Args:
            target: Absolute path in the container; made if missing.
            size: The most it may hold, in bytes or as text such as `64m`; None leaves the kernel's half of the memory.
            mode: File mode of its root directory.
            read_only: Refuse writes.
            noexec: Refuse to execute from it; the default, as in Docker and Podman.
        """
        return cls(
            kind=MountKind.TMPFS,
            target=_parse_target(target, "tmpfs target"),
            size_bytes=None if size is None else parse_size(size, "tmpfs size"),
            mode=mode,
            read_only=read_only,
            noexec=noexec,
        )


def parse_tmpfs(target: str, options: str) -> Mount:
    """Return a tmpfs mount from Docker's text form, `size=64m,mode=1777,exec,ro` (mount(8) words)."""
    words = [word for word in options.split(",") if word]
    size: str | None = None
    mode = 0o1777
    for word in words:
        key, equals, value = word.partition("=")
        if key == "size" and equals:
            size = value
        elif key == "mode" and equals and value and set(value) <= set("01234567"):
            mode = int(value, 8)
        elif word not in ("ro", "rw", "exec", "noexec", "nosuid", "nodev"):
            reason = "tmpfs options are size=, mode= (octal), ro, rw, exec, noexec, nosuid and nodev"
            raise InvalidMountError(field=f"tmpfs {target}", value=word, reason=reason)
    return Mount.tmpfs(target, size=size, mode=mode, read_only="ro" in words, noexec="exec" not in words)


def _parse_target(target: AnyPath, field: str) -> ContainerPath:
    try:
        return parse_container_path(target, field)
    except InvalidSpecError as error:
        raise InvalidMountError(field=error.field, value=error.value, reason=error.reason) from None


def _check_target(target: ContainerPath) -> None:
    if target in _TAKEN or target.startswith("/proc/"):
        reason = "the container's own file systems are there"
        hint = "mount below it, e.g. at /srv" if target == "/" else "choose a target outside /proc, /sys and /dev"
        raise InvalidMountError(field="mount target", value=target, reason=reason, hint=hint)
    check_container_path(target, "mount target")
