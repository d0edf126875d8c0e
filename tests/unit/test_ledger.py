"""The leak oracle sees each kind of leak: otherwise a green run says nothing."""

from __future__ import annotations

import gc
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ledger import Ledger, take_ledger, wait_for_balance
from tests.ledger_processes import cgroup2_mount
from tests.probes import own_cgroup


@pytest.fixture
def before(tmp_path: Path) -> Ledger:
    """Give the ledger before the leak."""
    gc.collect()  # descriptors of garbage of earlier tests go now, not later
    return take_ledger([tmp_path], [tmp_path])


def differences(before: Ledger, tmp_path: Path) -> tuple[str, ...]:
    """Return what is left after a short grace."""
    return wait_for_balance(before, lambda: take_ledger([tmp_path], [tmp_path]), grace=0.1)


def start_waiting(*prefix: str) -> subprocess.Popen[bytes]:
    """Start a process that says when it runs and then waits for its stdin to end."""
    program = [sys.executable, "-c", "print('up', flush=True); input()"]
    process = subprocess.Popen([*prefix, *program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"up\n"
    return process


def end(process: subprocess.Popen[bytes]) -> None:
    """Let a process of `start_waiting` end and close its pipes."""
    process.communicate(b"\n")


def test_nothing_is_reported_when_nothing_was_left(before: Ledger, tmp_path: Path) -> None:
    """An untouched system balances at once."""
    left = differences(before, tmp_path)

    assert left == ()


def test_what_ends_within_the_grace_is_no_leak(before: Ledger, tmp_path: Path) -> None:
    """A process that is about to end is waited for."""
    process = start_waiting()
    threading.Timer(0.2, end, [process]).start()

    left = wait_for_balance(before, lambda: take_ledger([tmp_path], [tmp_path]), grace=10)

    assert left == ()


def test_a_running_child_is_reported(before: Ledger, tmp_path: Path) -> None:
    """A process that descends from the test is named with its command."""
    process = start_waiting()
    try:
        left = differences(before, tmp_path)
    finally:
        end(process)

    assert any(line.startswith(f"process left behind: {process.pid} ") and "input()" in line for line in left)


def test_a_zombie_is_reported(before: Ledger, tmp_path: Path) -> None:
    """A child that nobody waits for is a leak too."""
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
    try:
        left = differences(before, tmp_path)
    finally:
        os.waitpid(child, 0)

    assert any(f"{child} " in line and "(zombie)" in line for line in left)


@pytest.fixture
def orphaned_monitor(tmp_path: Path) -> Iterator[int]:
    """Give the pid of a process called ck-monitor that is nobody's child and holds a file below tmp_path."""
    (tmp_path / "log").touch()
    program = (
        "import os, signal\n"
        f"log = os.open({str(tmp_path / 'log')!r}, os.O_RDONLY)\n"
        "open('/proc/self/comm', 'w').write('ck-monitor')\n"
        "signal.signal(signal.SIGTERM, signal.SIG_DFL)\n"
        "print(os.getpid(), flush=True)\n"
        "signal.pause()\n"
    )
    launcher = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {program!r}])"
    # The monitor inherits the pipe: read its line, not to the end.
    with subprocess.Popen([sys.executable, "-W", "ignore", "-c", launcher], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
    pidfd = os.pidfd_open(pid)

    yield pid

    signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    os.close(pidfd)


def test_a_monitor_that_nobody_owns_any_more_is_reported(orphaned_monitor: int, tmp_path: Path) -> None:
    """A detached monitor is ours because of the directory it holds, whoever its parent is."""
    ledger = take_ledger([tmp_path])

    assert any(key.startswith(f"{orphaned_monitor} ") for key in ledger.entries["process"])


@pytest.mark.needs_root
def test_a_monitor_of_another_run_is_left_out(orphaned_monitor: int, tmp_path: Path) -> None:
    """A monitor that holds nothing of ours belongs to somebody else on the same machine."""
    ledger = take_ledger([tmp_path / "elsewhere"])

    assert not any(key.startswith(f"{orphaned_monitor} ") for key in ledger.entries["process"])


def test_an_open_descriptor_is_reported(before: Ledger, tmp_path: Path) -> None:
    """A descriptor is named with what it refers to."""
    ends = socket.socketpair()
    try:
        left = differences(before, tmp_path)
    finally:
        for one in ends:
            one.close()

    assert 2 == sum(line.startswith("descriptor left behind: ") and "socket:[" in line for line in left)


def test_a_closed_descriptor_is_reported(tmp_path: Path) -> None:
    """Closing what the library did not open is as bad as leaving something open."""
    mine = os.open("/dev/null", os.O_RDONLY)
    before = take_ledger([tmp_path])
    os.close(mine)

    left = differences(before, tmp_path)

    assert (f"descriptor is gone: {mine} → /dev/null",) == left


def test_one_descriptor_of_the_monitor_program_may_stay() -> None:
    """The sealed program is kept for the life of the process; a second copy would be a leak."""
    none, one, two = (
        Ledger({"descriptor": {str(number): f"{number} → /memfd:ck-monitor (deleted)" for number in range(count)}})
        for count in range(3)
    )

    assert () == none.difference(one)
    assert ("descriptor left behind: 1 → /memfd:ck-monitor (deleted)",) == none.difference(two)
    assert ("descriptor left behind: 1 → /memfd:ck-monitor (deleted)",) == one.difference(two)


def test_a_thread_is_reported(before: Ledger, tmp_path: Path) -> None:
    """The library starts no threads of its own."""
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait, name="forgotten")
    thread.start()
    try:
        left = differences(before, tmp_path)
    finally:
        stop.set()
        thread.join()

    assert any(line.startswith("thread left behind: forgotten") for line in left)


