"""The process of a file worker: one conversation, its end, and what is left of it."""

from __future__ import annotations

import errno
import fcntl
import os
import resource
import signal
import socket
import struct
import termios
import threading
from pathlib import Path

import pytest

import container_kit as ck
from container_kit._files.messages import FileOp
from container_kit._files.worker import FileWorker, PackOptions, UnpackOptions
from container_kit.errors import HostError, PathError, PathNotFoundError
from tests.e2e.patience import eventually
from tests.integration.trees import make_tree, open_tree, pack, read

pytestmark = pytest.mark.needs_userns


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Give a directory with a file."""
    tree = make_tree(tmp_path)
    (tree / "file").write_bytes(b"x")
    return tree


def children() -> set[int]:
    """Return the pids of this process's children, zombies included."""
    found: set[int] = set()
    for task in Path("/proc/self/task").iterdir():
        found |= {int(pid) for pid in (task / "children").read_text().split()}
    return found


def descriptors() -> list[str]:
    """Return what this process has open."""
    found: list[str] = []
    for fd in os.listdir("/proc/self/fd"):
        try:
            found.append(os.readlink(f"/proc/self/fd/{fd}"))
        except FileNotFoundError:  # the listing itself
            continue
    return sorted(found)


def unread(pipe: int) -> int:
    """Return how many bytes wait in a pipe."""
    (count,) = struct.unpack("i", fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)))
    return int(count)


def fill_up(fd: int, filling: list[int]) -> None:
    """Take every descriptor that this process may still have."""
    try:
        while True:
            filling.append(os.dup(fd))
    except OSError as err:
        if err.errno != errno.EMFILE:
            raise


def pid_of(worker: FileWorker) -> int:
    """Return the pid of the process."""
    pidfd = worker._conversation._pidfd
    line = next(line for line in Path(f"/proc/self/fdinfo/{pidfd}").read_text().splitlines() if line.startswith("Pid:"))
    return int(line.split()[1])


def test_nothing_is_left_of_many_workers(engine: ck.Engine, tree: Path) -> None:
    """No process, no zombie, no descriptor, also when a start fails."""
    with open_tree(engine, tree):
        pass
    before, processes = descriptors(), children()

    for _ in range(20):
        with open_tree(engine, tree) as worker:
            os.close(worker.open("file", os.O_RDONLY))
            with pytest.raises(PathNotFoundError):
                worker.open("none", os.O_RDONLY)
            pack(worker)
        with pytest.raises(HostError):
            open_tree(engine, tree / "none")

    assert before == descriptors()
    assert processes == children()


def test_it_has_nothing_of_the_caller(engine: ck.Engine, tree: Path) -> None:
    """No environment, no descriptors but its own, another session, and nobody may look into it."""
    secret = os.open(tree, os.O_RDONLY)
    os.set_inheritable(secret, True)

    with open_tree(engine, tree) as worker:
        pid = pid_of(worker)
        assert os.getsid(pid) == pid
        if os.geteuid() == 0:
            assert Path(f"/proc/{pid}/environ").read_bytes() == b""
            targets = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]
            assert str(tree) not in targets
            assert {"/dev/null", "/", f"/proc/{pid}/fd"} == {t for t in targets if not t.startswith("socket:")}
        else:
            with pytest.raises(PermissionError):
                Path(f"/proc/{pid}/environ").read_bytes()

    os.close(secret)


def test_a_worker_that_dies_is_a_typed_error(engine: ck.Engine, tree: Path) -> None:
    """Now and from then on; closing it is fine."""
    with open_tree(engine, tree) as worker:
        os.kill(pid_of(worker), signal.SIGKILL)

        for _ in range(2):
            with pytest.raises(HostError) as caught:
                worker.status("file")
            assert caught.value.errno == errno.ECONNRESET

    with pytest.raises(HostError) as closed:
        worker.status("file")
    assert closed.value.errno == errno.EBADF
    worker.close()


def test_many_threads_may_use_one_worker(engine: ck.Engine, tree: Path) -> None:
    """Answers go to whom they belong."""
    for number in range(8):
        (tree / f"f{number}").write_bytes(b"x" * number)
    wrong: list[tuple[int, int]] = []

    with open_tree(engine, tree) as worker:

        def ask(number: int) -> None:
            sizes = {(worker.status(f"f{number}").size, len(read(worker, f"f{number}"))) for _ in range(100)}
            wrong.extend(sizes - {(number, number)})

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert [] == wrong


