"""Further processes in a container: launched, connected, ended with all they started."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.unit.monitor import wire
from tests.unit.monitor.harness import Bench, Channel, Monitor, payload_processes, wait_for
from tests.unit.monitor.plans import exec_plan
from tests.unit.monitor.wire import Message, step, text, u32

pytestmark = pytest.mark.needs_root


def execute(
    monitor: Monitor, *argv: str, flags: int = 0, plan: Sequence[bytes] | None = None, fds: Sequence[int] | None = None
) -> tuple[Channel, Message]:
    """Ask for a process with /dev/null or the given descriptors as stdio; return the first answer."""
    channel = monitor.connect()
    null = os.open("/dev/null", os.O_RDWR)
    request = wire.seal(wire.request(plan=plan if plan is not None else exec_plan(*argv)))
    given = [null] * 3 if fds is None else list(fds)
    answer = channel.ask(wire.EXEC, flags=flags, fds=[request, *given])
    os.close(null)
    os.close(request)
    return channel, answer


def supervised(*argv: str) -> list[bytes]:
    """Return an exec plan with a supervisor that can end the whole tree."""
    return exec_plan(*argv, extra=[step(52, u32(1))])


@pytest.mark.parametrize("code", [0, 3])
def test_an_exec_has_its_own_streams_and_code(bench: Bench, code: int) -> None:
    """The process gets the descriptors that came with the request; its end is told with its status."""
    monitor, _ = bench.run("sleep")
    (in_read, in_write), (out_read, out_write) = os.pipe(), os.pipe()
    os.write(in_write, b"text")
    os.close(in_write)

    channel, started = execute(monitor, "cat" if code == 0 else "exit", str(code), fds=(in_read, out_write, out_write))
    os.close(in_read)
    os.close(out_write)
    exited = channel.expect(wire.EXITED)
    with open(out_read, "rb") as out:
        heard = out.read()

    assert wire.STARTED == started.type
    assert code << 8 == exited.value
    assert (b"text<end>\n" if code == 0 else b"") == heard


def test_an_exec_is_inside_the_container(bench: Bench) -> None:
    """The started pid is a process in the namespaces of init."""
    monitor, init = bench.run("sleep")

    _, started = execute(monitor, "sleep")

    for namespace in ("mnt", "pid", "ipc", "uts"):
        assert os.readlink(f"/proc/{init}/ns/{namespace}") == os.readlink(f"/proc/{started.value}/ns/{namespace}")


def test_a_signal_reaches_the_exec_and_not_init(bench: Bench) -> None:
    """SIGNAL in a session goes to its process."""
    monitor, init = bench.run("sleep")
    channel, _ = execute(monitor, "sleep")

    channel.send(wire.SIGNAL, value=int(signal.SIGTERM))
    answers = {channel.receive().type: None, channel.receive().type: None}

    assert {wire.OK, wire.EXITED} == set(answers)
    assert {init} == payload_processes()


def test_a_failed_exec_names_its_step(bench: Bench) -> None:
    """A program that is not there is FAILED with the step of EXEC; the connection can be used again."""
    monitor, _ = bench.run("sleep")
    plan = exec_plan("exit")
    plan[-1] = step(60, wire.strings(("/nothing",)), wire.strings(("nothing",)), wire.strings(()))

    channel, failed = execute(monitor, plan=plan)
    again = channel.ask(wire.SIGNAL, value=int(signal.SIGURG))

    assert (wire.FAILED, len(plan) - 1, 2) == (failed.type, failed.step, failed.error)
    assert again.type in (wire.OK, wire.ERROR)


def test_an_exec_with_a_terminal_hands_its_master_out(bench: Bench) -> None:
    """With TERMINAL the client gets the pty's master, then STARTED, and types into it."""
    options = wire.strings(("newinstance", "ptmxmode=0666", "mode=0620"))
    devpts = [step(1, u32(7), text("devpts"), u32(0), options), step(21, u32(7), text("/dev/pts"), u32(0))]
    monitor = bench.launch(plan=bench.plan("sleep", extra=devpts))
    monitor.start()
    plan = exec_plan("terminal", extra=[step(49, text("/dev/pts"), u32(30, 90))])
    request = wire.seal(wire.request(plan=plan))
    channel = monitor.connect()
    channel.send(wire.EXEC, flags=wire.EXEC_TERMINAL, fds=[request])
    os.close(request)

    tty, (master,) = channel.receive_fds()
    channel.expect(wire.STARTED)
    heard = b""
    while b"size" not in heard:
        heard += os.read(master, 1000)
    os.write(master, b"bye\n")
    exited = channel.expect(wire.EXITED)
    os.close(master)

    assert wire.TTY == tty.type
    assert heard.startswith(b"tty\r\n")
    assert 0 == exited.value


