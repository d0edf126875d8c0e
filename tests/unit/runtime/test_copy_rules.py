"""The rules of `docker cp`: each cell of the table."""

from __future__ import annotations

import pytest

from container_kit._trees.copy_rules import Kind, Landing, Source, find_landing, last_name, without_end
from container_kit.errors import PathNotADirectoryError, PathNotFoundError

FILE = Source.of("/src/name", is_directory=False)
DIRECTORY = Source.of("/src/name", is_directory=True)
CONTENTS = Source.of("/src/name/.", is_directory=True)


def at(directory: str, name: str) -> Landing:
    """Return a landing."""
    return Landing(directory=directory, name=name)


@pytest.mark.parametrize(
    ("source", "destination", "kind", "expected"),
    [
        (FILE, "/a/b", Kind.MISSING, at("/a", "b")),
        (FILE, "/b", Kind.MISSING, at("/", "b")),
        (FILE, "/a/b", Kind.FILE, at("/a", "b")),
        (FILE, "/a/b", Kind.DIRECTORY, at("/a/b", "name")),
        (FILE, "/a/b/", Kind.DIRECTORY, at("/a/b", "name")),
        (DIRECTORY, "/a/b", Kind.MISSING, at("/a", "b")),
        (DIRECTORY, "/a/b/", Kind.MISSING, at("/a", "b")),
        (DIRECTORY, "/a/b", Kind.DIRECTORY, at("/a/b", "name")),
        (CONTENTS, "/a/b", Kind.MISSING, at("/a", "b")),
        (CONTENTS, "/a/b", Kind.DIRECTORY, at("/a/b", "")),
        (CONTENTS, "/a/b/.", Kind.DIRECTORY, at("/a/b", "")),
    ],
)
def test_a_copy_arrives_where_docker_puts_it(source: Source, destination: str, kind: Kind, expected: Landing) -> None:
    """As the table in the module's docstring says."""
    assert expected == find_landing(source, destination, kind, without_end(destination))


@pytest.mark.parametrize(
    ("source", "destination", "kind", "error"),
    [
        (FILE, "/a/b/", Kind.MISSING, PathNotFoundError),
        (FILE, "/a/b/.", Kind.MISSING, PathNotFoundError),
        (FILE, "/a/b/", Kind.FILE, PathNotADirectoryError),
        (DIRECTORY, "/a/b", Kind.FILE, PathNotADirectoryError),
        (CONTENTS, "/a/b", Kind.FILE, PathNotADirectoryError),
    ],
)
def test_what_docker_refuses_is_an_error(source: Source, destination: str, kind: Kind, error: type[Exception]) -> None:
    """The destination directory must exist; a directory cannot be copied to a file."""
    with pytest.raises(error):
        find_landing(source, destination, kind, without_end(destination))


@pytest.mark.parametrize(
    ("path", "name", "rest"),
    [
        ("/a/b", "b", "/a/b"),
        ("/a/b/", "b", "/a/b"),
        ("/a/b//", "b", "/a/b"),
        ("/a/b/.", "b", "/a/b"),
        ("/a/b/./", "b", "/a/b"),
        ("/a/.b", ".b", "/a/.b"),
        ("/", "", "/"),
        ("/.", "", "/"),
        ("a", "a", "a"),
    ],
)
def test_the_end_of_a_path_is_read_as_written(path: str, name: str, rest: str) -> None:
    """Slashes and `/.` at the end say something, they are no part of the name."""
    assert (name, rest) == (last_name(path), without_end(path))


def test_of_the_root_only_the_contents_can_be_meant() -> None:
    """It has no name that a copy could have."""
    assert Source.of("/", is_directory=True).contents_only
