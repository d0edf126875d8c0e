"""Story: see what a container uses, once and as long as it runs. What limits add to it is in test_limits_*.py."""

from __future__ import annotations

import itertools
import os
import pickle
import signal
import time
from datetime import UTC, datetime

import attrs
import pytest

import container_kit as ck
from container_kit import errors, wait
from tests.e2e.patience import PATIENCE

FAR = 30.0  # an interval that no test waits for


@pytest.fixture
def box(engine: ck.Engine, image: ck.Image) -> ck.Container:
    """Give a container that sleeps."""
    return ck.start(image, ["payload", "sleep", "1000"], detach=True, engine=engine)


def test_stats_are_a_reading_of_now(engine: ck.Engine, image: ck.Image) -> None:
    """What everybody can know is always there: time, processes, CPU time in two parts, memory."""
    box = ck.start(image, ["payload", "memory", "32"], wait=wait.log("ready"), engine=engine)

    before = box.stats()
    with box.spawn(["payload", "cat"], stdin=ck.PIPE):
        after = box.stats()

    assert (1, 2) == (before.pids, after.pids)
    assert before.memory_bytes >= 32 << 20
    assert before.read_at < after.read_at <= datetime.now(UTC)
    assert after.cpu_seconds >= before.cpu_seconds >= 0
    assert before.cpu_seconds == pytest.approx(before.cpu_user_seconds + before.cpu_system_seconds, abs=1e-5)


@pytest.mark.needs_cgroup2
def test_stats_count_what_has_ended(box: ck.Container) -> None:
    """The control group remembers the CPU time of processes that are gone."""
    before = box.stats()
    box.exec(["payload", "spin", "0.2"], check=True)
    after = box.stats()

    assert after.cpu_seconds - before.cpu_seconds > 0.1
    assert after.cpu_user_seconds > before.cpu_user_seconds
    assert after.cpu_percent is not None
    assert after.cpu_percent > 0


def test_a_percentage_needs_a_reading_before(engine: ck.Engine, box: ck.Container) -> None:
    """It is about one run and kept by the engine, whichever object asks."""
    first = box.stats().cpu_percent
    second = ck.Container.get(box.id, engine=engine).stats().cpu_percent
    box.restart(timeout=0)
    again = box.stats().cpu_percent

    assert (None, None) == (first, again)
    assert second is not None


def test_traffic_is_that_of_its_own_network(engine: ck.Engine, image: ck.Image) -> None:
    """Its interfaces by name; with the host's network there is nothing of its own to tell."""
    box = ck.start(image, ["payload", "listen", "7000"], wait=wait.log("ready"), engine=engine)
    stranger = ck.start(image, ["payload", "sleep", "1000"], network="host", engine=engine)

    before = box.stats().interfaces
    with box.spawn(["payload", "sleep", "1000"]):  # the network outlives the server
        box.exec(["payload", "connect", "127.0.0.1", "7001"])  # is refused, which takes two packets
        after = box.stats().interfaces

    assert before is not None
    assert after is not None
    assert (["lo"], 0, 2) == ([one.name for one in after], before[0].rx_packets, after[0].rx_packets)
    assert after[0].tx_bytes == after[0].rx_bytes > 0
    assert stranger.stats().interfaces is None


def test_a_stream_begins_at_once_and_ends_with_the_container(box: ck.Container) -> None:
    """Whatever the interval: neither the first reading nor the end is waited for."""
    began = time.monotonic()
    stream = box.stats_stream(interval=FAR)

    first = next(stream)
    box.kill()
    rest = list(stream)

    assert (1, None, []) == (first.pids, first.cpu_percent, rest)
    assert time.monotonic() - began < FAR / 2


def test_a_stream_goes_on_with_growing_numbers(box: ck.Container) -> None:
    """Each reading is newer than the one before and has a percentage of its own."""
    stream = box.stats_stream(interval=0.001)

    readings = [next(stream) for _ in range(5)]
    box.stats()  # is no part of the stream

    times = [reading.read_at for reading in readings]
    assert sorted(set(times)) == times
    assert [True, False, False, False, False] == [reading.cpu_percent is None for reading in readings]


def test_a_stream_goes_on_with_the_next_run(engine: ck.Engine, image: ck.Image) -> None:
    """A restart policy keeps the container, so readings come again; percentages begin anew."""
    box = ck.start(image, ["payload", "sleep", "1000"], restart=ck.RestartPolicy.always(), detach=True, engine=engine)
    stream = box.stats_stream(interval=0.005)
    next(stream)
    next(stream)
    assert box.pid is not None

    os.kill(box.pid, signal.SIGKILL)
    deadline = time.monotonic() + PATIENCE
    in_time = itertools.takewhile(lambda _: time.monotonic() < deadline, stream)
    new_run = next(reading for reading in in_time if reading.cpu_percent is None)

    assert (1, 1) == (new_run.pids, box.inspect().restarts)


def test_a_closed_stream_leaves_nothing(box: ck.Container) -> None:
    """No descriptor: neither of one that was read nor of one that was not."""
    box.stats()
    before = os.listdir("/proc/self/fd")

    read, unread = box.stats_stream(), box.stats_stream()
    next(read)
    during = os.listdir("/proc/self/fd")
    del read, unread

    assert len(before) + 1 == len(during)
    assert before == os.listdir("/proc/self/fd")


def test_readings_need_a_running_container(engine: ck.Engine, image: ck.Image) -> None:
    """A typed error with the status, when asked and not at the first reading."""
    box = ck.Container.create(image, ["payload", "true"], engine=engine)

    for look in (box.stats, box.stats_stream, box.top):
        with pytest.raises(errors.InvalidTransitionError) as caught:
            look()
        assert "created" == caught.value.status


def test_an_interval_is_a_number_of_seconds(box: ck.Container) -> None:
    """The error names the argument."""
    for interval in (-1.0, float("nan"), "1s"):
        with pytest.raises(errors.InvalidSpecError) as caught:
            box.stats_stream(interval)  # type: ignore[arg-type]  # a wrong one is what is tested
        assert "interval" == caught.value.field


def test_a_reading_is_a_value(box: ck.Container) -> None:
    """Frozen, equal to its copy, and it survives pickling."""
    reading = box.stats()

    assert reading == pickle.loads(pickle.dumps(reading))  # noqa: S301  # our own bytes
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        reading.pids = 7  # type: ignore[misc]  # that it cannot be set is what is tested
