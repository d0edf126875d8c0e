"""One run of a container: launched, watched, reaped, reported. clone3(2), wait(2)."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import pytest

from tests.unit.monitor import wire
from tests.unit.monitor.harness import Bench, payload_processes, wait_for
from tests.unit.monitor.plans import Settings
from tests.unit.monitor.wire import step, text, u32

pytestmark = pytest.mark.needs_root


@pytest.mark.parametrize("code", [0, 1, 42, 255])
def test_an_exit_code_becomes_the_wait_status(bench: Bench, code: int) -> None:
    """What init leaves with arrives as wait(2) has it, on the owner's channel and in the state file."""
    monitor, _ = bench.run("exit", str(code))

    exited = monitor.owner.expect(wire.EXITED)

    assert code << 8 == exited.value
    assert str(code << 8) == monitor.state()["status"]
    assert 0 == exited.flags
    assert 0 == monitor.wait()


def test_a_crash_is_reported_as_its_signal(bench: Bench) -> None:
    """A container that the kernel ends by a signal has that signal in its status."""
    monitor, _ = bench.run("crash")

    exited = monitor.owner.expect(wire.EXITED)

    assert signal.SIGSEGV == exited.value & 0x7F


def test_usage_counts_time_and_memory(bench: Bench) -> None:
    """EXITED carries the resource usage of init: times in microseconds, memory in KiB."""
    monitor, _ = bench.run("flood", str(32 << 20), "1000", flags=0)

    exited = monitor.owner.expect(wire.EXITED)

    assert exited.a + exited.b > 0
    assert 100 < exited.c < 1 << 20
    assert f"{exited.a} {exited.b} {exited.c}" == monitor.state()["usage"]


def test_direct_pipes_reach_the_container_and_end_with_it(bench: Bench) -> None:
    """With DIRECT the caller's descriptors are the container's, and end of file comes when it ends."""
    in_read, in_write = os.pipe()
    out_read, out_write = os.pipe()
    err_read, err_write = os.pipe()
    monitor = bench.launch("cat", flags=wire.DIRECT, stdio=(in_read, out_write, err_write))
    for fd in (in_read, out_write, err_write):
        os.close(fd)

    monitor.start()
    os.write(in_write, b"through")
    os.close(in_write)
    with open(out_read, "rb") as out, open(err_read, "rb") as err:
        output = (out.read(), err.read())

    assert (b"through<end>\n", b"") == output
    assert 0 == monitor.owner.expect(wire.EXITED).value
    assert not (monitor.directory / "log").exists()


def test_direct_output_ends_although_the_monitor_lives(bench: Bench) -> None:
    """The monitor keeps no copy of the caller's descriptors: a container that closes its output is heard."""
    out_read, out_write = os.pipe()
    monitor = bench.launch("sleep", flags=wire.DIRECT | wire.OWNED, stdio=(out_write, out_write, out_write))
    os.close(out_write)
    monitor.start()

    held = os.readlink(f"/proc/self/fd/{out_read}")
    links = [os.readlink(entry.path) for entry in os.scandir(f"/proc/{monitor.pid}/fd")]
    os.close(out_read)

    assert held not in links


def test_the_state_file_names_who_runs(bench: Bench) -> None:
    """The state file has pid and start time of monitor and init, as /proc/<pid>/stat shows them."""
    monitor, init = bench.run("sleep")

    state = monitor.state()

    def start_time(pid: int) -> str:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as stat:
            return stat.read().rpartition(")")[2].split()[19]

    assert "running" == state["phase"]
    assert f"{monitor.pid} {start_time(monitor.pid)}" == state["monitor"]
    assert f"{init} {start_time(init)}" == state["init"]
    assert "status" not in state
    assert "finished" not in state


@pytest.mark.parametrize("broken", [0, 2, 4, 6])
def test_a_broken_step_is_reported_by_its_number(bench: Bench, broken: int) -> None:
    """The step that fails is named, with its errno; nothing runs and everything is removed."""
    plan = bench.plan("exit", "0")
    plan.insert(broken, step(3, u32(9), text("/no/such/place"), u32(0)))
    monitor = bench.launch(plan=plan, flags=wire.LOG | wire.REMOVE)

    monitor.owner.send(wire.GO)
    failed = monitor.owner.expect(wire.FAILED)

    assert broken == failed.step
    assert 0 < failed.error
    assert 0 == monitor.wait()
    assert not monitor.directory.exists()
    assert not monitor.runtime.exists()


def test_a_missing_program_is_a_failed_exec(bench: Bench) -> None:
    """EXEC that finds nothing is a failed launch, recorded in the state file of a container that stays."""
    plan = bench.plan()
    plan[-1] = step(60, wire.strings(("/nothing",)), wire.strings(("nothing",)), wire.strings(()))
    monitor = bench.launch(plan=plan)

    monitor.owner.send(wire.GO)
    failed = monitor.owner.expect(wire.FAILED)

    assert (len(plan) - 1, 2) == (failed.step, failed.error)
    assert 0 == monitor.wait()
    assert "exited" == monitor.state()["phase"]
    assert f"{failed.step} 2 0" == monitor.state()["error"]


