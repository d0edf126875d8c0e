"""Health checks: transitions, the start period, timeouts, the report."""

from __future__ import annotations

import os
from typing import Unpack

import pytest

from tests.unit.monitor import wire
from tests.unit.monitor.harness import Bench, Monitor, payload_processes, wait_for
from tests.unit.monitor.plans import Settings, exec_plan

pytestmark = pytest.mark.needs_root


def launch(bench: Bench, *probe: str, **settings: Unpack[Settings]) -> Monitor:
    """Start a sleeping container with a probe every 50 ms and three retries."""
    timing: Settings = {"health_interval_ms": 50, "health_timeout_ms": 5000, "health_retries": 3}
    timing.update(settings)
    monitor = bench.launch("sleep", health=exec_plan(*probe), **timing)
    monitor.start()
    return monitor


def wait_health(monitor: Monitor, status: str) -> None:
    """Wait until the state file says this."""
    wait_for(lambda: monitor.state()["health"] == status, f"it is {status}")


def report(monitor: Monitor) -> tuple[dict[str, str], str]:
    """Return the last probe's report: its values and the output."""
    head, _, output = (monitor.runtime / "health").read_text().partition("\n\n")
    return dict(line.split("=", 1) for line in head.splitlines()), output


def test_a_container_is_starting_then_healthy(bench: Bench) -> None:
    """Before the first success it is starting; this makes it healthy and is reported with its output."""
    sign = bench.rootfs / "sign"
    monitor = launch(bench, "exists", "/sign", health_retries=100_000)
    first = monitor.state()["health"]

    sign.touch()
    wait_health(monitor, "healthy")
    values, output = report(monitor)

    assert "starting" == first
    assert ("healthy", "0", "present\n") == (values["status"], values["exit"], output)
    assert int(values["started"]) < int(values["finished"])


def test_failures_in_a_row_make_it_unhealthy_and_a_success_healthy_again(bench: Bench) -> None:
    """Not one failure but `retries` of them change the status; one success changes it back."""
    sign = bench.rootfs / "sign"
    sign.touch()
    monitor = launch(bench, "exists", "/sign")
    wait_health(monitor, "healthy")

    seen: list[tuple[int, str]] = []

    def is_unhealthy() -> bool:
        state = monitor.state()
        seen.append((int(state["failing"]), state["health"]))
        return state["health"] == "unhealthy"

    sign.unlink()
    wait_for(is_unhealthy, "it is unhealthy")
    values, output = report(monitor)
    failing = int(monitor.state()["failing"])
    sign.touch()
    wait_health(monitor, "healthy")

    assert all((count >= 3) == (health == "unhealthy") for count, health in seen)
    assert failing >= 3
    assert ("1", "absent\n") == (values["exit"], output)
    assert "0" == monitor.state()["failing"]


def test_failures_in_the_start_period_do_not_count(bench: Bench) -> None:
    """Within the start period nothing is unhealthy; its interval is the start interval."""
    monitor = launch(
        bench,
        "count",
        "/probes",
        "1",
        health_start_period_ms=600_000,
        health_start_interval_ms=20,
        health_interval_ms=600_000,
    )
    probes = bench.rootfs / "probes"

    wait_for(lambda: probes.exists() and probes.stat().st_size >= 5, "five probes failed")

    assert ("starting", "0") == (monitor.state()["health"], monitor.state()["failing"])


def test_a_success_ends_the_start_period(bench: Bench) -> None:
    """After a first success failures count, though the period is not over."""
    sign = bench.rootfs / "sign"
    sign.touch()
    monitor = launch(bench, "exists", "/sign", health_start_period_ms=600_000, health_start_interval_ms=20)
    wait_health(monitor, "healthy")

    sign.unlink()

    wait_health(monitor, "unhealthy")


@pytest.mark.parametrize("with_cgroup", [True, False])
def test_a_probe_that_hangs_is_ended(bench: Bench, request: pytest.FixtureRequest, with_cgroup: bool) -> None:
    """A probe that outlasts its timeout is killed and counts as a failure without a code."""
    if with_cgroup:
        request.getfixturevalue("cgroup_bench")
    monitor = launch(bench, "sleep", health_timeout_ms=50, health_retries=2)

    wait_health(monitor, "unhealthy")
    wait_for(lambda: report(monitor)[1] == "ready\n", "a probe had time to say something")
    values, _ = report(monitor)

    assert ("-1", "1") == (values["exit"], values["timed_out"])
    wait_for(lambda: len(payload_processes()) <= 2, "probes are ended")


def test_a_probe_that_cannot_run_is_a_failure(bench: Bench) -> None:
    """A probe whose program is missing counts, and the report says which step failed."""
    plan = exec_plan("x")
    plan[-1] = wire.step(60, wire.strings(("/nothing",)), wire.strings(("nothing",)), wire.strings(()))
    monitor = bench.launch("sleep", health=plan, health_interval_ms=20, health_timeout_ms=1000, health_retries=1)
    monitor.start()

    wait_health(monitor, "unhealthy")

    assert f"{len(plan) - 1} 2 0" == report(monitor)[0]["error"]


def test_output_is_bounded(bench: Bench) -> None:
    """The report keeps the first 4096 bytes; a probe that says more is not held up."""
    monitor = launch(bench, "flood", str(1 << 20), "64")

    wait_health(monitor, "healthy")

    assert 4096 == len(report(monitor)[1])


def test_health_starts_over_with_each_run(bench: Bench) -> None:
    """A restarted container is starting again, and no probe outlives a run."""
    sign = bench.rootfs / "sign"
    sign.touch()
    monitor = launch(bench, "exists", "/sign", health_retries=100_000, restart=wire.RESTART_ALWAYS)
    wait_health(monitor, "healthy")
    sign.unlink()
    init = int(monitor.state()["init"].split()[0])

    os.kill(init, 9)
    wait_for(lambda: monitor.state()["restarts"] == "1" and monitor.state()["phase"] == "running", "it runs again")

    assert "starting" == monitor.state()["health"]
    sign.touch()
    wait_health(monitor, "healthy")


def test_without_a_health_check_there_is_no_health(bench: Bench) -> None:
    """health=none, and no report."""
    monitor, _ = bench.run("sleep")

    assert "none" == monitor.state()["health"]
    assert not (monitor.runtime / "health").exists()
