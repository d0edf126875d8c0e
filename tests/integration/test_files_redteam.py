"""Attacks on the file worker from both ends: a container that lays traps, and a worker that was taken over.

The worker reads what others wrote. If that ever takes it over, its caller must get a typed error: nothing that hangs,
fills memory, leaks descriptors or is believed.
"""

from __future__ import annotations

import array
import contextlib
import errno
import os
import random
import signal
import socket
import struct
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import container_kit as ck
from container_kit._files.conversation import Conversation
from container_kit._files.messages import MAX_TEXT, MORE, REPLY, REQUEST, STATUS
from container_kit._files.view import container_view
from container_kit._files.worker import FileWorker, UnpackOptions
from container_kit.errors import HostError, PathError
from tests.archives import docker_members, write_tar
from tests.integration.trees import make_tree, open_tree, start_worker
from tests.loading import IMAGE, load_bytes
from tests.unit.native.archives import archive, base256, directory, entry


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Give a directory with a file in it."""
    tree = make_tree(tmp_path)
    (tree / "file").write_bytes(b"x")
    return tree


# ── a worker that was taken over ─────────────────────────────────────────────────────────────────


class Impostor:
    """What answers in place of a worker: everything that a taken-over one could say."""

    def __init__(self) -> None:
        ours, self.channel = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
        self._pid = os.fork()
        if self._pid == 0:
            while True:
                signal.pause()
        self.worker = FileWorker(Conversation(os.pidfd_open(self._pid), ours))

    def say(self, *messages: tuple[bytes, list[int]]) -> threading.Thread:
        """Wait for a request, answer with these messages."""

        def answer() -> None:
            with contextlib.suppress(OSError):
                self.channel.recv(1 << 16)
                for data, fds in messages:
                    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
                    self.channel.sendmsg([data], rights)

        thread = threading.Thread(target=answer)
        thread.start()
        return thread

    def close(self) -> None:
        """End it."""
        self.worker.close()
        self.channel.close()


NONE: list[int] = []


def reply(text: bytes = b"", *, error: int = 0, reason: int = 0, flags: int = 0, size: int | None = None) -> bytes:
    """Return an answer."""
    return REPLY.pack(error, reason, flags, len(text) if size is None else size, 0, 0, 0, 0, 0) + text


@pytest.fixture
def impostor() -> Iterator[Impostor]:
    """Give one that has not said anything yet."""
    impostor = Impostor()
    yield impostor
    impostor.close()


def descriptors() -> int:
    """Count ours."""
    return len(os.listdir("/proc/self/fd"))


NONSENSE: dict[str, tuple[bytes, list[int]]] = {
    "short": (b"x", []),
    "truncated header": (reply()[:-1], []),
    "more text than is there": (reply(b"a", size=100), []),
    "less text than is there": (reply(b"abc", size=1), []),
    "negative error": (reply(error=-5), []),
    "huge error": (reply(error=2**31 - 1), []),
    "unknown reason": (reply(error=errno.EBADMSG, reason=99), []),
    "too long": (reply(bytes(MAX_TEXT + 1)), []),
    "status of a wrong size": (reply(b"x" * (STATUS.size - 1)), []),
    "more to a status": (reply(b"x" * STATUS.size, flags=MORE), []),
}


@pytest.mark.parametrize("message", NONSENSE.values(), ids=NONSENSE.keys())
def test_nonsense_is_a_typed_error_and_ends_the_worker(impostor: Impostor, message: tuple[bytes, list[int]]) -> None:
    """No struct.error, IndexError or ValueError of ours gets out, and nothing is asked any more."""
    thread = impostor.say(message)

    with pytest.raises(HostError):
        impostor.worker.status("/x")
    with pytest.raises(HostError):
        impostor.worker.status("/x")
    thread.join()


@pytest.mark.parametrize(
    "names", [b"\4", b"\4name", b"\4a/b\0", b"\4..\0", b"\4.\0", b"\4\0", b"\0", b"\4a\0\0"], ids=repr
)
def test_names_that_are_none_are_not_believed(impostor: Impostor, names: bytes) -> None:
    """Callers put names together with paths of their own."""
    thread = impostor.say((reply(names), []))

    with pytest.raises(HostError):
        impostor.worker.list("/")
    thread.join()


def test_an_endless_list_is_cut(impostor: Impostor, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is bounded."""
    monkeypatch.setattr("container_kit._files.conversation._LONGEST_ANSWER", 1 << 20)
    thread = impostor.say(*[(reply(b"\4a\0" * 10000, flags=MORE), NONE)] * 100)

    with pytest.raises(HostError):
        impostor.worker.list("/")
    impostor.close()
    thread.join()


