"""A caller that forks while we work: its child's copies of our descriptors hold up nothing."""

from __future__ import annotations

import errno
import io
import os
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest

import container_kit as ck
from container_kit._archives.load import load
from container_kit._files.conversation import Conversation
from container_kit._files.messages import REPLY, FileOp, Request
from container_kit._files.worker import FileWorker, PackOptions, UnpackOptions
from container_kit._images.make import add_layer
from container_kit._linux import shim
from container_kit._linux.processes import wait_readable
from container_kit.errors import HostError, ImageError
from tests.archives import docker_members, write_tar
from tests.e2e.patience import eventually
from tests.forks import Forks, open_forks
from tests.integration.trees import make_tree, open_tree
from tests.loading import IMAGE, NAME
from tests.small_images import compress, make_tar

pytestmark = [
    pytest.mark.needs_userns,
    pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning"),  # of a process with threads
]


@pytest.fixture
def forks() -> Iterator[Forks]:
    """Give forks that are gone at the end."""
    with open_forks() as forks:
        yield forks


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Give a directory with a file that is larger than any pipe."""
    tree = make_tree(tmp_path)
    (tree / "file").write_bytes(bytes(10 << 20))
    return tree


# ── streams ──────────────────────────────────────────────────────────────────────────────────────


def test_a_layer_is_made(engine: ck.Engine, tree: Path, forks: Forks) -> None:
    """From what a worker packs; the fork comes in the thread that lets it."""
    with open_tree(engine, tree) as worker:

        def write(sink: int) -> None:
            forks.add()
            worker.pack("/", sink, PackOptions())

        layer, _ = forks.during(lambda: add_layer(engine.site.images, write))

    assert 1 == len(forks)
    assert engine.site.images.layout.has(layer.digest)


class ForksInRead(io.BytesIO):
    """A file whose reader forks."""

    def __init__(self, data: bytes, forks: Forks) -> None:
        super().__init__(data)
        self._forks = forks

    def read(self, size: int | None = -1, /) -> bytes:
        """Fork, and return some bytes."""
        self._forks.add()
        return super().read(size)


def test_an_archive_is_loaded(engine: ck.Engine, forks: Forks) -> None:
    """What is inflated here reaches the worker, and then its end does."""
    archive = compress(write_tar(docker_members([(IMAGE, ["box:1"])])), "gzip")

    entries = forks.during(lambda: load(engine.site.images, ForksInRead(archive, forks)))

    assert [NAME] == [entry.name for entry in entries]


def test_an_archive_that_is_refused_is_not_read_on(engine: ck.Engine, forks: Forks) -> None:
    """The worker gives up in the middle of much more than the pipe holds."""
    archive = compress(b"x" * 512 + bytes(10 << 20), "gzip")

    with pytest.raises(ImageError):
        forks.during(lambda: load(engine.site.images, ForksInRead(archive, forks)))


# ── workers ──────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def worker(engine: ck.Engine, tree: Path, forks: Forks, monkeypatch: pytest.MonkeyPatch) -> Iterator[FileWorker]:
    """Give a worker; a fork that was made while it was spawned has its end of the channel too."""
    spawn_program = shim.spawn_program

    def spawn(name: Literal["ck-files"], fds: tuple[int, int, int, int, int, int]) -> tuple[int, int]:
        forks.add()
        return spawn_program(name, fds)

    monkeypatch.setattr(shim, "spawn_program", spawn)
    with open_tree(engine, tree) as worker:
        monkeypatch.undo()
        yield worker
        forks.end()


@pytest.fixture
def waiting(worker: FileWorker) -> Iterator[tuple[threading.Thread, list[HostError]]]:
    """Give a thread that asks the worker for what never ends, and what it caught."""
    reader, writer = os.pipe()
    caught: list[HostError] = []

    def unpack() -> None:
        try:
            worker.unpack("/", reader, UnpackOptions())
        except HostError as err:
            caught.append(err)

    thread = threading.Thread(target=unpack)
    thread.start()
    os.write(writer, make_tar({"a": b""})[:512])
    eventually(lambda: not wait_readable(reader, 0), "the worker reads")
    yield thread, caught
    os.close(writer)
    thread.join()
    os.close(reader)


def test_a_worker_that_dies_is_noticed(
    worker: FileWorker, waiting: tuple[threading.Thread, list[HostError]], forks: Forks
) -> None:
    """By who waits for its answer and by who asks next."""
    thread, caught = waiting
    signal.pidfd_send_signal(worker._conversation._pidfd, signal.SIGKILL)

    forks.during(thread.join)

    assert [errno.ECONNRESET] == [err.errno for err in caught]
    with pytest.raises(HostError):
        worker.status("/")


def test_closing_ends_what_another_thread_waits_for(
    worker: FileWorker, waiting: tuple[threading.Thread, list[HostError]], forks: Forks
) -> None:
    """And does not wait for the fork."""
    thread, caught = waiting

    forks.during(worker.close)
    thread.join()

    assert [HostError] == [type(err) for err in caught]


def test_what_a_worker_said_before_its_death_is_heard(forks: Forks) -> None:
    """Then its end, although a fork holds its side of the channel."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
    process = os.fork()
    if process == 0:
        os._exit(0)
    talk = Conversation(os.pidfd_open(process), ours)
    wait_readable(talk._pidfd, None)
    theirs.send(REPLY.pack(0, 0, 0, 5, 0, 0, 0, 0, 0) + b"there")
    forks.add()
    theirs.close()
    request = Request(op=FileOp.READLINK, path=b"/link")

    reply, _ = talk.ask(request, (), lambda reply: HostError(attempted="nothing", errno=reply.error))
    with pytest.raises(HostError) as caught:
        forks.during(lambda: talk.ask(request, (), lambda _: HostError(attempted="nothing", errno=0)))

    assert (b"there", errno.ECONNRESET) == (reply.text, caught.value.errno)
    talk.close()