def test_kill_tree_ends_what_has_its_own_session_with_a_cgroup(cgroup_bench: Bench) -> None:
    """KILL_TREE ends orphans in sessions of their own too, before EXITED is said; the exec's cgroup goes."""
    monitor, init = cgroup_bench.run("sleep")
    channel, _ = execute(monitor, "tree", "3")
    wait_for(lambda: len(payload_processes()) == 5, "the tree has grown")
    group = cgroup_bench.cgroup()
    assert (group / "exec-1").exists()

    answers = [channel.ask(wire.KILL_TREE), channel.receive()]

    assert [wire.OK, wire.EXITED] == [answer.type for answer in answers]
    assert signal.SIGKILL == answers[1].value
    assert {init} == payload_processes()
    assert not (group / "exec-1").exists()


def test_kill_tree_ends_what_has_its_own_session_by_its_supervisor(bench: Bench) -> None:
    """Without a cgroup the supervisor of the exec ends all that it started."""
    monitor, init = bench.run("sleep")
    channel, started = execute(monitor, plan=supervised("tree", "3"), flags=wire.EXEC_OWN_MEMORY)
    wait_for(lambda: len(payload_processes()) == 5, "the tree has grown")

    answers = [channel.ask(wire.KILL_TREE), channel.receive()]

    assert wire.STARTED == started.type
    assert [wire.OK, wire.EXITED] == [answer.type for answer in answers]
    wait_for(lambda: payload_processes() == {init}, "the tree is gone")


def test_a_supervised_exec_ends_with_its_own_code(bench: Bench) -> None:
    """The supervisor passes the process's code on."""
    monitor, _ = bench.run("sleep")

    channel, started = execute(monitor, plan=supervised("exit", "17"), flags=wire.EXEC_OWN_MEMORY)
    exited = channel.expect(wire.EXITED)

    assert wire.STARTED == started.type
    assert 17 << 8 == exited.value


@pytest.mark.parametrize("with_cgroup", [True, False])
def test_hanging_up_ends_the_exec(bench: Bench, request: pytest.FixtureRequest, with_cgroup: bool) -> None:
    """A client that goes away takes its process along."""
    if with_cgroup:
        request.getfixturevalue("cgroup_bench")
    monitor, init = bench.run("sleep")
    channel, _ = execute(monitor, "sleep")
    wait_for(lambda: len(payload_processes()) == 2, "both run")

    channel.close()

    wait_for(lambda: payload_processes() == {init}, "the exec'd process is gone")


def test_a_detached_exec_outlives_its_client(bench: Bench) -> None:
    """With DETACH hanging up means nothing; the process ends with the container."""
    monitor, _ = bench.run("sleep")
    channel, started = execute(monitor, "sleep", flags=wire.EXEC_DETACH)

    channel.close()
    other = monitor.connect()
    other.ask(wire.SIGNAL, value=int(signal.SIGURG))
    wait_for(lambda: len(payload_processes()) == 2, "both run")
    alive = payload_processes()
    other.ask(wire.SIGNAL, value=int(signal.SIGKILL))
    monitor.wait()

    assert started.value in alive
    assert set() == payload_processes()


def test_execs_end_with_their_container(cgroup_bench: Bench) -> None:
    """When init ends, its exec'd processes are killed and their clients told, before the container is over."""
    monitor, _ = cgroup_bench.run("trap", "10", "0")
    monitor.wait_ready()
    channel, _ = execute(monitor, "tree", "2")
    wait_for(lambda: len(payload_processes()) == 4, "the tree has grown")
    channel.send(wire.WAIT)

    monitor.connect().ask(wire.SIGNAL, value=int(signal.SIGUSR1))
    messages = [channel.receive(), channel.receive()]

    assert [signal.SIGKILL, 0] == [message.value for message in messages]
    assert set() == payload_processes()


