"""Clients on the container's stdio: live output, stdin, the terminal's size."""

from __future__ import annotations

import fcntl
import os
import select
import sys
import termios

import pytest

from tests.unit.monitor import wire
from tests.unit.monitor.harness import PATIENCE, Bench, Channel, Monitor, payload_processes, wait_for
from tests.unit.monitor.plans import terminal_steps

pytestmark = pytest.mark.needs_root


def attach(monitor: Monitor, *, streams: int = 2, flags: int = 0) -> tuple[Channel, list[int], list[int]]:
    """Attach a client; return its channel, the read ends of its streams and the descriptors it got."""
    channel = monitor.connect()
    pipes = [os.pipe() for _ in range(streams)]
    channel.send(wire.ATTACH, flags=flags, fds=[write for _, write in pipes])
    for _, write in pipes:
        os.close(write)
    answer, fds = channel.receive_fds()
    assert wire.OK == answer.type, answer
    return channel, [read for read, _ in pipes], fds


def read_until(fd: int, end: bytes) -> bytes:
    """Read until the text ends in this, or the writer is gone; fail when neither comes."""
    got = b""
    readable = select.poll()
    readable.register(fd, select.POLLIN)
    while not got.endswith(end):
        assert readable.poll(PATIENCE * 1000), f"nothing more after {got[-100:]!r}"
        more = os.read(fd, 65536)
        if not more:
            break
        got += more
    return got


def close_all(*fds: int) -> None:
    """Close descriptors."""
    for fd in fds:
        os.close(fd)


def test_attached_stdin_and_output_go_through(bench: Bench) -> None:
    """What is written to the stdin that ATTACH gives comes out of the attached stdout, and in the log."""
    monitor, _ = bench.run("cat", flags=wire.LOG | wire.STDIN)
    _, (out, err), (stdin,) = attach(monitor, flags=wire.ATTACH_STDIN)

    os.write(stdin, b"hello\n")
    heard = read_until(out, b"hello\n")
    close_all(stdin, out, err)

    assert b"hello\n" == heard
    assert b"hello\n" == monitor.output()


def test_close_stdin_ends_the_input(bench: Bench) -> None:
    """When the monitor and all clients let go of stdin, the container reads the end of it."""
    monitor, _ = bench.run("cat", flags=wire.LOG | wire.STDIN)
    channel, (out, err), (stdin,) = attach(monitor, flags=wire.ATTACH_STDIN)

    closed = channel.ask(wire.CLOSE_STDIN)
    os.close(stdin)
    heard = read_until(out, b"<end>\n")
    close_all(out, err)

    assert wire.OK == closed.type
    assert b"<end>\n" == heard
    assert 0 == monitor.owner.expect(wire.EXITED).value


def test_without_stdin_the_container_reads_nothing(bench: Bench) -> None:
    """Unless asked for, stdin is /dev/null and ATTACH has none to give."""
    monitor, _ = bench.run("cat")

    monitor.owner.expect(wire.EXITED)

    assert b"<end>\n" == monitor.output()


def flood_to_client(bench: Bench, size: int, *, flags: int = 0) -> tuple[Monitor, int]:
    """Start a container that says so many bytes to the log and to its owner; return the owner's end of it."""
    monitor = bench.launch("flood", str(size), "1000", log_max_bytes=0)
    out, out_write = os.pipe()
    assert wire.OK == monitor.owner.ask(wire.ATTACH, flags=flags, fds=[out_write]).type
    os.close(out_write)
    monitor.start()
    return monitor, out


def is_full(pipe: int) -> bool:
    """Tell whether a pipe of the usual size holds all it can."""
    waiting = bytearray(4)
    fcntl.ioctl(pipe, termios.FIONREAD, waiting)
    return int.from_bytes(waiting, sys.byteorder) == 65536


def test_an_attached_client_gets_everything_before_the_end(bench: Bench) -> None:
    """What the container said before it died reaches a client that reads late: then end of file, then EXITED."""
    size = 150_000  # more than the client's pipe and the chunk in hand, so some is in the container's pipe
    monitor, out = flood_to_client(bench, size)
    wait_for(lambda: not payload_processes(), "the container is dead")

    heard = len(read_until(out, b"never"))
    os.close(out)

    assert size == heard
    assert 0 == monitor.owner.expect(wire.EXITED).value
    assert size == len(monitor.output())
    assert monitor.owner.is_closed()