def test_init_killed_on_its_way_is_lost(cgroup_bench: Bench) -> None:
    """A launch that is ended from outside before the exec is a failed one, with no step to blame."""
    monitor = cgroup_bench.launch("exit", "0", cgroup_writes=("cgroup.freeze", "1"))  # holds init in the middle
    monitor.owner.send(wire.GO)
    wait_for((monitor.runtime / "state").exists, "init is recorded")

    os.kill(int(monitor.state()["init"].split()[0]), signal.SIGKILL)
    failed = monitor.owner.expect(wire.FAILED)

    assert wire.STEP_LOST == failed.step
    assert 0 == monitor.wait()


def test_a_probe_runs_its_plan_and_touches_nothing(bench: Bench) -> None:
    """PROBE needs no GO, reports the plan's end, and makes neither directories nor files."""
    monitor = bench.launch(plan=bench.plan()[:-2], flags=wire.PROBE, container_dir=str(bench.place))
    before = sorted(os.listdir(bench.place))

    exited = monitor.owner.expect(wire.EXITED)

    assert 0 == exited.value
    assert 0 == monitor.wait()
    assert before == sorted(os.listdir(bench.place))


def test_a_probe_reports_the_step_that_the_host_cannot_do(bench: Bench) -> None:
    """A failed PROBE says which step failed and why."""
    plan = [step(1, u32(0), text("nosuchfs"), u32(0), wire.strings(()))]
    monitor = bench.launch(plan=plan, flags=wire.PROBE, container_dir="")

    failed = monitor.owner.expect(wire.FAILED)

    assert (0, 19) == (failed.step, failed.error)  # ENODEV
    assert 0 == monitor.wait()


@pytest.mark.parametrize("cut", [0, 3, 16, 79, 100, -4])
def test_a_broken_request_is_refused(bench: Bench, cut: int) -> None:
    """A request that is cut off anywhere is answered by FAILED, before anything is done."""
    whole = wire.request(settings=bench.settings(0, 0), plan=bench.plan("exit", "0"))
    monitor = bench.launch(data=whole[:cut])

    failed = monitor.owner.expect(wire.FAILED)

    assert wire.STEP_REQUEST == failed.step
    assert 0 == monitor.wait()
    assert not monitor.directory.exists()


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"container_dir": "/proc/no"}, wire.STEP_DIRS),
        ({"dirs": ("a/b",)}, wire.STEP_DIRS),
        ({"runtime_dir": "/proc/no"}, wire.STEP_RUNTIME),
        ({"cgroup_parent": "/proc/no", "cgroup_name": "x"}, wire.STEP_CGROUP),
    ],
)
def test_a_place_that_cannot_be_made_is_named(bench: Bench, changes: Settings, expected: int) -> None:
    """What fails around the plan has a step number of its own, and what was made before is undone."""
    monitor = bench.launch("sleep", flags=wire.LOG | wire.REMOVE, **changes)

    monitor.owner.send(wire.GO)
    failed = monitor.owner.expect(wire.FAILED)

    assert expected == failed.step
    assert 0 < failed.error
    assert 0 == monitor.wait()
    assert not monitor.directory.exists()
    assert not monitor.runtime.exists()


def test_directories_are_made_with_their_modes(bench: Bench) -> None:
    """The container's directory is private, upper directories have the given mode, work directories 0700."""
    monitor, _ = bench.run("exit", "0", dirs=("upper", "work", "upper.1", "work.1"), dir_mode=0o711)
    monitor.owner.expect(wire.EXITED)

    modes = {entry.name: entry.stat().st_mode & 0o777 for entry in os.scandir(monitor.directory) if entry.is_dir()}

    assert {"upper": 0o711, "work": 0o700, "upper.1": 0o711, "work.1": 0o700} == modes
    assert 0o700 == monitor.directory.stat().st_mode & 0o777
    assert 0o700 == monitor.runtime.stat().st_mode & 0o777


def test_a_container_ends_with_its_monitor(bench: Bench) -> None:
    """SIGKILL of the monitor leaves no container behind: init dies with its parent."""
    monitor, init = bench.run("sleep")
    assert init in payload_processes()

    os.kill(monitor.pid, signal.SIGKILL)
    monitor.wait()

    wait_for(lambda: not payload_processes(), "init is gone")


def test_an_idle_monitor_is_small(bench: Bench, record_property: Callable[[str, object], None]) -> None:
    """The private memory of a monitor at rest stays below 256 KiB, also after a flood of output."""
    monitor, _ = bench.run("sleep")
    channel = monitor.connect()
    channel.ask(wire.SIGNAL, value=int(signal.SIGURG))

    with open(f"/proc/{monitor.pid}/smaps_rollup", encoding="utf-8") as rollup:
        sizes = {line.split(":")[0]: int(line.split()[1]) for line in rollup if line.endswith("kB\n")}
    private = sizes["Private_Clean"] + sizes["Private_Dirty"]
    record_property("private_kib", private)

    assert private < 256
    assert sizes["Private_Dirty"] < 100