def test_what_an_exec_leaves_running_keeps_running(cgroup_bench: Bench) -> None:
    """A background process outlives its exec; its cgroup goes with the container."""
    monitor, _ = cgroup_bench.run("sleep")
    channel, _ = execute(monitor, "tree", "1")
    wait_for(lambda: len(payload_processes()) == 3, "the tree has grown")

    channel.ask(wire.SIGNAL, value=int(signal.SIGKILL))
    exited = channel.expect(wire.EXITED)

    assert signal.SIGKILL == exited.value
    wait_for(lambda: len(payload_processes()) == 2, "init and what the exec left")  # one that forks may be missed once


def test_a_flood_of_execs_is_served_or_refused(cgroup_bench: Bench) -> None:
    """Sixty-four sessions at a time; one more is refused, and ended ones make room."""
    monitor, init = cgroup_bench.run("sleep")
    sessions = [execute(monitor, "sleep") for _ in range(64)]
    assert all(started.type == wire.STARTED for _, started in sessions)

    _, refused = execute(monitor, "sleep")
    for channel, _ in sessions:
        channel.send(wire.KILL_TREE)
    ends = [{channel.receive().type, channel.receive().type} for channel, _ in sessions]
    for channel, _ in sessions:
        channel.close()
    _, again = execute(monitor, "exit", "0")

    assert (wire.ERROR, 11) == (refused.type, refused.error)  # EAGAIN
    assert [{wire.OK, wire.EXITED}] * 64 == ends
    assert wire.STARTED == again.type
    wait_for(lambda: payload_processes() == {init}, "all of them are gone")


def test_many_execs_leave_no_descriptor(cgroup_bench: Bench) -> None:
    """The monitor has as many descriptors and mappings after 300 execs as before."""
    monitor, _ = cgroup_bench.run("sleep")
    monitor.wait_ready()

    def held() -> tuple[int, int]:
        maps = Path(f"/proc/{monitor.pid}/maps").read_text().splitlines()
        return len(os.listdir(f"/proc/{monitor.pid}/fd")), len(maps)

    before = held()
    for _ in range(300):
        channel, _ = execute(monitor, "exit", "0")
        channel.expect(wire.EXITED)
        channel.close()

    wait_for(lambda: held() == before, "everything is given back")


def refuse_unsealed(monitor: Monitor) -> Message:
    """Ask with a plan that the client could still change."""
    memfd = os.memfd_create("plan", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.write(memfd, wire.request(plan=exec_plan("exit")))
    answer = monitor.connect().ask(wire.EXEC, fds=[memfd, 0, 0, 0])
    os.close(memfd)
    return answer


def test_a_plan_that_can_change_is_refused(bench: Bench) -> None:
    """The plan must be sealed against writing and shrinking: it is read while it runs."""
    monitor, _ = bench.run("sleep")

    answer = refuse_unsealed(monitor)

    assert (wire.ERROR, 1) == (answer.type, answer.error)  # EPERM


@pytest.mark.parametrize(
    ("data", "error"),
    [(b"", 74), (b"x" * 100, 74), (wire.request(plan=[])[:-1], 74), (wire.request(plan=[b"\0" * 8]), 74)],
)
def test_a_plan_that_is_none_is_refused(bench: Bench, data: bytes, error: int) -> None:
    """Bytes that are no request are an error of the client; the monitor goes on."""
    monitor, _ = bench.run("sleep")
    channel = monitor.connect()
    memfd = wire.seal(data)

    answer = channel.ask(wire.EXEC, fds=[memfd, 0, 0, 0])
    os.close(memfd)

    assert (wire.ERROR, error) == (answer.type, answer.error)  # EBADMSG
    assert wire.OK == channel.ask(wire.SIGNAL, value=int(signal.SIGURG)).type


@pytest.mark.parametrize(("flags", "count"), [(0, 0), (0, 1), (0, 3), (wire.EXEC_TERMINAL, 4)])
def test_the_descriptors_must_fit_the_flags(bench: Bench, flags: int, count: int) -> None:
    """A request and three streams, or only a request for a terminal."""
    monitor, _ = bench.run("sleep")
    memfd = wire.seal(wire.request(plan=exec_plan("exit")))

    answer = monitor.connect().ask(wire.EXEC, flags=flags, fds=[memfd] * count)
    os.close(memfd)

    assert (wire.ERROR, 22) == (answer.type, answer.error)  # EINVAL
