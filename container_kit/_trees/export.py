"""Give out a container's whole tree, or a part of it, as a tar stream."""

from __future__ import annotations

import os
from contextlib import ExitStack, suppress
from typing import BinaryIO, cast

from container_kit._files.worker import FileWorker, PackOptions
from container_kit._runtime.failures import typed_refusals
from container_kit._runtime.site import Site
from container_kit._trees.container_files import open_files
from container_kit._trees.copy_rules import last_name
from container_kit._trees.copying import find_source
from container_kit._trees.pouring import CHUNK_BYTES, ProducedStream, pour
from container_kit._trees.tree_files import Tree


def export(site: Site, container_id: str, target: str | BinaryIO) -> None:
    """Write a container's root file system as a tar archive.

    Nothing that is mounted in it is included: volumes, tmpfs, /proc, and the generated files in /etc; there the
    image's own are.

    Args:
        site: where the container lives.
        container_id: its id; it may run.
        target: a path on the host, written beside and renamed; or a binary file object.
    """
    with open_files(site, container_id, write=False, mounts=False) as worker:
        if isinstance(target, str):
            _export_to_path(worker, target)
        else:
            pour(lambda sink: worker.pack("/", sink, PackOptions()), lambda stream: _copy_to(stream, target))


def read_archive(tree: Tree, path: str, *, follow_links: bool) -> BinaryIO:
    """Return what is at a path of a tree as a tar stream whose first entry has its last name. The caller closes it.

    Raises:
        PathNotFoundError: there is nothing; errors on the way are raised by `read`.
    """
    with ExitStack() as stack:
        worker = stack.enter_context(tree.open(write=False))
        real, _ = find_source(worker, path, follow_links=follow_links)
        options = PackOptions(name=last_name(path))  # of the root, what is in it
        held = stack.pop_all()
    import io

    return cast(
        "BinaryIO", io.BufferedReader(ProducedStream(lambda sink: worker.pack(real, sink, options), held.close))
    )


@typed_refusals("cannot write the archive")
def _export_to_path(worker: FileWorker, target: str) -> None:
    temporary = f"{target}.{os.urandom(4).hex()}.new"
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o666)
    try:
        try:
            worker.pack("/", fd, PackOptions())
        finally:
            os.close(fd)
        os.rename(temporary, target)
    except BaseException:
        with suppress(FileNotFoundError):  # an interrupt may come right after the rename
            os.unlink(temporary)
        raise


def _copy_to(stream: int, target: BinaryIO) -> None:
    while data := os.read(stream, CHUNK_BYTES):
        target.write(data)
