"""File workers for the tests: on a directory of the test, as whoever runs it."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import container_kit as ck
from container_kit._files.view import View, directory_view
from container_kit._files.worker import Counts, FileWorker, PackOptions
from container_kit._spec.paths import HostPath


def start_worker(engine: ck.Engine, view: View) -> FileWorker:
    """Start a worker for a view, in the engine's user namespace if it has one."""
    return FileWorker.start(view, user_namespace=engine.site.user_namespace())


def open_tree(engine: ck.Engine, path: Path, *, read_only: bool = False) -> FileWorker:
    """Start a worker for a directory."""
    return start_worker(engine, directory_view(HostPath(str(path)), read_only=read_only))


def make_tree(tmp_path: Path) -> Path:
    """Return a new directory."""
    tree = tmp_path / "tree"
    tree.mkdir()
    return tree


def read(worker: FileWorker, path: str) -> bytes:
    """Return what is in a file."""
    with open(worker.open(path, os.O_RDONLY), "rb") as file:
        return file.read()


def write(worker: FileWorker, path: str, data: bytes) -> None:
    """Write a file, which is made if missing."""
    with open(worker.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), "wb") as file:
        file.write(data)


def pack(worker: FileWorker, path: str = "/", options: PackOptions | None = None) -> tuple[Counts, bytes]:
    """Return what packing gives."""
    reader, writer = os.pipe2(os.O_CLOEXEC)
    collected: list[bytes] = []

    def collect() -> None:
        with open(reader, "rb") as file:
            collected.append(file.read())

    thread = threading.Thread(target=collect)
    thread.start()
    try:
        counts = worker.pack(path, writer, options or PackOptions())
    finally:
        os.close(writer)
        thread.join()
    return counts, collected[0]