def test_a_file_is_reported(before: Ledger, tmp_path: Path) -> None:
    """What is left in a watched directory is named with its path, however deep."""
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "c").touch()

    left = differences(before, tmp_path)

    assert f"file left behind: {tmp_path}/a/b/c" in left


@pytest.mark.needs_userns
def test_a_namespace_is_reported(before: Ledger, tmp_path: Path) -> None:
    """A namespace that a process of ours is in is named besides the process."""
    process = start_waiting("unshare", "--user", "--map-root-user", "--net", "--uts")
    try:
        left = differences(before, tmp_path)
    finally:
        end(process)

    kinds = {line.split()[3].split(":")[0] for line in left if line.startswith("namespace left behind: ")}
    assert {"user", "net", "uts"} <= kinds


@pytest.mark.needs_root
def test_a_mount_is_reported(before: Ledger, tmp_path: Path) -> None:
    """A mount on the host is named with type and place."""
    subprocess.run(["mount", "-t", "tmpfs", "leak", str(tmp_path)], check=True)
    try:
        left = differences(before, tmp_path)
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)

    assert any(line.startswith(f"mount left behind: tmpfs at {tmp_path} ") for line in left)


@pytest.mark.needs_cgroup2
def test_a_cgroup_is_reported(before: Ledger, tmp_path: Path) -> None:
    """An empty cgroup is nobody's: whoever finds it at the end of a test has left it."""
    own = own_cgroup()
    assert own is not None
    group = own / f"ck-test-{os.getpid()}"
    group.mkdir()
    try:
        left = differences(before, tmp_path)
    finally:
        group.rmdir()

    assert any(line.startswith(f"cgroup left behind: {group} ") for line in left)


@pytest.mark.needs_cgroup2
def test_a_cgroup_of_another_run_is_not_reported(before: Ledger, tmp_path: Path) -> None:
    """Although it is empty: its name says whose it is."""
    own = own_cgroup()
    assert own is not None
    group = own / f"ck-test-{os.getpid()}0-1"
    group.mkdir()
    try:
        left = differences(before, tmp_path)
    finally:
        group.rmdir()

    assert not any(str(group) in line for line in left)


@pytest.mark.needs_net_admin
def test_a_network_link_is_reported(tmp_path: Path) -> None:
    """A link left in the network namespace is named; the test makes its own namespace for it."""
    script = (
        "import subprocess, pathlib\n"
        "from tests.ledger import take_ledger\n"
        f"before = take_ledger([pathlib.Path({str(tmp_path)!r})])\n"
        "subprocess.run(['ip', 'link', 'add', 'leak0', 'type', 'veth', 'peer', 'name', 'leak1'], check=True)\n"
        f"print(*before.difference(take_ledger([pathlib.Path({str(tmp_path)!r})])), sep='\\n')\n"
    )
    command = ["unshare", "--net", sys.executable, "-c", script]
    root = Path(__file__).parents[2]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)

    assert "link left behind: leak0" in done.stdout


def test_the_cgroup_tree_is_found_where_it_is_mounted() -> None:
    """Hybrid hosts have it below /sys/fs/cgroup/unified, others at the top."""
    top = cgroup2_mount()

    assert top is None or (top / "cgroup.procs").exists()
