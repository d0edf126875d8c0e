"""Where a copy arrives: the rules of `docker cp` as one table. Pure; used in both directions.

From Docker's reference of `docker container cp`, whose words are kept:

    the source is a file
        the destination does not exist                  the file is saved to a file created there
        the destination does not exist and ends with /  error: the destination directory must exist
        the destination exists and is a file            it is overwritten with the source file
        the destination exists and is a directory       the file is copied into it, under the source's name
    the source is a directory
        the destination does not exist                  it is made, and the contents of the source are copied into it
        the destination exists and is a file            error: cannot copy a directory to a file
        the destination exists and is a directory
            the source does not end with /.             the source directory is copied into this directory
            the source does end with /.                 the content of the source is copied into this directory

Parents of the destination are never made. A symlink as the source is a file unless it is to be followed; at the
destination symlinks are followed (inside the container's root), also one that leads to nothing yet.
"""

from __future__ import annotations

import enum
import errno

import attrs

from container_kit.errors import path_error


class Kind(enum.Enum):
    """What is at a path, symlinks followed at the destination."""

    MISSING = "missing"
    FILE = "file"
    DIRECTORY = "directory"


@attrs.frozen(kw_only=True)
class Source:
    """What is copied: its last name, and whether it is a directory or only what is in one."""

    name: str
    is_directory: bool
    contents_only: bool = False

    @classmethod
    def of(cls, path: str, *, is_directory: bool) -> Source:
        """Return the source that a path as written means; of the root only the contents can be meant."""
        name = last_name(path)
        return cls(name=name, is_directory=is_directory, contents_only=path.endswith("/.") or path == "." or not name)


@attrs.frozen(kw_only=True)
class Landing:
    """Where a copy arrives: as `name` in `directory`; when `name` is empty, what is in the source goes there."""

    directory: str
    name: str


def find_landing(source: Source, destination: str, kind: Kind, real: str) -> Landing:
    """Return where a copy arrives.

    Args:
        source: what is copied.
        destination: the path as written; a slash or `/.` at its end asks for a directory.
        kind: what is there.
        real: the path with the symlink at its end followed, without slashes at the end.

    Raises:
        PathNotFoundError, PathNotADirectoryError: the rules do not allow it.
    """
    wants_directory = ends_like_a_directory(destination)
    match kind:
        case Kind.DIRECTORY:
            keeps_name = not (source.is_directory and source.contents_only)
            return Landing(directory=real, name=source.name if keeps_name else "")
        case Kind.FILE if source.is_directory or wants_directory:
            raise path_error(errno.ENOTDIR, destination, "copy to")
        case Kind.MISSING if wants_directory and not source.is_directory:
            raise path_error(errno.ENOENT, destination, "copy into")
        case Kind.FILE | Kind.MISSING:
            directory, _, name = real.rpartition("/")
            return Landing(directory=directory or "/", name=name)


def ends_like_a_directory(path: str) -> bool:
    """Say whether a path, as written, can only mean a directory."""
    return path.endswith(("/", "/.")) or path == "."


def last_name(path: str) -> str:
    """Return the last name in a path, without slashes and `/.` at its end; empty for the root."""
    return without_end(path).rpartition("/")[2]


def without_end(path: str) -> str:
    """Return a path without slashes and `/.` at its end; the root stays `/`."""
    while path != "/" and path.endswith(("/", "/.")):
        path = path[:-1] if path.endswith("/") else path[:-2]
    return path or "/"
