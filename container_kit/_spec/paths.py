"""Paths on the host and paths in a container are different types.

Mixing them up is the oldest container bug there is; `NewType` lets the type checker
find it. Both are absolute and hold no NUL. Nothing here looks at a file system: a path
in a container means something only once that container's root is the root.
"""

from __future__ import annotations

from typing import NewType, Protocol, TypeAlias

from container_kit._spec.text import check_text
from container_kit.errors import InvalidMountError, InvalidSpecError

HostPath = NewType("HostPath", str)
ContainerPath = NewType("ContainerPath", str)

_LONGEST = 4095


class PathLike(Protocol):
    """What `os.PathLike[str]` is, for layers that must not know `os`."""

    def __fspath__(self) -> str:
        """Return the path as text."""
        ...


AnyPath: TypeAlias = str | PathLike


def parse_container_path(path: AnyPath, field: str) -> ContainerPath:
    """Return an absolute path in a container, without `//`, `/./` and a slash at the end; `..` is refused."""
    text = _text_of(path, field)
    if not text.startswith("/"):
        raise InvalidSpecError(field=field, value=text, reason="must be an absolute path in the container")
    if len(text) > _LONGEST:
        raise InvalidSpecError(field=field, reason=f"is longer than {_LONGEST} characters")
    if "//" not in text and "/." not in text and not text.endswith("/"):
        return ContainerPath(text)
    parts = [part for part in text.split("/") if part not in ("", ".")]
    if ".." in parts:
        reason = "must not contain '..': what it leads to depends on symlinks in the container"
        raise InvalidSpecError(field=field, value=text, reason=reason)
    return ContainerPath("/" + "/".join(parts))


def check_container_path(path: ContainerPath, field: str) -> None:
    """Raise unless a path is as `parse_container_path` would return it."""
    if parse_container_path(path, field) != path:
        raise InvalidSpecError(field=field, value=path, reason="must be a normalised path")


def parse_host_path(path: AnyPath, field: str) -> HostPath:
    """Return an absolute path on the host, as given."""
    text = _text_of(path, field)
    if not text.startswith("/"):
        hint = "expand it first, e.g. with pathlib.Path(…).expanduser().absolute()"
        raise InvalidMountError(field=field, value=text, reason="must be an absolute path on the host", hint=hint)
    if len(text) > _LONGEST:
        raise InvalidMountError(field=field, reason=f"is longer than {_LONGEST} characters")
    return HostPath(text)


def _text_of(path: AnyPath, field: str) -> str:
    return check_text(path if isinstance(path, str) else path.__fspath__(), field)
