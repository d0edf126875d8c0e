"""An unpacked layer is the tree that GNU tar makes of the same archive, however it is compressed."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import attrs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.stores import close_store, ensure, open_store, put_layer

_NAMES = st.sampled_from(["a", "b", "long" * 30, "ünï", "with space", ".hidden", "-dash", "new\nline"])
_TIMES = st.sampled_from([0.0, 1.0, 1_600_000_000.0, 1_234_567_890.25, 2.0**33])


@attrs.frozen(kw_only=True)
class Member:
    """One file of an archive."""

    kind: str
    mode: int
    mtime: float
    data: bytes
    target: str


MEMBERS = st.builds(
    Member,
    kind=st.sampled_from(["file", "file", "directory", "symlink", "link", "fifo"]),
    mode=st.integers(0, 0o777).map(lambda mode: mode | 0o400),
    mtime=_TIMES,
    data=st.binary(max_size=2000) | st.integers(0, 200_000).map(lambda size: b"x" * size),
    target=st.sampled_from(["a", "../b", "/etc/passwd", "missing", "long" * 40]),
)
TREES = st.dictionaries(st.lists(_NAMES, min_size=1, max_size=4).map("/".join), MEMBERS, max_size=12)


def write_archive(tree: dict[str, Member], archive_format: int) -> bytes:
    """Return an archive of a tree: parents first, hard links to files that are in it already."""
    stream = io.BytesIO()
    made: dict[str, str] = {}
    with tarfile.open(fileobj=stream, mode="w", format=archive_format) as archive:
        for name in sorted(tree):
            parts = name.split("/")
            if any(made.get("/".join(parts[:depth])) not in (None, "directory") for depth in range(1, len(parts))):
                continue  # below something that is no directory
            made[name] = _add(archive, name, tree[name], [one for one, kind in made.items() if kind == "file"])
    return stream.getvalue()


def _add(archive: tarfile.TarFile, name: str, member: Member, files: list[str]) -> str:
    info = tarfile.TarInfo(name)
    info.mode, info.mtime = member.mode, member.mtime
    kind = member.kind if member.kind != "link" or files else "file"
    match kind:
        case "file":
            info.size = len(member.data)
        case "directory":
            info.type, info.mode = tarfile.DIRTYPE, member.mode | 0o700
        case "symlink":
            info.type, info.linkname = tarfile.SYMTYPE, member.target
        case "link":
            info.type, info.linkname = tarfile.LNKTYPE, files[0]
        case _:
            info.type = tarfile.FIFOTYPE
    archive.addfile(info, io.BytesIO(member.data) if kind == "file" else None)
    return kind


def describe(root: Path) -> dict[str, object]:
    """Return everything that matters of the files of a tree. Parents that the archive did not have get any time."""
    found: dict[str, object] = {}
    for path in sorted(root.rglob("*")):
        info = path.lstat()
        name = str(path.relative_to(root))
        content: object = None
        if path.is_symlink():
            content = os.readlink(path)
        elif path.is_file():
            content = path.read_bytes(), info.st_nlink
        found[name] = (info.st_mode, info.st_uid, info.st_gid, info.st_mtime_ns, content)
    return found


@pytest.mark.needs_tools("tar")
@settings(
    max_examples=60,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    tree=TREES,
    compression=st.sampled_from(["none", "gzip", "zstd"]),
    archive_format=st.sampled_from([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT]),
)
def test_a_layer_is_what_gnu_tar_makes_of_it(
    tmp_path: Path, tree: dict[str, Member], compression: str, archive_format: int
) -> None:
    """Names, kinds, modes, owners, times, links and contents."""
    archive = write_archive(tree, archive_format)
    expected = tmp_path / "expected"
    expected.mkdir()
    store = open_store(tmp_path)
    try:
        subprocess.run(["tar", "-p", "-C", str(expected), "-xf", "-"], input=archive, check=True, capture_output=True)
        found = ensure(store, put_layer(store, archive, compression))

        ours, theirs = describe(found), describe(expected)
        named = {name for name in theirs if name in tree}
        assert theirs.keys() == ours.keys()
        assert {name: theirs[name] for name in named} == {name: ours[name] for name in named}
    finally:
        close_store(store)
        for place in (expected, tmp_path / "root", tmp_path / "run"):
            shutil.rmtree(place)
