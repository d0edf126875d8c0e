"""No name, symlink or swap leads a file worker out of its tree."""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

import pytest

import container_kit as ck
from container_kit._files.worker import FileWorker, PackOptions
from container_kit.errors import PathError
from tests.integration.trees import make_tree, open_tree, pack, read, write

pytestmark = pytest.mark.needs_userns

SECRET = b"of the host"
RENAME_EXCHANGE = 2
LOOKUPS = 3000

# How to say "the directory outside", as symlinks in the tree: name → target. {outside} is its path on the host.
WAYS_OUT = {
    "absolute": {"link": "{outside}"},
    "dots": {"link": "../../../../../../../../../../../..{outside}"},
    "two hops": {"link": "hop", "hop": "sub/second", "sub/second": "../../..{outside}"},
    "dots behind a directory": {"link": "sub/../..{outside}"},
    "through a symlinked parent": {"link": "up{outside}", "up": "/../.."},
    "root of a process": {"link": "/proc/self/root{outside}"},
    "working directory of a process": {"link": "/proc/self/cwd/..{outside}"},
    "descriptor of a process": {"link": "/proc/self/fd/3"},
}


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """Give a directory beside the tree, with a secret in it."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_bytes(SECRET)
    (outside / "inner").mkdir()
    return outside


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Give a directory."""
    return make_tree(tmp_path)


@pytest.fixture
def worker(engine: ck.Engine, tree: Path) -> Iterator[FileWorker]:
    """Give a worker on it."""
    with open_tree(engine, tree) as worker:
        yield worker


def contents(directory: Path) -> dict[str, tuple[int, int, bytes]]:
    """Return name → (mode, mtime, data) of everything below a directory."""
    found: dict[str, tuple[int, int, bytes]] = {}
    for path in [directory, *sorted(directory.rglob("*"))]:
        info = path.lstat()
        found[str(path)] = (info.st_mode, info.st_mtime_ns, path.read_bytes() if path.is_file() else b"")
    return found


def attempts(worker: FileWorker, link: str) -> list[Callable[[], object]]:
    """Return every request, about what a symlink to a directory outside would lead to."""
    return [
        lambda: read(worker, f"{link}/secret"),
        lambda: write(worker, f"{link}/secret", b"changed"),
        lambda: worker.open(f"{link}/new", os.O_CREAT | os.O_EXCL | os.O_WRONLY),
        lambda: worker.status(f"{link}/secret"),
        lambda: worker.list(link),
        lambda: worker.make_directory(f"{link}/new"),
        lambda: worker.remove(f"{link}/secret"),
        lambda: worker.remove(f"{link}/inner", recursive=True),
        lambda: worker.rename(f"{link}/secret", "stolen"),
        lambda: worker.rename("own", f"{link}/planted"),
        lambda: worker.link(f"{link}/secret", "stolen"),
        lambda: worker.link("own", f"{link}/planted"),
        lambda: worker.symlink(f"{link}/new", "x"),
        lambda: worker.change_mode(f"{link}/secret", 0o777),
        lambda: worker.change_owner(f"{link}/secret", 0, 0),
        lambda: worker.set_times(f"{link}/secret", 0, 0),
        lambda: pack(worker, f"{link}/secret", PackOptions(name="x")),
    ]


@pytest.mark.parametrize("way", WAYS_OUT)
def test_no_symlink_leads_out(worker: FileWorker, tree: Path, outside: Path, way: str) -> None:
    """In every position of a path and for every request; what is outside is not even touched."""
    (tree / "sub").mkdir()
    (tree / "own").touch()
    for name, target in WAYS_OUT[way].items():
        (tree / name).symlink_to(target.format(outside=outside))
    before = contents(outside)

    for attempt in attempts(worker, "/link"):
        with pytest.raises(PathError):
            attempt()

    assert before == contents(outside)


def test_missing_parents_are_made_inside(worker: FileWorker, tree: Path, outside: Path) -> None:
    """`parents` follows a symlink to a missing directory as the container would: in the tree."""
    (tree / "link").symlink_to(outside)

    worker.make_directory("/link/new", parents=True)

    assert (tree / str(outside).lstrip("/") / "new").is_dir()
    assert ["inner", "secret"] == sorted(path.name for path in outside.iterdir())


