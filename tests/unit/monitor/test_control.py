"""The control socket under clients that are many, silent, or talk nonsense."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys

import pytest

from tests.unit.monitor import wire
from tests.unit.monitor.harness import PATIENCE, Bench, Monitor, wait_for
from tests.unit.monitor.plans import terminal_steps
from tests.unit.monitor.wire import Message

pytestmark = pytest.mark.needs_root


def answers(monitor: Monitor) -> bool:
    """Tell whether a new client is served."""
    channel = monitor.connect()
    answer = channel.ask(wire.SIGNAL, value=int(signal.SIGURG))
    channel.close()
    return answer.type == wire.OK


@pytest.mark.parametrize("kind", [0, 1, 6, 15, 28, 2**32 - 1])
def test_an_unknown_message_is_an_error(bench: Bench, kind: int) -> None:
    """A type that is not a client's is answered by EINVAL."""
    monitor, _ = bench.run("sleep")

    answer = monitor.connect().ask(kind)

    assert (wire.ERROR, 22) == (answer.type, answer.error)


@pytest.mark.parametrize("kind", [wire.GO, wire.DETACH])
def test_the_owners_words_are_the_owners(bench: Bench, kind: int) -> None:
    """GO and DETACH are not for the control socket."""
    monitor, _ = bench.run("sleep")

    answer = monitor.connect().ask(kind)

    assert (wire.ERROR, 22) == (answer.type, answer.error)


@pytest.mark.parametrize("size", [1, 47, 49, 4096])
def test_a_message_of_another_size_is_an_error(bench: Bench, size: int) -> None:
    """Too short and too long messages are answered, whatever they begin with."""
    monitor, _ = bench.run("sleep")
    channel = monitor.connect()

    channel.send_bytes((Message(type=wire.SIGNAL, value=9).encode() + bytes(5000))[:size])
    answer = channel.receive()

    assert (wire.ERROR, 22) == (answer.type, answer.error)
    assert answers(monitor)


def test_random_messages_do_no_harm(bench: Bench) -> None:
    """A thousand messages of random content with random descriptors are all answered or hung up on."""
    monitor, _ = bench.run("sleep")
    monitor.wait_ready()
    chance = random.Random(1)
    held = len(os.listdir(f"/proc/{monitor.pid}/fd"))
    harmless = [wire.EXEC, wire.KILL_TREE, wire.CLOSE_STDIN, wire.RESIZE, wire.RESTART_POLICY, 0, 99, wire.GO]
    null = os.open("/dev/null", os.O_RDWR)

    for _ in range(1000):
        channel = monitor.connect()
        body = u32_message(chance, chance.choice(harmless))
        channel.send_bytes(body, [null] * chance.randrange(5))
        assert channel.receive().type in (wire.OK, wire.ERROR)
        channel.close()
    os.close(null)

    wait_for(lambda: len(os.listdir(f"/proc/{monitor.pid}/fd")) == held, "no descriptor is kept")
    assert answers(monitor)


def u32_message(chance: random.Random, kind: int) -> bytes:
    """Return a message of this type with random other bytes."""
    return kind.to_bytes(4, sys.byteorder) + chance.randbytes(44)


def test_too_many_descriptors_are_refused(bench: Bench) -> None:
    """More descriptors than any message has are thrown away, not kept."""
    monitor, _ = bench.run("sleep")
    monitor.wait_ready()
    held = len(os.listdir(f"/proc/{monitor.pid}/fd"))
    channel = monitor.connect()

    channel.send(wire.EXEC, fds=[0] * 60)
    answer = channel.receive()
    channel.close()

    assert wire.ERROR == answer.type
    wait_for(lambda: len(os.listdir(f"/proc/{monitor.pid}/fd")) == held, "no descriptor is kept")


