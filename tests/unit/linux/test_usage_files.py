"""The kernel's accounts as values: the texts are those of cgroup-v2.rst, accounting/psi.rst and proc_net(5)."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from container_kit._linux.usage_files import (
    UsageFiles,
    parse_counters,
    parse_devices,
    parse_interfaces,
    parse_number,
    parse_pressure,
)
from container_kit._spec.stats import DeviceTraffic, InterfaceTraffic, Pressure, Stall

NET_DEV = (
    b"Inter-|   Receive                                                |  Transmit\n"
    b" face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier\n"
    b"    lo:     10       2    3    4    5     6          7         8        9      10   11   12   13    14   15  16\n"
    b"vlan:1: 1 0 0 0 0 0 0 0 2 0 0 0 0 0 0 0\n"
)


def test_what_is_not_there_has_no_files() -> None:
    """A missing directory is not an error: there is just nothing to read."""
    with UsageFiles("/nowhere") as missing, UsageFiles(None) as none:
        seen = [files.read("cpu.stat") for files in (missing, none)]
        numbers = [files.number("memory.max") for files in (missing, none)]

        assert [None, None] == seen
        assert [None, None] == numbers
        assert {} == missing.counters("cpu.stat")
        assert missing.pressure("cpu.pressure") is None


def test_a_long_file_is_read_to_its_end(tmp_path: Path) -> None:
    """However many pieces it comes in."""
    text = b"key 1\n" * 40_000
    (tmp_path / "long").write_bytes(text)

    with UsageFiles(str(tmp_path)) as files:
        assert text == files.read("long")


def test_nothing_stays_open(tmp_path: Path) -> None:
    """Neither the directory nor a file."""
    (tmp_path / "file").write_bytes(b"1\n")
    before = os.listdir("/proc/self/fd")

    with UsageFiles(str(tmp_path)) as files:
        files.read("file")
        files.read("missing")

    assert before == os.listdir("/proc/self/fd")


@pytest.mark.parametrize(("text", "number"), [(b"4096\n", 4096), (b"0\n", 0), (b"max\n", None), (b"", None)])
def test_no_limit_is_no_number(text: bytes, number: int | None) -> None:
    """`max` is None, as is a file without content."""
    assert number == parse_number(text)


def test_counters_are_read_by_key() -> None:
    """cpu.stat, memory.stat and memory.events have one form."""
    assert {b"usage_usec": 12, b"user_usec": 10} == parse_counters(b"usage_usec 12\nuser_usec 10\n")


def test_pressure_is_in_percent_and_seconds() -> None:
    """`full` may be missing, as for the CPU before Linux 5.13; an empty file says nothing."""
    some = b"some avg10=1.50 avg60=0.25 avg300=0.00 total=2500000\n"
    full = b"full avg10=0.00 avg60=0.00 avg300=0.00 total=1\n"
    stall = Stall(avg10=1.5, avg60=0.25, avg300=0.0, total_seconds=2.5)

    assert Pressure(some=stall) == parse_pressure(some)
    assert Pressure(some=stall, full=Stall(avg10=0, avg60=0, avg300=0, total_seconds=1e-6)) == parse_pressure(
        some + full
    )
    assert parse_pressure(b"") is None


@pytest.mark.parametrize(
    "text",
    [
        b"999:1 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0\n",
        b"999:0 999:1 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0\n",
        b"999:0\n999:1 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0 cost.usage=0\n",
    ],
)
def test_traffic_of_devices_is_read_by_number(text: bytes) -> None:
    """Devices without traffic are left out, in every form that kernels write them."""
    expected = DeviceTraffic(
        number="999:1", path="", read_bytes=1, write_bytes=2, read_operations=3, write_operations=4
    )

    assert (expected,) == parse_devices(text)


def test_traffic_of_interfaces_is_read_by_name() -> None:
    """Eight columns each way, of which four are told; a name may hold a colon."""
    first, second = parse_interfaces(NET_DEV)

    assert first == InterfaceTraffic(
        name="lo",
        rx_bytes=10,
        rx_packets=2,
        rx_errors=3,
        rx_dropped=4,
        tx_bytes=9,
        tx_packets=10,
        tx_errors=11,
        tx_dropped=12,
    )
    assert ("vlan:1", 1, 2) == (second.name, second.rx_bytes, second.tx_bytes)
