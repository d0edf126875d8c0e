"""A client that means harm: `python -m tests.unit.monitor.hostile SOCKET SEED ROUNDS`; prints how many answers it got.

It says everything but the words by which its user may end or stop a container. Run by test_hostile_messages.py,
from another process of the same user.
"""

from __future__ import annotations

import os
import random
import signal
import socket
import sys

from tests.unit.monitor import wire
from tests.unit.monitor.plans import exec_plan
from tests.unit.monitor.wire import Message, u32

# Signals that a payload does not notice, and numbers that are none.
SIGNALS = (0, -1, 65, 2**31 - 1, -(2**31), int(signal.SIGURG), int(signal.SIGWINCH), int(signal.SIGCONT))
NUMBERS = (0, 1, 47, 48, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
LONG_NUMBERS = (0, 1, 2**31, 2**32, 2**63, 2**64 - 1, 2**64 - 2)
PLAN = wire.request(plan=exec_plan("exit", "0"))
LIMITS = wire.strings(("pids.max", "7", "memory.max", "max")) + wire.strings(("pids.max", "max")) + wire.strings(())
KEPT = 12  # connections that stay open, of the 32 there may be


class Client:
    """Holds some connections, and closes and opens them as it likes."""

    def __init__(self, address: str, chance: random.Random) -> None:
        """Open nothing yet."""
        self.address = address
        self.chance = chance
        self.open: list[socket.socket] = []
        self.answers = 0

    def connection(self) -> socket.socket:
        """Return one that is open, or a new one."""
        if self.open and (len(self.open) >= KEPT or self.chance.random() < 0.8):
            return self.chance.choice(self.open)
        client = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        client.connect(self.address)
        client.setblocking(False)
        self.open.append(client)
        return client

    def hang_up(self, client: socket.socket) -> None:
        """Close one, answers unread."""
        self.open.remove(client)
        client.close()

    def round(self) -> None:
        """Say something, and perhaps listen, or hang up."""
        client = self.connection()
        fds = self.descriptors()
        try:
            socket.send_fds(client, [self.words()], fds)
            while self.chance.random() < 0.9 and client.recv(4096):
                self.answers += 1
        except BlockingIOError:
            pass
        except (BrokenPipeError, ConnectionResetError):
            self.hang_up(client)
        finally:
            for fd in fds:
                os.close(fd)
        if client in self.open and self.chance.random() < 0.2:
            self.hang_up(client)

    def words(self) -> bytes:
        """Return a message: of any size, of any type, with numbers at the borders."""
        pick = self.chance.choice
        kind = pick((*range(wire.GO, wire.GO + 14), wire.EXEC, wire.EXEC, wire.ATTACH, pick(NUMBERS)))
        if kind in (wire.STOP, wire.SIGNAL):
            value = pick(SIGNALS if kind == wire.SIGNAL else (-1, 65, -(2**31)))
        else:
            value = pick(NUMBERS) - 2**31
        numbers = {"flags": pick(NUMBERS), "step": pick(NUMBERS), "a": pick(LONG_NUMBERS), "b": pick(LONG_NUMBERS)}
        whole = Message(type=kind, value=value, **numbers).encode()
        if self.chance.random() < 0.1:
            return pick((b"", whole[:4], whole[:47], whole + b"x", whole * 50))
        return whole

    def descriptors(self) -> list[int]:
        """Return up to six descriptors of any kind; mostly such as an exec or an attachment has."""
        count = self.chance.choice((0, 0, 1, 2, 3, 4, 4, 4, 4, 6))
        first = [self.plan()] if count and self.chance.random() < 0.7 else []
        return first + [self.descriptor() for _ in range(count - len(first))]

    def descriptor(self) -> int:
        """Return a descriptor that is no plan."""
        kind = self.chance.randrange(6)
        if kind == 0:
            return os.open("/", os.O_PATH | os.O_CLOEXEC)
        if kind == 1 and self.open:
            return self.chance.choice(self.open).dup().detach()
        if kind == 2:
            return os.eventfd(0)
        if kind < 5:
            ends = os.pipe()
            os.close(ends[kind - 3])
            return ends[4 - kind]
        return os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)

    def plan(self) -> int:
        """Return a memfd with an exec plan, or with limits, whole or damaged, sealed or not."""
        data = bytearray(self.chance.choice((PLAN, PLAN, LIMITS)))
        for _ in range(self.chance.choice((0, 0, 1, 3))):
            at = self.chance.randrange(len(data) // 4) * 4
            data[at : at + 4] = u32(self.chance.choice(NUMBERS))
        if self.chance.random() < 0.1:
            del data[self.chance.randrange(len(data)) :]
        if self.chance.random() < 0.9:
            return wire.seal(bytes(data))
        fd = os.memfd_create("request", os.MFD_CLOEXEC)
        os.write(fd, data)
        return fd


def main() -> None:
    """Do harm for some rounds."""
    address, seed, rounds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    client = Client(address, random.Random(seed))
    for _ in range(rounds):
        client.round()
    print(client.answers)


if __name__ == "__main__":
    main()