def test_there_is_room_for_32_clients(bench: Bench) -> None:
    """The 33rd client is told that there is no room; when one leaves, there is."""
    monitor, _ = bench.run("sleep")
    channels = [monitor.connect() for _ in range(32)]
    for channel in channels:
        assert wire.OK == channel.ask(wire.SIGNAL, value=int(signal.SIGURG)).type

    refused = monitor.connect().receive()
    channels[0].close()

    assert (wire.ERROR, 24) == (refused.type, refused.error)  # EMFILE
    wait_for(lambda: has_room(monitor), "there is room")


def has_room(monitor: Monitor) -> bool:
    """Tell whether one more client is served; one that is not may be hung up on before it has asked."""
    try:
        return monitor.connect().ask(wire.SIGNAL, value=int(signal.SIGURG)).type == wire.OK
    except (BrokenPipeError, ConnectionResetError):
        return False


def test_a_hundred_thousand_resizes(bench: Bench) -> None:
    """A window manager gone mad: every message is answered, and the last size is the terminal's."""
    monitor = bench.launch(plan=bench.plan("terminal", extra=terminal_steps()), flags=wire.LOG | wire.TERMINAL)
    monitor.start()
    channel = monitor.connect()

    for number in range(1, 100_001):
        channel.socket.send(Message(type=wire.RESIZE, value=(number % 500 + 1) << 16 | 80).encode())
        assert 48 == len(channel.socket.recv(48))

    wait_for(lambda: b"size 1 80\r\n" in monitor.output()[-2000:], "the last size has arrived")


def test_a_client_that_never_reads_its_answers_is_dropped(bench: Bench) -> None:
    """Answers are not kept for a client that does not take them, and nobody else waits for it."""
    monitor, _ = bench.run("sleep")
    channel = monitor.connect()
    channel.socket.settimeout(PATIENCE)

    def send_all() -> None:
        for _ in range(10_000):
            channel.send(wire.RESIZE)

    with pytest.raises((BrokenPipeError, ConnectionResetError)):
        send_all()

    assert answers(monitor)


def test_the_socket_is_private(bench: Bench) -> None:
    """Only the owner's user can open the control socket's file, and only it and root are listened to."""
    monitor, _ = bench.run("sleep")
    place = monitor.runtime / "control.sock"
    assert 0o600 == place.stat().st_mode & 0o777
    place.chmod(0o666)
    monitor.runtime.chmod(0o755)
    attempt = (
        "import os, socket, sys\n"
        "os.setresgid(12345, 12345, 12345); os.setresuid(12345, 12345, 12345)\n"
        "client = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)\n"
        "client.connect(sys.argv[1])\n"
        "client.send(bytes([18, 0, 0, 0, 0, 0, 0, 0, 9]) + bytes(39))\n"
        "print(client.recv(100))\n"
    )

    result = subprocess.run([sys.executable, "-c", attempt, place], capture_output=True, text=True, check=False)

    assert "Reset" in result.stderr or "BrokenPipe" in result.stderr or "b''" in result.stdout, result
    assert answers(monitor)


def test_a_stale_socket_is_replaced(bench: Bench) -> None:
    """What a monitor that died left behind does not keep the next one from starting."""
    left = bench.place / "r0"
    left.mkdir(mode=0o700)
    stale = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    stale.bind(str(left / "control.sock"))
    stale.close()

    monitor, _ = bench.run("sleep")

    assert answers(monitor)


@pytest.mark.needs_tools("setpriv")
def test_the_monitor_cannot_be_looked_into(bench: Bench) -> None:
    """It is not dumpable: its equal in user and capabilities, but for CAP_SYS_PTRACE, reads nothing of it."""
    unable = ["setpriv", "--inh-caps", "-sys_ptrace", "--bounding-set", "-sys_ptrace"]
    monitor = bench.launch("sleep", through=unable)
    init = monitor.start()

    looks = [
        subprocess.run([*unable, "readlink", f"/proc/{pid}/exe"], capture_output=True, check=False).returncode
        for pid in (init, monitor.pid)
    ]

    assert [0, 1] == looks
