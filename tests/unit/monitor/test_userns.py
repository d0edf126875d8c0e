"""A monitor inside a user namespace: the same container, started by an ordinary user."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator

import pytest

from tests.unit.monitor import wire
from tests.unit.monitor.harness import Bench, Monitor, wait_for

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_userns, pytest.mark.needs_tools("setpriv", "unshare")]

USER = 12345
BECOME = ["setpriv", "--reuid", str(USER), "--regid", str(USER), "--clear-groups"]


@pytest.fixture
def user_namespace() -> Iterator[int]:
    """Give a descriptor of a user namespace that maps the user to 0 and nothing else."""
    read, write = os.pipe()
    command = [*BECOME, "unshare", "--user", "--map-root-user", "sh", "-c", "echo made; read forever"]
    holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=write)
    os.close(write)
    assert b"made\n" == os.read(read, 10)
    os.close(read)
    namespace = os.open(f"/proc/{holder.pid}/ns/user", os.O_RDONLY)

    yield namespace

    os.close(namespace)
    holder.communicate(b"\n")


@pytest.fixture
def user_bench(bench: Bench) -> Bench:
    """Give a bench that belongs to the user."""
    os.chown(bench.place, USER, USER)
    return bench


def launch(bench: Bench, namespace: int, plan: list[bytes], flags: int) -> Monitor:
    """Start a monitor as the user, in the namespace."""
    return bench.launch(plan=plan, flags=flags, dirs=("upper", "work"), through=BECOME, namespace=namespace)


def overlay(bench: Bench) -> bytes:
    """Return the step for an overlay that an ordinary user may mount."""
    return wire.step(
        2, wire.u32(0), wire.strings((str(bench.rootfs),)), wire.text("upper"), wire.text("work"), wire.u32(1),
        wire.strings(("userxattr",)),
    )  # fmt: skip


def test_a_users_container_runs_and_is_removed(user_bench: Bench, user_namespace: int) -> None:
    """The monitor becomes root of the namespace, runs an overlay there and removes what is the user's."""
    plan = user_bench.plan("files", "/new", "2", "3", root=overlay(user_bench))
    monitor = launch(user_bench, user_namespace, plan, wire.LOG | wire.REMOVE | wire.OWNED)
    monitor.start()

    exited = monitor.owner.expect(wire.EXITED)

    assert (0, wire.EXIT_CLEAN) == (exited.value, exited.flags)
    assert not monitor.directory.exists()
    assert not monitor.runtime.exists()


def test_root_of_the_host_may_speak_to_a_users_monitor(user_bench: Bench, user_namespace: int) -> None:
    """Files and socket are the user's; the host's root, whom the namespace has no number for, is served."""
    plan = user_bench.plan("sleep", root=overlay(user_bench))
    monitor = launch(user_bench, user_namespace, plan, wire.LOG)
    init = monitor.start()
    state = monitor.state()
    owner = (monitor.runtime / "control.sock").stat().st_uid

    answer = monitor.connect().ask(wire.SIGNAL, value=int(signal.SIGKILL))
    monitor.wait()

    assert USER == owner
    assert str(init) == state["init"].split()[0]
    assert state["init"].split()[1] != "0"
    assert wire.OK == answer.type


def test_the_user_may_speak_to_the_monitor(user_bench: Bench, user_namespace: int) -> None:
    """The user itself is served too."""
    plan = user_bench.plan("sleep", root=overlay(user_bench))
    monitor = launch(user_bench, user_namespace, plan, wire.LOG)
    monitor.start()
    talk = (
        "import socket, sys\n"
        "client = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)\n"
        "client.connect(sys.argv[1])\n"
        "client.send(bytes([18, 0, 0, 0, 0, 0, 0, 0, 9]) + bytes(39))\n"
        "print(client.recv(100)[0])\n"
    )

    command = [*BECOME, "/usr/bin/env", "python3", "-c", talk, str(monitor.runtime / "control.sock")]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    monitor.wait()

    assert f"{wire.OK}\n" == result.stdout, result.stderr


def test_a_users_monitor_sees_its_container_die(user_bench: Bench, user_namespace: int) -> None:
    """A signal from outside ends the run as anywhere else."""
    plan = user_bench.plan("sleep", root=overlay(user_bench))
    monitor = launch(user_bench, user_namespace, plan, wire.LOG)
    init = monitor.start()

    os.kill(init, signal.SIGKILL)
    exited = monitor.owner.expect(wire.EXITED)

    assert (9, 0) == (exited.value, exited.flags)
    wait_for(lambda: monitor.state()["phase"] == "exited", "it is recorded")
