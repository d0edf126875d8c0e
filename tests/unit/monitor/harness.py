"""Drives the real monitor program over its descriptors: no engine, no package code, root's own namespaces.

Not a test. A `Bench` belongs to one test: it knows the program and the directories, launches monitors and at the
end demands that nothing of them is left.
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
import socket
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Unpack

import attrs

from tests.unit.monitor import wire
from tests.unit.monitor.plans import PAYLOAD, Settings, container_plan, encode_settings
from tests.unit.monitor.wire import Message

PATIENCE = 20.0


def wait_for(condition: Callable[[], bool], what: str, timeout: float = PATIENCE) -> None:
    """Ask again and again, giving way to others, until the condition holds; fail when it never does."""
    end = time.monotonic() + timeout
    pause = select.poll()
    while not condition():
        assert time.monotonic() < end, f"never came true: {what}"
        pause.poll(2)


def is_alive(pid: int) -> bool:
    """Tell whether a process is there and more than a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def payload_processes() -> set[int]:
    """Return the processes that run this folder's payload; a zombie has no command line and is none."""
    found: set[int] = set()
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and (entry / "cmdline").read_bytes().startswith(PAYLOAD.encode() + b"\0"):
                found.add(int(entry.name))
        except OSError:
            continue  # it ended while we looked
    return found


@attrs.define
class Channel:
    """One SOCK_SEQPACKET connection to a monitor."""

    socket: socket.socket

    def send(self, kind: int, *, fds: Sequence[int] = (), **fields: int) -> None:
        """Send one message, with descriptors if there are any."""
        self.send_bytes(Message(type=kind, **fields).encode(), fds)

    def send_bytes(self, data: bytes, fds: Sequence[int] = ()) -> None:
        """Send anything."""
        socket.send_fds(self.socket, [data], list(fds))

    def receive_fds(self, timeout: float = PATIENCE) -> tuple[Message, list[int]]:
        """Return the next message and its descriptors; the caller closes them."""
        self.socket.settimeout(timeout)
        data, fds, _, _ = socket.recv_fds(self.socket, 4096, 4)
        if not data:
            raise EOFError
        return Message.decode(data), list(fds)

    def receive(self, timeout: float = PATIENCE) -> Message:
        """Return the next message, which has no descriptors."""
        message, fds = self.receive_fds(timeout)
        assert [] == fds
        return message

    def expect(self, kind: int, timeout: float = PATIENCE) -> Message:
        """Return the next message and demand its type."""
        message = self.receive(timeout)
        assert kind == message.type, message
        return message

    def ask(self, kind: int, *, fds: Sequence[int] = (), **fields: int) -> Message:
        """Send a message and return the answer."""
        self.send(kind, fds=fds, **fields)
        return self.receive()

    def is_closed(self) -> bool:
        """Tell whether the other side has hung up; waits for it."""
        self.socket.settimeout(PATIENCE)
        try:
            return self.socket.recv(1) == b""
        except ConnectionResetError:
            return True

    def close(self) -> None:
        """Hang up."""
        self.socket.close()


@attrs.define
class Monitor:
    """A running monitor and the places of its container."""

    pid: int
    owner: Channel
    directory: Path
    runtime: Path
    status: int | None = None
    channels: list[Channel] = attrs.field(factory=list[Channel])

    def start(self) -> int:
        """Say GO, return the pid of init once it runs."""
        self.owner.send(wire.GO)
        return self.owner.expect(wire.STARTED).value

    def connect(self) -> Channel:
        """Open a connection to the control socket."""
        client = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            client.connect(str(self.runtime / "control.sock"))
        except OSError:
            client.close()
            raise
        channel = Channel(client)
        self.channels.append(channel)
        return channel

    def state(self) -> dict[str, str]:
        """Return the state file's lines."""
        lines = (self.runtime / "state").read_text().splitlines()
        return dict(line.split("=", 1) for line in lines)

    def log(self) -> list[tuple[str, str, bytes]]:
        """Return the live log file's records: stream, F or P, text."""
        records: list[tuple[str, str, bytes]] = []
        for line in (self.directory / "log").read_bytes().split(b"\n")[:-1]:
            stamp, stream, tag, content = line.split(b" ", 3)
            assert len(stamp) == 30
            assert stamp.endswith(b"Z")
            records.append((stream.decode(), tag.decode(), content))
        return records

    def output(self) -> bytes:
        """Return what the live log file holds of stdout, joined again."""
        return b"".join(
            content + (b"\n" if tag == "F" else b"") for stream, tag, content in self.log() if stream == "stdout"
        )

    def wait_ready(self, times: int = 1) -> None:
        """Wait until the payload has said that it is ready."""
        wait_for(lambda: self.output().count(b"ready\n") >= times, "the payload is ready")

    def wait(self, timeout: float = PATIENCE) -> int:
        """Return the monitor's own wait status, once it ended."""
        if self.status is None:
            wait_for(self._reap, "the monitor ends", timeout)
        assert self.status is not None
        return self.status

    def _reap(self) -> bool:
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        if pid:
            self.status = status
        return bool(pid)

    def close(self) -> None:
        """End it, however it is: by a request, or by force when it does not listen."""
        for channel in self.channels:
            channel.close()
        if self.status is None and not self._reap():
            try:
                self.connect().send(wire.SIGNAL, value=int(signal.SIGKILL))
                self.wait()
            except (OSError, AssertionError):
                os.kill(self.pid, signal.SIGKILL)
                self.wait()
        for channel in (self.owner, *self.channels):
            channel.close()


