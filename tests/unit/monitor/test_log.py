"""Container output on disk: CRI log records, rotation, a disk that fails."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable

import pytest

from tests.unit.monitor import wire
from tests.unit.monitor.harness import Bench, wait_for
from tests.unit.monitor.plans import terminal_steps

pytestmark = pytest.mark.needs_root


def test_each_line_is_a_record_of_its_stream(bench: Bench) -> None:
    """A line is one F record with the stream it came from."""
    monitor, _ = bench.run("say", "one\ntwo\n", "three\n")

    monitor.owner.expect(wire.EXITED)

    assert [("stdout", "F", b"one"), ("stdout", "F", b"two"), ("stderr", "F", b"three")] == monitor.log()


def test_a_last_line_without_a_newline_is_a_piece(bench: Bench) -> None:
    """What is not ended by a newline is a P record, so the newline is not made up."""
    monitor, _ = bench.run("say", "no end", "")

    monitor.owner.expect(wire.EXITED)

    assert [("stdout", "P", b"no end")] == monitor.log()


def test_every_byte_survives(bench: Bench) -> None:
    """Logs are binary-safe: all byte values come back."""
    monitor, _ = bench.run("bytes")

    monitor.owner.expect(wire.EXITED)

    assert bytes(byte for byte in range(256) if byte != 10) + b"\n" == monitor.output()


def test_a_long_line_is_cut_into_pieces_of_16_kib(bench: Bench) -> None:
    """No record holds more than 16 KiB of text, and the pieces join to the line."""
    monitor, _ = bench.run("flood", "100000", "100000")

    monitor.owner.expect(wire.EXITED)

    assert max(len(content) for _, _, content in monitor.log()) <= 16384
    assert "F" == monitor.log()[-1][1]
    assert b"x" * 99999 + b"\n" == monitor.output()


def test_the_stamp_is_the_time(bench: Bench) -> None:
    """A record begins with the time of its reading, in UTC with nanoseconds."""
    before = time.time_ns()
    monitor, _ = bench.run("say", "now\n", "")
    monitor.owner.expect(wire.EXITED)
    after = time.time_ns()

    stamp = (monitor.directory / "log").read_text().split()[0]
    seconds = subprocess.run(["date", "-d", stamp, "+%s%N"], capture_output=True, text=True, check=True).stdout

    assert before <= int(seconds) <= after


def test_rotation_bounds_the_disk_and_tears_no_record(bench: Bench) -> None:
    """There are never more than log_max_files files of log_max_bytes, and each holds whole records."""
    limit = 200_000
    monitor, _ = bench.run("flood", str(4 << 20), "1000", log_max_bytes=limit, log_max_files=3)

    monitor.owner.expect(wire.EXITED)
    files = sorted(entry.name for entry in os.scandir(monitor.directory))

    assert ["log", "log.1", "log.2"] == files
    for name in files:
        data = (monitor.directory / name).read_bytes()
        assert len(data) <= limit
        assert data.endswith(b"\n")
        assert all(len(line) <= 40 + 999 and line[30:38] == b" stdout " for line in data.split(b"\n")[:-1])


def test_a_single_file_starts_over(bench: Bench) -> None:
    """With one file, rotation empties it."""
    monitor, _ = bench.run("flood", str(1 << 20), "1000", log_max_bytes=100_000, log_max_files=1)

    monitor.owner.expect(wire.EXITED)

    assert ["log"] == os.listdir(monitor.directory)
    assert (monitor.directory / "log").stat().st_size <= 100_000


def test_a_second_start_appends(bench: Bench) -> None:
    """The log of an earlier run stays."""
    first, _ = bench.run("say", "first\n", "")
    first.owner.expect(wire.EXITED)
    first.wait()
    second = bench.launch("say", "second\n", "", container_dir=str(first.directory))
    second.start()

    second.owner.expect(wire.EXITED)

    assert b"first\nsecond\n" == first.output()


def test_a_full_disk_neither_stops_the_container_nor_tears_a_record(bench: Bench) -> None:
    """What cannot be written is dropped and counted; the file ends with a whole record."""
    disk = bench.place / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "none", disk], check=True)
    try:
        monitor, _ = bench.run("flood", str(4 << 20), "1000", container_dir=str(disk / "c"))
        exited = monitor.owner.expect(wire.EXITED)
        monitor.wait()
        data = (disk / "c" / "log").read_bytes()
    finally:
        subprocess.run(["umount", disk], check=True)

    assert 0 == exited.value
    assert data.endswith(b"\n")
    assert int(monitor.state()["lost"]) > 3 << 20


def test_a_flood_is_logged_fast(bench: Bench, record_property: Callable[[str, object], None]) -> None:
    """Long lines go to the log at 100 MiB/s at least; asked here is half of it, of the CPUs: the machine is shared."""
    size = 256 << 20
    begin, cpu = time.monotonic(), cpu_seconds()
    monitor, _ = bench.run("flood", str(size), "4096", log_max_bytes=64 << 20)

    monitor.owner.expect(wire.EXITED, timeout=60)
    rate = size / (time.monotonic() - begin) / (1 << 20)
    monitor.wait()
    rate_of_cpu = size / (cpu_seconds() - cpu) / (1 << 20)
    record_property("mib_per_second", rate)

    assert rate_of_cpu > 50
    assert rate > 10


def cpu_seconds() -> float:
    """Return the CPU time of the children that have ended, and of theirs."""
    return sum(os.times()[2:4])


def test_the_terminal_is_one_stream(bench: Bench) -> None:
    """Output of a terminal is logged as stdout, as the terminal made it."""
    plan = bench.plan("terminal", extra=terminal_steps())
    monitor = bench.launch(plan=plan, flags=wire.LOG | wire.TERMINAL)
    monitor.start()

    wait_for(lambda: b"size 24 80" in monitor.output(), "the size is shown")

    assert [("stdout", "F", b"tty\r"), ("stdout", "F", b"size 24 80\r")] == monitor.log()
