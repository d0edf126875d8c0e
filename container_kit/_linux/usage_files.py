"""The kernel's accounts of a cgroup and of a network namespace, parsed.

What a file does not say is None: controllers that are not enabled have no files.
Source: the kernel's cgroup-v2.rst and accounting/psi.rst, proc_net(5).
"""

from __future__ import annotations

import contextlib
import os
from typing import Self

from container_kit._spec.stats import DeviceTraffic, InterfaceTraffic, Pressure, Stall

_READ_FLAGS = os.O_RDONLY | os.O_CLOEXEC
_CHUNK = 65536
_HALF_A_PAGE = 2048


class UsageFiles:
    """The files of one directory, read by name. Close it, or use it in a `with` block."""

    def __init__(self, path: str | None) -> None:
        """Open the directory; one that is not there has no files."""
        self._fd = -1
        if path is not None:
            with contextlib.suppress(OSError):
                self._fd = os.open(path, _READ_FLAGS | os.O_DIRECTORY)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the directory. Idempotent."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def read(self, name: str) -> bytes | None:
        """Return a file's content; None when the kernel has none to give."""
        if self._fd < 0:
            return None
        try:
            fd = os.open(name, _READ_FLAGS, dir_fd=self._fd)
        except OSError:
            return None
        try:
            data = os.read(fd, _CHUNK)
            if len(data) < _HALF_A_PAGE:  # what is longer comes in pieces that end where a line ends
                return data
            while more := os.read(fd, _CHUNK):
                data += more
        except OSError:  # pressure stall information is switched off, or the group is gone
            return None
        else:
            return data
        finally:
            os.close(fd)

    def number(self, name: str) -> int | None:
        """Return the number a file holds; None when it says `max` or is not there."""
        data = self.read(name)
        return None if data is None else parse_number(data)

    def counters(self, name: str) -> dict[bytes, int]:
        """Return what a flat keyed file says, such as cpu.stat; nothing when it is not there."""
        return parse_counters(self.read(name) or b"")

    def pressure(self, name: str) -> Pressure | None:
        """Return what a pressure file says."""
        return parse_pressure(self.read(name) or b"")


def parse_number(data: bytes) -> int | None:
    """Return the number; None for `max` and for nothing."""
    text = data.strip()
    return int(text) if text.isdigit() else None


def parse_counters(data: bytes) -> dict[bytes, int]:
    """Return the numbers of a flat keyed file by key."""
    words = data.split()
    return dict(zip(words[::2], map(int, words[1::2]), strict=False))


def parse_pressure(data: bytes) -> Pressure | None:
    """Return what a pressure file says; None when it says nothing."""
    stalls: dict[bytes, Stall] = {}
    for line in data.splitlines():
        kind, *pairs = line.split()
        values = dict(pair.split(b"=", 1) for pair in pairs)
        stalls[kind] = Stall(
            avg10=float(values[b"avg10"]),
            avg60=float(values[b"avg60"]),
            avg300=float(values[b"avg300"]),
            total_seconds=int(values[b"total"]) / 1e6,
        )
    return Pressure(some=stalls[b"some"], full=stalls.get(b"full")) if stalls else None


def parse_devices(data: bytes) -> tuple[DeviceTraffic, ...]:
    """Return what io.stat says of each device, by number; those without traffic may be missing."""
    found: list[DeviceTraffic] = []
    for line in data.decode("ascii", "replace").splitlines():
        words = line.split()
        values = dict(word.split("=", 1) for word in words if "=" in word)
        # Linux before 6.2 puts devices that have no numbers in front of the next one, on its line.
        number = next((word for word in reversed(words) if "=" not in word), "")
        if "rbytes" in values:
            found.append(
                DeviceTraffic(
                    number=number,
                    path=_node_of(number),
                    read_bytes=int(values["rbytes"]),
                    write_bytes=int(values["wbytes"]),
                    read_operations=int(values["rios"]),
                    write_operations=int(values["wios"]),
                )
            )
    return tuple(found)


def parse_interfaces(data: bytes) -> tuple[InterfaceTraffic, ...]:
    """Return what /proc/net/dev says of each interface, in its order."""
    found: list[InterfaceTraffic] = []
    for line in data.decode("utf-8", "replace").splitlines()[2:]:
        name, _, columns = line.rpartition(":")  # a name may hold a colon
        numbers = [int(column) for column in columns.split()]
        found.append(
            InterfaceTraffic(
                name=name.strip(),
                rx_bytes=numbers[0],
                rx_packets=numbers[1],
                rx_errors=numbers[2],
                rx_dropped=numbers[3],
                tx_bytes=numbers[8],
                tx_packets=numbers[9],
                tx_errors=numbers[10],
                tx_dropped=numbers[11],
            )
        )
    return tuple(found)


def _node_of(number: str) -> str:
    try:
        name = os.path.basename(os.readlink(f"/sys/dev/block/{number}"))
    except OSError:
        return ""
    return "/dev/" + name.replace("!", "/")  # sysfs cannot have a slash in a name