def unwanted(place: Path) -> dict[str, list[int]]:
    """Open what nobody should be handed: things to wait for, and devices."""
    os.mkfifo(place / "fifo")
    reader, writer = os.pipe2(os.O_CLOEXEC)
    return {
        "fifo": [os.open(place / "fifo", os.O_RDONLY | os.O_NONBLOCK)],
        "pipe": [reader],
        "other end": [writer],
        "device": [os.open("/dev/zero", os.O_RDONLY)],
        "two": [os.open(place, os.O_RDONLY), os.open(place, os.O_RDONLY)],
        "three": [os.open(place, os.O_RDONLY) for _ in range(3)],
    }


@pytest.mark.parametrize("kind", ["fifo", "pipe", "other end", "device", "two", "three"])
def test_only_files_are_taken_and_no_descriptor_is_left(impostor: Impostor, tmp_path: Path, kind: str) -> None:
    """A descriptor that is something else, or one too many, is closed and is an error."""
    fds = unwanted(tmp_path)
    before = descriptors()
    thread = impostor.say((reply(), fds[kind]))

    with pytest.raises(HostError, match="nonsense"):
        os.close(impostor.worker.open("/x", os.O_RDONLY))
    thread.join()

    assert before == descriptors()
    for fd in {fd for some in fds.values() for fd in some}:
        os.close(fd)


@pytest.mark.parametrize("op", ["status", "list", "remove", "read_link"])
def test_a_descriptor_that_nobody_asked_for_is_closed(impostor: Impostor, tree: Path, op: str) -> None:
    """Else a worker could use up all that its caller may have open."""
    fd = os.open(tree, os.O_RDONLY)
    before = descriptors()
    thread = impostor.say((reply(), [fd]))

    with pytest.raises(HostError):
        getattr(impostor.worker, op)("/x")
    thread.join()

    assert before == descriptors()
    os.close(fd)


# ── a caller that was taken over ─────────────────────────────────────────────────────────────────


def test_no_request_ends_or_confuses_the_worker(engine: ck.Engine, tree: Path) -> None:
    """Whatever comes over the socket: the worker answers, with an error mostly, and goes on."""
    chance = random.Random(1)
    paths = [b"/", b"", b".", b"..", b"file", b"/file/x", b"a" * 4095, b"a\0b", b"/" * 4095, b"new/../x", b"\xff"]
    edges = [0, 1, 2, 0o100644, 2**31, 2**32 - 1, 2**63, 2**64 - 1, chance.getrandbits(64)]
    with open_tree(engine, tree) as worker:
        channel = worker._conversation._channel
        for _ in range(3000):
            path, other = chance.choice(paths), chance.choice(paths)
            op = chance.choice([*range(16), 2**32 - 1])
            flags = chance.getrandbits(15) if chance.random() < 0.8 else chance.getrandbits(32)
            numbers = [chance.choice(edges) for _ in range(4)]
            sizes = [len(path) + 1, len(other) + 1]
            if chance.random() < 0.2:
                sizes[chance.randrange(2)] = chance.choice([0, 1, 4096, 4097, 8193, 2**31, 2**32 - 1])
            data = REQUEST.pack(op, flags, *numbers, *sizes) + path + b"\0" + other + b"\0"
            cut = chance.randrange(len(data)) + 1 if chance.random() < 0.1 else len(data)
            channel.send(data[:cut])
            while True:
                answer, ancillary, _, _ = channel.recvmsg(1 << 16, 64)
                assert len(answer) >= REPLY.size
                for _, _, content in ancillary:
                    os.close(struct.unpack("i", content[:4])[0])
                if not REPLY.unpack_from(answer)[2] & MORE:
                    break

        assert worker.status("/").is_dir


