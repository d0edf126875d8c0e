"""LIMITS: written at once, undone when one is refused, kept for the runs to come. cgroup-v2.rst."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.unit.monitor import wire
from tests.unit.monitor.harness import Bench, Monitor, wait_for

pytestmark = pytest.mark.needs_root

DEPTH, COUNT = "cgroup.max.depth", "cgroup.max.descendants"


def ask(monitor: Monitor, now: Sequence[str], undo: Sequence[str] = (), later: Sequence[str] = ()) -> wire.Message:
    """Send the three lists and return the answer."""
    memfd = wire.seal(wire.strings(now) + wire.strings(undo) + wire.strings(later))
    try:
        return monitor.connect().ask(wire.LIMITS, fds=[memfd])
    finally:
        os.close(memfd)


def limits(group: Path) -> list[str]:
    """Return what the two files say."""
    return [(group / file).read_text().strip() for file in (DEPTH, COUNT)]


def test_limits_change_while_it_runs(cgroup_bench: Bench) -> None:
    """The first list is written at once."""
    monitor, _ = cgroup_bench.run("sleep", cgroup_writes=(DEPTH, "7"))

    answer = ask(monitor, (DEPTH, "9", COUNT, "90"))

    assert wire.OK == answer.type
    assert ["9", "90"] == limits(cgroup_bench.cgroup())


def test_a_refused_limit_undoes_those_before_it(cgroup_bench: Bench) -> None:
    """The answer counts the writes from 1."""
    monitor, _ = cgroup_bench.run("sleep", cgroup_writes=(DEPTH, "7"))

    answer = ask(monitor, (DEPTH, "9", COUNT, "many"), (DEPTH, "7", COUNT, "max"), (DEPTH, "9"))

    assert (wire.ERROR, 22, 2) == (answer.type, answer.error, answer.detail)
    assert ["7", "max"] == limits(cgroup_bench.cgroup())


def test_later_runs_begin_with_the_last_limits(cgroup_bench: Bench) -> None:
    """The third list replaces what the container began with; a refused update changes nothing of it."""
    monitor, first = cgroup_bench.run("sleep", cgroup_writes=(DEPTH, "7"), restart=wire.RESTART_ALWAYS)
    ask(monitor, (), (), (DEPTH, "3"))
    ask(monitor, (DEPTH, "9"), (DEPTH, "7"), (DEPTH, "9", COUNT, "90"))
    ask(monitor, (DEPTH, "many"), (DEPTH, "9"), (DEPTH, "1"))

    os.kill(first, signal.SIGKILL)
    wait_for(lambda: monitor.state().get("restarts") == "1", "it runs again")

    assert ["9", "90"] == limits(cgroup_bench.cgroup())


def test_an_optional_file_may_be_absent(cgroup_bench: Bench) -> None:
    """A question mark before its name says so: at the start and later; another one's absence is an error."""
    monitor, _ = cgroup_bench.run("sleep", cgroup_writes=("?no.such.file", "1", f"?{DEPTH}", "7"))

    fine = ask(monitor, ("?no.such.file", "1", f"?{COUNT}", "70"))
    refused = ask(monitor, ("no.such.file", "1"))

    assert wire.OK == fine.type
    assert (wire.ERROR, 2, 1) == (refused.type, refused.error, refused.detail)
    assert ["7", "70"] == limits(cgroup_bench.cgroup())


def test_without_a_cgroup_there_is_nothing_to_limit(bench: Bench) -> None:
    """An empty list is fine."""
    monitor, _ = bench.run("sleep")

    refused, empty = ask(monitor, (DEPTH, "1")), ask(monitor, ())

    assert (wire.ERROR, 95, 0) == (refused.type, refused.error, refused.detail)
    assert wire.OK == empty.type


OTHER_BYTES = {
    "nothing": b"",
    "two lists": wire.strings(("a",)) * 2,
    "four lists": wire.strings(()) * 4,
    "a count without end": b"\xff" * 64,
}


@pytest.mark.parametrize("data", OTHER_BYTES.values(), ids=OTHER_BYTES)
def test_other_bytes_change_nothing(cgroup_bench: Bench, data: bytes) -> None:
    """Three lists and no more; the monitor lives on."""
    monitor, _ = cgroup_bench.run("sleep", cgroup_writes=(DEPTH, "7"))
    memfd = wire.seal(data)

    answer = monitor.connect().ask(wire.LIMITS, fds=[memfd])
    os.close(memfd)

    assert (wire.ERROR, 74) == (answer.type, answer.error)
    assert ["7", "max"] == limits(cgroup_bench.cgroup())