def test_a_client_may_attach_before_go(bench: Bench) -> None:
    """The owner's channel takes ATTACH too, so that no output is missed."""
    monitor = bench.launch("say", "out\n", "err\n")
    (out, out_write), (err, err_write) = os.pipe(), os.pipe()
    assert wire.OK == monitor.owner.ask(wire.ATTACH, fds=[out_write, err_write]).type
    close_all(out_write, err_write)

    monitor.start()
    heard = (read_until(out, b"\n"), read_until(err, b"\n"))
    close_all(out, err)

    assert (b"out\n", b"err\n") == heard


def test_a_client_that_does_not_read_holds_the_container_back(bench: Bench) -> None:
    """Nothing is lost for a slow client: the container waits, and goes on when it reads."""
    size = 4 << 20
    monitor, out = flood_to_client(bench, size)
    wait_for(lambda: is_full(out), "the client's pipe is full")

    waiting = payload_processes()
    logged = len(monitor.output())
    heard = len(read_until(out, b"never"))
    os.close(out)

    assert 1 == len(waiting)
    assert logged < size
    assert size == heard
    assert 0 == monitor.owner.expect(wire.EXITED).value


def test_a_client_that_may_lose_output_never_holds_it_back(bench: Bench) -> None:
    """With SLOW_OK the container runs to its end though nobody reads; the log has everything."""
    size = 4 << 20
    monitor, out = flood_to_client(bench, size, flags=wire.ATTACH_SLOW_OK)

    exited = monitor.owner.expect(wire.EXITED, timeout=8)  # a client that counts is dropped after ten seconds
    os.close(out)

    assert 0 == exited.value
    assert size == len(monitor.output())


@pytest.mark.slow
def test_a_client_that_never_reads_is_dropped(bench: Bench) -> None:
    """After ten seconds without progress the container goes on without that client."""
    monitor, out = flood_to_client(bench, 4 << 20)

    wait_for(lambda: monitor.state()["phase"] == "exited", "it came to its end", timeout=40)
    os.close(out)

    assert 4 << 20 == len(monitor.output())


def test_a_reader_that_went_away_is_dropped(bench: Bench) -> None:
    """A client whose pipe is broken does not stop the container."""
    monitor, _ = bench.run("cat", flags=wire.LOG | wire.STDIN, log_max_bytes=0)
    channel, (out, err), (stdin,) = attach(monitor, flags=wire.ATTACH_STDIN)
    close_all(out, err)

    os.write(stdin, b"into the void\n")
    closed = channel.is_closed()
    os.close(stdin)

    assert closed
    assert b"into the void\n" == monitor.output()


def test_direct_containers_cannot_be_attached(bench: Bench) -> None:
    """The monitor never sees the output of a DIRECT container."""
    null = os.open("/dev/null", os.O_RDWR)
    monitor = bench.launch("sleep", flags=wire.DIRECT, stdio=(null, null, null))
    monitor.start()

    answer = monitor.connect().ask(wire.ATTACH, fds=[null])
    os.close(null)

    assert (wire.ERROR, 95) == (answer.type, answer.error)  # EOPNOTSUPP


def test_a_terminal_is_resized_and_typed_into(bench: Bench) -> None:
    """RESIZE reaches the container as SIGWINCH with the new size; stdin is the terminal's master."""
    monitor = bench.launch(plan=bench.plan("terminal", extra=terminal_steps()), flags=wire.LOG | wire.TERMINAL)
    monitor.start()
    channel, (out,), (stdin,) = attach(monitor, streams=1, flags=wire.ATTACH_STDIN)
    wait_for(lambda: b"size 24 80" in monitor.output(), "the container handles SIGWINCH")

    resized = channel.ask(wire.RESIZE, value=50 << 16 | 132)
    heard = read_until(out, b"size 50 132\r\n")
    os.write(stdin, b"bye\n")
    exited = monitor.owner.expect(wire.EXITED)
    close_all(out, stdin)

    assert wire.OK == resized.type
    assert heard.endswith(b"size 50 132\r\n")
    assert 0 == exited.value


def test_only_a_terminal_can_be_resized(bench: Bench) -> None:
    """RESIZE of pipes is an error."""
    monitor, _ = bench.run("sleep")

    answer = monitor.connect().ask(wire.RESIZE, value=1 << 16 | 1)

    assert (wire.ERROR, 25) == (answer.type, answer.error)  # ENOTTY