@pytest.mark.parametrize("path", ["/..", "../..", "/../../{outside}", "sub/../../../../..{outside}"])
def test_dots_stop_at_the_root(worker: FileWorker, tree: Path, outside: Path, path: str) -> None:
    """Above the root there is the root."""
    (tree / "sub").mkdir()
    path = path.format(outside=outside)

    if "outside" in path:
        with pytest.raises(PathError):
            worker.list(path)
    else:
        assert ["sub"] == [name for name, _ in worker.list(path)]


def test_what_is_packed_and_removed_is_only_the_tree(worker: FileWorker, tree: Path, outside: Path) -> None:
    """Symlinks in a tree are packed and removed themselves, whatever they point to."""
    (tree / "d").mkdir()
    (tree / "d" / "abs").symlink_to(outside)
    (tree / "d" / "rel").symlink_to("../../outside/secret")
    before = contents(outside)

    _, data = pack(worker)
    worker.remove("/", recursive=True)

    assert SECRET not in data
    assert before == contents(outside)


class Swapping:
    """A thread that exchanges two names over and over."""

    def __init__(self, one: Path, other: Path) -> None:
        self._stop = threading.Event()
        self.swaps = 0
        libc = ctypes.CDLL(None, use_errno=True)
        names = os.fsencode(one), os.fsencode(other)

        def swap() -> None:
            while not self._stop.is_set():
                if libc.renameat2(-100, names[0], -100, names[1], RENAME_EXCHANGE):
                    raise OSError(ctypes.get_errno(), "renameat2")
                self.swaps += 1

        self._thread = threading.Thread(target=swap)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


def test_a_directory_that_is_swapped_with_a_symlink_leads_nowhere(
    worker: FileWorker, tree: Path, outside: Path
) -> None:
    """Thousands of lookups while the way changes: each ends inside, or with an error."""
    (tree / "way").mkdir()
    (tree / "way" / "secret").write_bytes(b"of the tree")
    (tree / "swap").symlink_to("../outside")
    before = contents(outside)
    found = {b"of the tree": 0, b"": 0}

    with Swapping(tree / "way", tree / "swap") as swapping:
        for number in range(LOOKUPS):
            try:
                if number % 3 == 0:
                    worker.change_mode("way/secret", 0o644)
                elif number % 3 == 1:
                    worker.status("/way/../way/secret")
                found[read(worker, "way/secret")] += 1
            except PathError:
                found[b""] += 1
        swaps = swapping.swaps

    assert before == contents(outside)
    assert swaps > 0
    assert found[b"of the tree"] > 0
    assert LOOKUPS == sum(found.values())


def test_a_tree_that_is_swapped_while_it_is_packed_stays_inside(worker: FileWorker, tree: Path, outside: Path) -> None:
    """Packing and removing hold on to what they looked at."""
    for name in ("a", "b", "c"):
        (tree / "way" / name).mkdir(parents=True)
        (tree / "way" / name / "file").write_bytes(b"inside")
    (tree / "swap").symlink_to(outside)
    before = contents(outside)

    with Swapping(tree / "way", tree / "swap"):
        archives = [pack(worker)[1] for _ in range(100)]
        for number in range(100):
            try:
                worker.make_directory(f"way/d{number}", exist_ok=True)
                worker.remove(f"way/d{number}", recursive=True)
            except PathError:
                pass

    assert [] == [data for data in archives if SECRET in data]
    assert before == contents(outside)


def test_devices_and_fifos_that_come_up_meanwhile_do_not_block(worker: FileWorker, tree: Path) -> None:
    """A file that is a FIFO at the next moment is never waited for."""
    (tree / "file").write_bytes(b"x")
    os.mkfifo(tree / "fifo")
    read_ones = 0

    with Swapping(tree / "file", tree / "fifo"):
        for _ in range(500):
            try:
                read_ones += len(read(worker, "file"))
                write(worker, "file", b"x")
            except PathError:
                pass
        pack(worker)

    assert read_ones > 0