@attrs.define
class Bench:
    """What one test launches."""

    program: Path
    rootfs: Path
    place: Path
    monitors: list[Monitor] = attrs.field(factory=list[Monitor])
    cgroup_parent: str = ""

    def cgroup(self, number: int = 0) -> Path:
        """Return the cgroup of the container with this number."""
        return Path(self.cgroup_parent, f"ck-test-{os.getpid()}-{self.place.name}-{number}")

    def settings(self, number: int, flags: int, **changes: Unpack[Settings]) -> bytes:
        """Return the settings record of the container with this number."""
        places: Settings = {
            "owner_pid": os.getpid(),
            "container_dir": str(self.place / f"c{number}"),
            "runtime_dir": str(self.place / f"r{number}"),
            "cgroup_parent": self.cgroup_parent,
            "cgroup_name": self.cgroup(number).name if self.cgroup_parent else "",
        }
        places.update(changes)
        return encode_settings(flags, **places)

    def launch(
        self,
        *argv: str,
        flags: int = wire.LOG,
        plan: Sequence[bytes] | None = None,
        health: Sequence[bytes] | None = None,
        stdio: Sequence[int] = (),
        data: bytes | None = None,
        through: Sequence[str] = (),
        namespace: int = -1,
        **changes: Unpack[Settings],
    ) -> Monitor:
        """Start a monitor for the payload with these words; it waits for GO.

        Args:
            argv: what the payload is to do.
            flags: CK_SET_*.
            plan: in place of the payload's plan.
            health: the plan of a health probe.
            stdio: descriptors for DIRECT.
            data: in place of the whole request.
            through: a command that ends by executing the monitor, its name first.
            namespace: a descriptor of a user namespace to join.
            changes: settings.
        """
        number = len(self.monitors)
        steps = plan if plan is not None else self.plan(*argv)
        if data is None:
            data = wire.request(settings=self.settings(number, flags, **changes), plan=steps, health=health)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        memfd = wire.seal(data)
        fds = {3: memfd, 4: theirs.fileno(), **{6 + n: fd for n, fd in enumerate(stdio)}}
        if namespace >= 0:
            fds[5] = namespace
        pid = spawn([*through, str(self.program)], fds)
        os.close(memfd)
        theirs.close()
        monitor = Monitor(pid, Channel(ours), self.place / f"c{number}", self.place / f"r{number}")
        self.monitors.append(monitor)
        return monitor

    def run(self, *argv: str, flags: int = wire.LOG, **changes: Unpack[Settings]) -> tuple[Monitor, int]:
        """Launch the payload and wait until it runs; return its pid as well."""
        monitor = self.launch(*argv, flags=flags, **changes)
        return monitor, monitor.start()

    def plan(self, *argv: str, root: bytes | None = None, extra: Sequence[bytes] = ()) -> list[bytes]:
        """Return the plan of a small container with this bench's root directory."""
        return container_plan(self.rootfs, *argv, root=root, extra=extra)

    def close(self) -> None:
        """End all monitors and demand that no process of a container outlives its own."""
        for monitor in self.monitors:
            monitor.close()
        try:
            wait_for(lambda: not payload_processes(), "all payloads are gone")
        except AssertionError:
            for pid in payload_processes():  # the next test shall not find them
                os.kill(pid, signal.SIGKILL)
            raise


def spawn(command: Sequence[str], fds: dict[int, int]) -> int:
    """Start a program with exactly these descriptors besides /dev/null on 0 to 2; return its pid."""
    null = os.open("/dev/null", os.O_RDWR)
    high = {number: fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 64) for number, fd in fds.items()}
    actions = [(os.POSIX_SPAWN_DUP2, fd, number) for number, fd in high.items()]
    actions += [(os.POSIX_SPAWN_DUP2, null, number) for number in range(3)]
    try:
        return os.posix_spawnp(
            command[0], list(command), os.environ if len(command) > 1 else {}, file_actions=actions, setsid=True
        )
    finally:
        for fd in (null, *high.values()):
            os.close(fd)
