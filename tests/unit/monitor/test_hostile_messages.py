"""A25: a live monitor, built with sanitizers, under clients that mean harm (hostile.py)."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.monitor import wire
from tests.unit.monitor.conftest import load_build
from tests.unit.monitor.harness import Bench, Monitor, is_alive, wait_for
from tests.unit.monitor.plans import exec_plan
from tests.unit.monitor.sanitized import build_sanitized_monitor, read_reports

pytestmark = pytest.mark.needs_root

CHECKOUT = Path(__file__).parents[3]
ROUNDS = 20_000


@pytest.fixture(scope="module")
def report(session_directory: Path) -> Path:
    """Give the beginning of the names of the sanitizers' reports; children with other ids write some."""
    place = session_directory / "reports"
    place.mkdir()
    place.chmod(0o1777)
    return place / "report"


@pytest.fixture(scope="module")
def monitor_program(session_directory: Path, report: Path) -> Path:
    """Give the sanitized monitor in place of the usual one."""
    return build_sanitized_monitor(session_directory / "ck-monitor-sanitized", report, load_build())


def harm(monitor: Monitor, seed: int, rounds: int) -> None:
    """Let another process say all it can think of, and demand that it was answered."""
    command = [sys.executable, "-m", "tests.unit.monitor.hostile", str(monitor.runtime / "control.sock")]
    done = subprocess.run(
        [*command, str(seed), str(rounds)], cwd=CHECKOUT, capture_output=True, text=True, check=False, timeout=600
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert int(done.stdout) > rounds // 4


def held(monitor: Monitor) -> int:
    """Return how many descriptors the monitor has."""
    return len(os.listdir(f"/proc/{monitor.pid}/fd"))


def survives(bench: Bench, report: Path, seed: int, rounds: int) -> None:
    """Harm a monitor: it and its container go on as before, keep nothing, and end when they are asked to."""
    monitor, init = bench.run("sleep", flags=wire.LOG)
    monitor.wait_ready()
    before = held(monitor)
    state = monitor.state()["init"]

    harm(monitor, seed, rounds)

    wait_for(lambda: held(monitor) == before, "no descriptor is kept")
    assert is_alive(init)
    assert (state, "running") == (monitor.state()["init"], monitor.state()["phase"])
    assert wire.EXITED == monitor.connect().ask(wire.STOP, a=0).type
    assert 0 == monitor.wait()
    assert "" == read_reports(report)


def test_A25_no_message_harms_a_monitor(bench: Bench, report: Path) -> None:
    """Of any size, with any numbers, descriptors and plans: refused or done; the container does not notice."""
    survives(bench, report, 1, ROUNDS)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(2, 12))
def test_A25_no_message_of_very_many_harms_a_monitor(bench: Bench, report: Path, seed: int) -> None:
    """The same, a million times."""
    survives(bench, report, seed, 100_000)


def test_A25_an_empty_message_with_descriptors_leaves_none(bench: Bench, report: Path) -> None:
    """It looks like a hang-up; what came along is closed."""
    monitor, _ = bench.run("sleep")
    monitor.wait_ready()
    before = held(monitor)
    channel = monitor.connect()

    channel.send_bytes(b"", [0, 0, 0, 0])
    channel.is_closed()

    wait_for(lambda: held(monitor) == before, "no descriptor is kept")
    assert "" == read_reports(report)


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        pytest.param(wire.EXEC, wire.request(plan=exec_plan("exit", "0")), id="a plan"),
        pytest.param(wire.LIMITS, wire.strings(()) * 3, id="limits"),
    ],
)
def test_A25_what_could_change_while_it_is_read_is_refused(bench: Bench, report: Path, kind: int, data: bytes) -> None:
    """Memory that its sender may still cut off would be the monitor's end: it has to be sealed."""
    monitor, _ = bench.run("sleep")
    monitor.wait_ready()
    memfd = os.memfd_create("open", os.MFD_CLOEXEC)
    os.write(memfd, data)
    channel = monitor.connect()

    answer = channel.ask(kind, fds=[memfd, 0, 1, 2][: 4 if kind == wire.EXEC else 1])
    os.close(memfd)

    assert (wire.ERROR, errno.EPERM) == (answer.type, answer.error)
    assert "" == read_reports(report)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"\0" * 79, id="short"),
        pytest.param(b"\xff" * 4096, id="ones"),
        pytest.param(wire.request(plan=[])[:-1], id="truncated"),
        pytest.param(wire.request(plan=[]), id="no settings"),
        pytest.param(wire.request(plan=[], settings=b"\xff" * 200), id="settings of ones"),
    ],
)
def test_A25_a_request_that_is_none_is_refused(bench: Bench, report: Path, data: bytes) -> None:
    """The monitor says that it could not read it, makes nothing, and ends."""
    monitor = bench.launch(data=data)

    answer = monitor.owner.receive()

    assert (wire.FAILED, wire.STEP_REQUEST) == (answer.type, answer.step)
    assert 0 == monitor.wait()
    assert not monitor.directory.exists()
    assert "" == read_reports(report)


def test_A25_numbers_at_the_end_of_their_range_are_as_good_as_any(bench: Bench, report: Path) -> None:
    """Times, counts and sizes that would wrap: a container with all of them runs, probes, logs and ends."""
    most = 2**64 - 1
    monitor = bench.launch(
        plan=bench.plan("flood", "100000", "100"),
        health=[wire.step(60, wire.strings(("/nowhere",)), wire.strings(("x",)), wire.strings(()))],
        stop_timeout_ms=most,
        restart_max=2**32 - 1,
        log_max_bytes=most,
        log_max_files=2**32 - 1,
        health_interval_ms=most,
        health_timeout_ms=most,
        health_retries=2**32 - 1,
        health_start_period_ms=most,
        health_start_interval_ms=1,
    )

    monitor.start()

    ended = monitor.owner.receive()
    assert (wire.EXITED, 0, 100_000) == (ended.type, ended.value, len(monitor.output()))
    assert 0 == monitor.wait()
    assert "" == read_reports(report)