def test_closing_ends_what_another_thread_waits_for(engine: ck.Engine, tree: Path) -> None:
    """A thread in a request that would wait for ever gets an error."""
    reader, writer = os.pipe()
    caught: list[BaseException] = []
    worker = open_tree(engine, tree)

    def unpack() -> None:
        try:
            worker.unpack("/", reader, UnpackOptions())
        except HostError as err:
            caught.append(err)

    thread = threading.Thread(target=unpack)
    thread.start()
    os.write(writer, b"x")
    eventually(lambda: unread(reader) == 0, "the worker reads")
    worker.close()
    thread.join()

    assert [HostError] == [type(err) for err in caught]
    os.close(reader)
    os.close(writer)


def test_an_interrupted_request_ends_the_worker(engine: ck.Engine, tree: Path) -> None:
    """Ctrl-C in the middle of an answer: the next answer must not be taken for it."""
    reader, writer = os.pipe()
    main = threading.get_ident()

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    def interrupt_when_full() -> None:
        eventually(lambda: unread(reader) > 0, "the worker writes")
        signal.pthread_kill(main, signal.SIGALRM)

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        (tree / "large").write_bytes(bytes(1 << 20))  # more than a pipe holds: nobody reads
        with open_tree(engine, tree) as worker:
            thread = threading.Thread(target=interrupt_when_full)
            thread.start()
            with pytest.raises(KeyboardInterrupt):
                worker.pack("/", writer, PackOptions())
            thread.join()
            with pytest.raises(HostError):
                worker.status("file")
    finally:
        signal.signal(signal.SIGALRM, before)
        os.close(reader)
        os.close(writer)


def test_no_room_for_a_descriptor_is_an_error(engine: ck.Engine, tree: Path) -> None:
    """EMFILE of the caller's own, not a descriptor of -1."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    with open_tree(engine, tree) as worker:
        reader, writer = os.pipe()
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(reader, writer) + 1, limits[1]))
        filling: list[int] = []
        try:
            fill_up(reader, filling)
            with pytest.raises(PathError) as caught:
                worker.open("file", os.O_RDONLY)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
            for fd in (*filling, reader, writer):
                os.close(fd)

        assert caught.value.errno == errno.EMFILE
        assert worker.status("file").size == 1


def test_a_stream_that_is_none_is_an_error(engine: ck.Engine, tree: Path) -> None:
    """A closed descriptor: typed, like everything else."""
    with open_tree(engine, tree) as worker:
        reader, writer = os.pipe()
        os.close(reader)
        os.close(writer)
        with pytest.raises(HostError) as caught:
            worker.pack("/", writer, PackOptions())

    assert caught.value.errno == errno.EBADF


def test_a_forked_child_leaves_its_parents_worker_alone(engine: ck.Engine, tree: Path) -> None:
    """It may not ask, and closing in it does nothing to the worker."""
    with open_tree(engine, tree) as worker:
        child = os.fork()
        if child == 0:
            status = 1
            try:
                worker.status("file")
            except HostError:
                worker.close()
                status = 0
            os._exit(status)
        _, status = os.waitpid(child, 0)

        assert status == 0
        assert worker.status("file").size == 1


def test_the_default_timeout_of_sockets_does_not_matter(engine: ck.Engine, tree: Path) -> None:
    """A caller's socket.setdefaulttimeout() is about its own sockets."""
    socket.setdefaulttimeout(0.0)
    try:
        with open_tree(engine, tree) as worker:
            assert worker.status("file").size == 1
    finally:
        socket.setdefaulttimeout(None)


def test_requests_that_are_none_are_refused(engine: ck.Engine, tree: Path) -> None:
    """An op that does not exist or is never sent; an archive without a stream."""
    with open_tree(engine, tree) as worker:
        for op in (FileOp.READY, FileOp.UNPACK, FileOp.PACK):
            with pytest.raises(OSError, match=r"E(INVAL|BADF)"):
                worker._ask(op, "/")
        assert worker.status("file").size == 1