# ── a container that lays traps ──────────────────────────────────────────────────────────────────


@pytest.fixture
def inside(engine: ck.Engine, box: ck.Container) -> Iterator[FileWorker]:
    """Give a worker in the container's namespaces."""
    pid = box.inspect().pid
    assert pid is not None
    rootless = engine.site.user_namespace() is not None
    with start_worker(engine, container_view(pid, rootless=rootless)) as worker:
        yield worker


@pytest.mark.parametrize("path", ["/proc/1/oom_score_adj", "/proc/1/uid_map", "/proc/mtrr", "/proc/1/comm"])
def test_no_symlink_leads_to_a_switch_of_the_kernel(inside: FileWorker, path: str) -> None:
    """Who writes through such a descriptor writes with the rights of the host's user, not of the container."""
    inside.symlink("/tmp/result", path)

    for flags in (os.O_WRONLY, os.O_RDWR, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, os.O_WRONLY | os.O_APPEND):
        with pytest.raises(PathError) as caught:
            os.close(inside.open("/tmp/result", flags))
        assert caught.value.errno in (errno.EROFS, errno.ENOENT, errno.EACCES)


def test_no_symlink_leads_into_the_kernels_log(inside: FileWorker) -> None:
    """It is a regular file to look at, and reading it waits for the kernel to say something."""
    inside.symlink("/tmp/result", "/proc/kmsg")

    with pytest.raises(PathError) as caught:
        os.close(inside.open("/tmp/result", os.O_RDONLY))
    assert caught.value.errno in (errno.EPERM, errno.EACCES, errno.ENOENT)


@pytest.mark.parametrize(("seconds", "told"), [(2**61, 2**63 - 1), (-(2**61), -(2**63))])
def test_times_beyond_all_bounds_do_not_wrap(engine: ck.Engine, image: ck.Image, seconds: int, told: int) -> None:
    """A tmpfs keeps any time, and its container chooses which."""
    command = ["payload", "sleep", "1000"]
    with ck.start(image, command, tmpfs={"/t": ""}, detach=True, engine=engine) as box:
        pid = box.inspect().pid
        assert pid is not None
        rootless = engine.site.user_namespace() is not None
        with start_worker(engine, container_view(pid, rootless=rootless)) as worker, tempfile.TemporaryFile() as file:
            file.write(archive(entry(b"file", mtime=base256(seconds, 12))))
            file.seek(0)
            worker.unpack("/t", file.fileno(), UnpackOptions(owner=(0, 0)))

            assert told == worker.status("/t/file").mtime_ns


def test_it_keeps_only_the_rights_that_files_need(engine: ck.Engine, tree: Path) -> None:
    """What a hostile archive could take over is no more than that, and gains nothing by executing."""
    children = Path(f"/proc/self/task/{threading.get_native_id()}/children")
    before = set(children.read_text().split())
    with open_tree(engine, tree):
        (pid,) = set(children.read_text().split()) - before
        status = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())

    files = {0, 1, 2, 3, 4, 21, 27, 31}  # chown … fsetid, sys_admin, mknod, setfcap
    for field in ("CapPrm", "CapEff"):
        assert {bit for bit in range(64) if int(status[field], 16) >> bit & 1} <= files
    assert status["NoNewPrivs"] == "1"


def test_the_top_of_an_archive_has_no_say(engine: ck.Engine) -> None:
    """A mode of the archive's root would lock its reader out of the scratch directory, or let others in."""
    image = docker_members([(IMAGE, ["box:1"])])
    for mode in (0, 0o7777):
        assert ["docker.io/library/box:1"] == load_bytes(engine.site.images, directory(b"./", mode) + write_tar(image))
