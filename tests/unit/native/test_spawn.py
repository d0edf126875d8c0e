"""Starting a monitor beside a running Python (spawn.c, shim.py)."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import threading
from pathlib import Path

import pytest

from container_kit._linux import shim
from tests.unit.native.spawning import STDOUT, run_script, spawn


def open_fds() -> set[str]:
    """Return the numbers of this process's descriptors."""
    return set(os.listdir("/proc/self/fd"))


@pytest.mark.usefixtures("stand_in")
def test_spawned_program_has_what_it_was_given_and_nothing_else(tmp_path: Path) -> None:
    """Given descriptors arrive at their places, absent ones are closed, stdio is /dev/null."""
    files = [tmp_path / name for name in ("request", "userns")]
    for file in files:
        file.write_text("x")
    request, userns = (os.open(file, os.O_RDONLY) for file in files)
    for fd in (request, userns):  # also when the caller forgot to mark them
        os.set_inheritable(fd, True)

    said = spawn({0: request, 2: userns})
    os.close(request)
    os.close(userns)

    places = dict(line.split()[1:] for line in said if line.startswith("fd "))
    assert {"0", "1", "2", "3", "5", "7"} == set(places)
    assert {places[fd] for fd in "012"} == {"/dev/null"}
    assert [places["3"], places["5"]] == [str(file) for file in files]


@pytest.mark.usefixtures("stand_in")
def test_spawned_program_starts_from_a_clean_slate() -> None:
    """One argument, no environment, a session of its own, all signals blocked, none ignored."""
    said = spawn({})

    assert said[-3:] == ["signals 29 0", "self 1 ck-monitor 0", "leader 1"]


@pytest.mark.usefixtures("stand_in")
def test_signal_mask_of_the_caller_is_restored() -> None:
    """What was blocked before is blocked afterwards, and nothing else."""
    before = signal.pthread_sigmask(signal.SIG_SETMASK, {signal.SIGUSR2})
    try:
        spawn({})
        after = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)

    assert after == {signal.SIGUSR2}


@pytest.mark.usefixtures("stand_in")
def test_spawning_leaves_no_descriptor_but_the_program() -> None:
    """After the first spawn, the sealed program is kept; the following ones add nothing."""
    spawn({})
    before = open_fds()

    spawn({})

    assert open_fds() == before


@pytest.mark.usefixtures("stand_in")
def test_many_threads_may_spawn_at_once() -> None:
    """Eight threads, and each gets its own."""
    said: list[list[str]] = []

    def work() -> None:
        said.extend(spawn({}) for _ in range(10))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(said) == 80
    assert {words[-1] for words in said} == {"leader 1"}


@pytest.mark.parametrize(
    "order",
    [
        (3, 4, 5, 6, 7, 8),
        (8, 7, 6, 5, 4, 3),
        (4, 5, 6, 7, 8, 3),
        (0, 1, 2, 3, 4, 5),
        (5, -1, 4, -1, 8, 6),
    ],
)
def test_places_may_overlap_with_where_descriptors_come_from(
    spawned: Path, tmp_path: Path, order: tuple[int, ...]
) -> None:
    """Whatever permutation of the target numbers the caller has, each lands where it belongs; absent ones stay out."""
    script = f"""
        import fcntl
        place, order = Path({str(tmp_path)!r}), {order!r}
        reader, writer = (fcntl.fcntl(fd, fcntl.F_DUPFD, 50) for fd in os.pipe())
        names = ["a", "b", "c", "d", "e", "f"]
        high = [fcntl.fcntl(os.open(place / n, os.O_CREAT | os.O_RDWR), fcntl.F_DUPFD, 60 + i)
                for i, n in enumerate(names)]
        high[{STDOUT}] = writer
        os.closerange(0, 50)
        for fd, number in zip(high, order):
            if number >= 0:
                os.dup2(fd, number)
        pid, _ = shim.spawn_program("ck-monitor", order)
        os.closerange(0, 9)
        os.close(writer)
        said = os.read(reader, 65536).decode().splitlines()
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
        places = dict(line.split()[1:] for line in said if line.startswith("fd "))
        Path(place, "found").write_text(" ".join(places.get(str(fd), "-").rpartition("/")[2] for fd in (3, 4, 5, 6, 8)))
        os._exit(0)
    """

    run_script(script, spawned)

    wanted = [name if order[i] >= 0 else "-" for i, name in enumerate("abcdef") if i != STDOUT]
    assert (tmp_path / "found").read_text().split() == wanted


