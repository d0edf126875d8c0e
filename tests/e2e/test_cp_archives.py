"""Story: tar streams go into a container and come out of it."""

from __future__ import annotations

import gzip
import io
import lzma
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

import container_kit as ck
from container_kit import errors
from tests.e2e.boxes import Box, make, tree_in


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Give a directory of the host with something to copy."""
    place = tmp_path / "source"
    (place / "d").mkdir(parents=True)
    (place / "f").write_text("F")
    (place / "d" / "x").write_text("X")
    return place


@pytest.fixture
def box(engine: ck.Engine, image: ck.Image, source: Path) -> Box:
    """Give a container that does not run, with the same in it, and a directory to copy to."""
    made = make(engine, image)
    made.copy_in(source, "/source")
    made.path("/area").mkdir()
    made.path("/area/file").write_text("old")
    made.path("/area/dir").mkdir()
    return made


def test_a_tar_stream_goes_in_and_comes_out(box: Box, source: Path) -> None:
    """Also one that cannot seek; the first entry has the name that was asked for."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as tar:
        tar.add(source, "tree")
    read_end, write_end = os.pipe()
    with open(write_end, "wb") as file:
        file.write(data.getvalue())

    with open(read_end, "rb") as pipe:
        box.copy_in(pipe, "/area/dir")
    with box.read_archive("/area/dir/tree") as stream, tarfile.open(fileobj=stream, mode="r|") as tar:
        names = [entry.name for entry in tar]

    assert ["tree", "tree/d", "tree/d/x", "tree/f"] == names
    assert "X" == box.path("/area/dir/tree/d/x").read_text()


@pytest.mark.parametrize("compress", [bytes, gzip.compress, lzma.compress])
def test_a_tar_stream_may_be_compressed(box: Box, source: Path, compress: Callable[[bytes], bytes]) -> None:
    """How is found out, as Docker does."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as tar:
        tar.add(source / "f", "f")

    box.copy_in(io.BytesIO(compress(data.getvalue())), "/area/dir")

    assert {"f": "F"} == tree_in(box, "/area/dir")


@pytest.mark.parametrize(("where", "error"), [("/area/missing", FileNotFoundError), ("/area/file", NotADirectoryError)])
def test_a_tar_stream_needs_a_directory(box: Box, where: str, error: type[Exception]) -> None:
    """It is not made."""
    with pytest.raises(error):
        box.copy_in(io.BytesIO(bytes(1024)), where)


def test_what_is_no_archive_is_an_error(box: Box) -> None:
    """And the container can be used as before."""
    with pytest.raises(errors.UnsafeArchiveError):
        box.copy_in(io.BytesIO(b"no archive" * 100), "/area")

    assert {"file": "old", "dir": "/"} == tree_in(box, "/area")


def test_a_stream_that_is_closed_early_leaves_nothing_behind(box: Box) -> None:
    """The container can be started at once."""
    with box.read_archive("/bin") as stream:
        assert 100 == len(stream.read(100))

    box.start()

    assert "running" == box.status


def test_what_is_neither_path_nor_bytes_nor_file_is_refused(box: Box) -> None:
    """By type, not somewhere deep down."""
    with pytest.raises(errors.InvalidSpecError):
        box.copy_in(3.5, "/area")  # type: ignore[arg-type]
    with pytest.raises(IsADirectoryError):
        box.copy_in(b"x", "/area")


@pytest.mark.parametrize("path", ["", "a\0b"])
def test_a_path_that_cannot_be_is_refused(box: Box, source: Path, tmp_path: Path, path: str) -> None:
    """On either side; nothing is taken for the root or for the caller's directory."""
    actions: tuple[Callable[[], object], ...] = (
        lambda: box.copy_in(source, path),
        lambda: box.copy_in(path, "/area"),
        lambda: box.copy_in(b"x", path),
        lambda: box.copy_out(path, tmp_path),
        lambda: box.copy_out("/source", path),
    )

    for action in actions:
        with pytest.raises(errors.InvalidSpecError):
            action()