def test_closed_stdio_decoys_and_a_small_limit_do_no_harm(spawned: Path, tmp_path: Path) -> None:
    """A caller without 0 to 2, with 64 descriptors it forgot to mark and next to no room for more."""
    script = f"""
        found = Path({str(tmp_path / "found")!r})
        os.close(os.open("/dev/null", os.O_RDONLY))
        shim._open_program("ck-monitor")
        for _ in range(64):
            os.set_inheritable(os.open("/etc", os.O_RDONLY), True)
        reader, writer = os.pipe()
        os.closerange(0, 3)
        resource.setrlimit(resource.RLIMIT_NOFILE, (20, 20))
        pid, pidfd = shim.spawn_program("ck-monitor", [-1, -1, -1, -1, writer, -1])
        os.close(writer)
        said = os.read(reader, 65536).decode()
        found.write_text(str(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])) + " " + said)
        os._exit(0)
    """

    run_script(script, spawned)

    status, *said = (tmp_path / "found").read_text().split(" ", 1)
    assert status == "7"
    assert [line.split()[1] for line in said[0].splitlines() if line.startswith("fd ")] == ["0", "1", "2", "7"]


def test_no_room_at_all_is_an_error_of_the_caller(spawned: Path) -> None:
    """EMFILE comes back as such, and nothing is left behind."""
    script = """
        import errno
        shim._open_program("ck-monitor")
        resource.setrlimit(resource.RLIMIT_NOFILE, (7, 7))
        try:
            shim.spawn_program("ck-monitor", [1] * 6)
        except OSError as err:
            print(errno.errorcode[err.errno])
        starting = shim.begin_monitor([1] * 6)
        os.waitpid(starting.pid, 0)
        try:
            starting.end()
        except OSError as err:
            print(errno.errorcode[err.errno])
        starting.end()
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            print("no child")
    """

    assert run_script(script, spawned) == "EMFILE\nEMFILE\nno child\n"


def test_program_that_cannot_be_executed_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What execveat(2) says is raised; no child and no descriptor stay."""
    garbage = tmp_path / "garbage"
    garbage.write_bytes(b"no program")
    monkeypatch.setattr(shim, "MONITOR_PROGRAM", garbage)
    monkeypatch.setattr(shim, "_programs", {})
    shim._open_program("ck-monitor")
    before = open_fds()

    with pytest.raises(OSError, match=os.strerror(errno.ENOEXEC)):
        shim.spawn_program("ck-monitor", [-1] * shim.MONITOR_FDS)

    assert open_fds() == before
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)
    os.close(shim._open_program("ck-monitor"))


@pytest.mark.usefixtures("stand_in")
def test_program_is_sealed(spawned: Path) -> None:
    """Nobody can write, resize or unseal what will be executed (CVE-2019-5736)."""
    fd = shim._open_program("ck-monitor")
    wanted = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE

    assert fcntl.fcntl(fd, fcntl.F_GET_SEALS) & wanted == wanted
    assert os.pread(fd, 1 << 24, 0) == spawned.read_bytes()
    with pytest.raises(PermissionError):
        os.pwrite(fd, b"x", 0)
    with pytest.raises(PermissionError):
        os.ftruncate(fd, 0)


@pytest.mark.usefixtures("stand_in")
def test_program_is_made_again_when_somebody_closed_it() -> None:
    """Daemons close all they inherit, and the number may be another file by now."""
    first = shim._open_program("ck-monitor")
    assert shim._open_program("ck-monitor") == first

    impostor = os.open("/dev/null", os.O_RDONLY)
    os.dup2(impostor, first, inheritable=False)
    os.close(impostor)

    assert spawn({})[-1] == "leader 1"
    os.close(first)


def test_each_program_is_kept_under_its_name(spawned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The monitor and the file worker are two files, each copied once."""
    other = tmp_path / "other"
    other.write_bytes(b"another program")
    monkeypatch.setattr(shim, "MONITOR_PROGRAM", spawned)
    monkeypatch.setattr(shim, "FILES_PROGRAM", other)
    monkeypatch.setattr(shim, "_programs", {})

    monitor, files = shim._open_program("ck-monitor"), shim._open_program("ck-files")

    assert (monitor, files) == (shim._open_program("ck-monitor"), shim._open_program("ck-files"))
    assert os.pread(monitor, 1 << 24, 0) == spawned.read_bytes()
    assert os.pread(files, 1 << 24, 0) == b"another program"
    os.close(monitor)
    os.close(files)


@pytest.mark.usefixtures("stand_in")
def test_forked_children_may_spawn() -> None:
    """The program is inherited; no lock stands in the way."""
    spawn({})

    child = os.fork()
    if child == 0:
        os._exit(0 if spawn({})[-1] == "leader 1" else 1)
    _, status = os.waitpid(child, 0)

    assert status == 0


def test_wrong_number_of_descriptors_is_refused() -> None:
    """No more than there are places."""
    with pytest.raises(ValueError, match="8 descriptors"):
        shim.begin_monitor([-1] * 9)
