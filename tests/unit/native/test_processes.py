"""Who goes on, who stays behind, what is reported, and the exec (execute.c, ops_process.c, reaper.c)."""

from __future__ import annotations

import errno
import os
import select
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from container_kit._plan.ops import (
    Chdir,
    Exec,
    ForkInit,
    Hostname,
    InitFlag,
    JoinNamespaces,
    MountAttr,
    Namespace,
    NewFilesystem,
    ParentDeathSignal,
    Ready,
    SlotNode,
    StartSession,
    Step,
    Terminal,
    Umask,
)
from container_kit._spec.paths import ContainerPath
from tests.unit.native.harness import (
    DIRECTORY,
    DONE,
    PAYLOAD,
    SIX,
    Driver,
    Launch,
    Running,
    attach,
    container,
    dev,
    run_payload,
)

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_overlay]

DEADLINE_MS = 10_000
BOTH_MEMORIES = pytest.mark.parametrize("flags", ["", "m"], ids=["shared memory", "own memory"])


def ended(pid: int) -> bool:
    """Wait for the end of a process that may not be ours."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        return bool(poll.poll(DEADLINE_MS))
    finally:
        os.close(pidfd)


def execute(*paths: str, argv: tuple[str, ...] = ("payload", "true")) -> tuple[Step, ...]:
    """Return the end of a plan with these candidates."""
    return (Exec(candidates=tuple(map(ContainerPath, paths)), argv=argv, env=()),)


# ── the report ───────────────────────────────────────────────────────────────────────────────────


@BOTH_MEMORIES
@pytest.mark.parametrize("broken", range(1, 9))
def test_broken_step_is_reported_by_its_number(driver: Driver, payload_rootfs: Path, broken: int, flags: str) -> None:
    """Whatever step fails, it is that one that is reported, and nothing after it happens."""
    steps = list(container(payload_rootfs, *[Umask()] * 5))
    steps[broken] = Chdir(path=ContainerPath("/no/such"))

    launch = driver.run(steps, flags=flags)

    assert launch.failure == (broken, errno.ENOENT)
    assert launch.status == 125 << 8


@BOTH_MEMORIES
def test_plan_without_exec_is_done_at_its_end(driver: Driver, payload_rootfs: Path, flags: str) -> None:
    """A probe runs a plan that executes nothing."""
    launch = driver.run(container(payload_rootfs, end=()), flags=flags)

    assert (launch.state, launch.status, driver.run(()).state) == (DONE, 0, DONE)


# ── the exec ─────────────────────────────────────────────────────────────────────────────────────


@BOTH_MEMORIES
def test_arguments_and_environment_arrive(driver: Driver, payload_rootfs: Path, flags: str) -> None:
    """Empty and odd strings included, and nothing else."""
    words = ("a b", "", "ü\n", "=")

    echo = driver.run(container(payload_rootfs, end=run_payload("echo", *words)), flags=flags)
    environment = driver.run(container(payload_rootfs, end=run_payload("env")), flags=flags)

    assert echo.stdout == "a b  ü\n =\n"
    assert environment.lines == ["HOME=/", "WORD=a b"]


def test_large_argument_lists_fit(driver: Driver, payload_rootfs: Path) -> None:
    """The arrays for argv and envp are as large as the plan needs."""
    words = [str(n) for n in range(20_000)]

    assert driver.run(container(payload_rootfs, end=run_payload("echo", *words))).stdout.split() == words


def test_candidates_are_tried_in_order(driver: Driver, payload_rootfs: Path) -> None:
    """What is missing or no program of ours is passed over."""
    end = execute("/no/such", "/etc/passwd/below", "/etc/passwd", "/etc", str(PAYLOAD), argv=("payload", "echo", "x"))

    assert driver.run(container(payload_rootfs, end=end)).lines == ["x"]


@pytest.mark.parametrize(
    ("paths", "error", "detail"),
    [
        ((), errno.ENOENT, 0),
        (("/no/such", "/neither"), errno.ENOENT, 0),
        (("/no/such", "/etc/passwd"), errno.EACCES, 0),
        (("/etc/passwd", "/no/such"), errno.EACCES, 0),
        (("/no/such", "/script"), errno.ENOENT, 2),
        (("/garbage", "/bin/payload"), errno.ENOEXEC, 0),
    ],
)
def test_failed_exec_says_why(
    driver: Driver, payload_rootfs: Path, paths: tuple[str, ...], error: int, detail: int
) -> None:
    """As execvp(3): EACCES outlives ENOENT; a script without its interpreter is pointed out."""
    (driver.directory / "upper").mkdir()
    (driver.directory / "upper" / "script").write_text("#!/no/interpreter\n")
    (driver.directory / "upper" / "garbage").write_bytes(b"\x7fnothing")
    for name in ("script", "garbage"):
        (driver.directory / "upper" / name).chmod(0o755)
    (driver.directory / "upper").chmod(0o755)

    launch = driver.run(container(payload_rootfs, end=execute(*paths)))

    assert (launch.failure[1], launch.detail) == (error, detail)


def test_payload_gets_stdio_and_no_other_descriptor(driver: Driver, payload_rootfs: Path) -> None:
    """64 descriptors that the launcher forgot to mark, directories among them, stay outside (CVE-2024-21626)."""
    decoys = [os.open("/etc", os.O_RDONLY | os.O_DIRECTORY) for _ in range(64)]
    try:
        launch = driver.run(container(payload_rootfs, end=run_payload("fds")), inherit=decoys)
    finally:
        for fd in decoys:
            os.close(fd)

    assert [line.split()[0] for line in launch.lines] == ["0", "1", "2"]
    assert all(line.split()[1].startswith("pipe:") for line in launch.lines)


@BOTH_MEMORIES
def test_signals_are_as_they_were_at_the_beginning_of_time(driver: Driver, payload_rootfs: Path, flags: str) -> None:
    """Nothing is blocked, nothing ignored, although the launcher blocks all and ignores SIGPIPE."""
    launch = driver.run(container(payload_rootfs, end=run_payload("cat", "/proc/self/status")), flags=flags)

    masks = dict(line.split(":\t", 1) for line in launch.lines if line.startswith("Sig"))
    assert {int(masks[name], 16) for name in ("SigBlk", "SigIgn", "SigCgt")} == {0}


# ── the launcher's word ──────────────────────────────────────────────────────────────────────────


@BOTH_MEMORIES
def test_ready_never_passes_when_the_launcher_is_gone(driver: Driver, payload_rootfs: Path, flags: str) -> None:
    """A process whose launcher ended before it was recorded ends itself instead of executing anything."""
    running = driver.start(container(payload_rootfs, end=run_payload("echo", "I ran")), flags=f"{flags}e")

    stdout, _ = running.driver.communicate()
    os.close(running.out)

    assert ended(running.pid)
    assert stdout == ""


@BOTH_MEMORIES
def test_parent_death_signal_follows_the_launcher(driver: Driver, payload_rootfs: Path, flags: str) -> None:
    """A container ends with the process that started it."""
    end = (ParentDeathSignal(signal=signal.SIGKILL), *run_payload("cat"))
    running = driver.start(container(payload_rootfs, end=end), flags=flags)
    running.read_until("outcome")

    running.driver.kill()
    running.driver.wait()

    assert ended(running.pid)
    running.driver.communicate()
    os.close(running.out)


# ── terminals ────────────────────────────────────────────────────────────────────────────────────

DEVPTS = NewFilesystem(slot=3, fstype="devpts", options=("newinstance", "ptmxmode=0666", "mode=0620", "gid=5"))


def terminal_plan(rootfs: Path, *end: Step, gather: tuple[Step, ...] = (DEVPTS,)) -> tuple[Step, ...]:
    """Return a plan with /dev, something at /dev/pts, and a terminal of it."""
    tty = SlotNode(slot=2, path="tty", mode=0o666, major=5, minor=0)
    inside = (attach(2, "/dev"), attach(3, "/dev/pts"), Terminal(rows=33, columns=77))
    return container(rootfs, *inside, gather=(*dev(), tty, *gather), end=end)


def test_terminal_is_stdio_and_controls_the_session(driver: Driver, payload_rootfs: Path) -> None:
    """The payload sits on a pty of its own devpts, of the size asked for; its master comes out."""
    launch = driver.run(terminal_plan(payload_rootfs, *run_payload("tty")), flags="t")

    assert launch.lines == ["/dev/pts/0 33 77 controlling"]


def test_terminal_works_for_a_session_leader(driver: Driver, payload_rootfs: Path) -> None:
    """A step that started a session before is no obstacle."""
    steps = list(terminal_plan(payload_rootfs, *run_payload("tty")))
    steps.insert(-3, StartSession())

    assert driver.run(steps, flags="t").lines == ["/dev/pts/0 33 77 controlling"]


@pytest.mark.parametrize(
    "impostor",
    [
        (NewFilesystem(slot=3, fstype="tmpfs"), SlotNode(slot=3, path="ptmx", mode=0o666, major=5, minor=2)),
        (NewFilesystem(slot=3, fstype="tmpfs"), SlotNode(slot=3, path="ptmx", mode=0o666, major=1, minor=3)),
    ],
)
def test_terminal_demands_the_real_devpts(driver: Driver, payload_rootfs: Path, impostor: tuple[Step, ...]) -> None:
    """A ptmx that is not devpts' own is refused (CVE-2025-52565)."""
    launch = driver.run(terminal_plan(payload_rootfs, *run_payload("tty"), gather=impostor), flags="t")

    assert launch.failure[1] == errno.ENODEV


# ── other namespaces ─────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def inhabited(driver_program: Path, payload_rootfs: Path, tmp_path: Path) -> Iterator[Running]:
    """Give a running container: the payload's cat, whose stdin we hold."""
    directory = tmp_path / "inhabited"
    directory.mkdir()
    steps = container(payload_rootfs, Hostname(hostname="home"), end=run_payload("cat"))
    running = Driver(driver_program, directory).start(steps)
    running.read_until("outcome")

    yield running

    assert running.finish().status in {0, signal.SIGKILL}


def join(driver: Driver, into: Running, *end: Step, flags: str = "") -> Launch:
    """Run steps inside the namespaces of a running container."""
    steps = (JoinNamespaces(namespaces=SIX), *end)
    return driver.run(steps, namespaces=Namespace(0), target=into.pid, flags=flags)


@BOTH_MEMORIES
def test_joining_enters_every_namespace(driver: Driver, inhabited: Running, flags: str) -> None:
    """The process that goes on is in the container, and its pid is known outside."""
    launch = join(driver, inhabited, *run_payload("hostname"), flags=flags)

    assert launch.lines[0].split()[0] == "home"
    assert launch.joined not in {0, launch.pid}
    assert (launch.status, launch.joined_status) == (0, 0)


@BOTH_MEMORIES
def test_joined_process_has_the_namespaces_of_the_target(driver: Driver, inhabited: Running, flags: str) -> None:
    """Each of the six is the target's; the user namespace was left out and is ours."""
    running = driver.start(
        (JoinNamespaces(namespaces=SIX), *run_payload("cat")),
        namespaces=Namespace(0),
        target=inhabited.pid,
        flags=flags,
    )
    joined = int(running.read_until("outcome").split()[-1])

    names = ("mnt", "pid", "ipc", "uts", "net", "cgroup", "user")
    theirs = [os.readlink(f"/proc/{inhabited.pid}/ns/{name}") for name in names]
    found = [os.readlink(f"/proc/{joined}/ns/{name}") for name in names]
    running.finish()

    assert found == theirs


@BOTH_MEMORIES
def test_steps_after_joining_keep_their_numbers(driver: Driver, inhabited: Running, flags: str) -> None:
    """A failure in the second process is reported like any other."""
    launch = join(driver, inhabited, Umask(), Chdir(path=ContainerPath("/no/such")), flags=flags)

    assert launch.failure == (2, errno.ENOENT)
    assert (launch.status, launch.joined_status) == (0, 125 << 8)


def test_joining_without_a_target_fails(driver: Driver) -> None:
    """No pidfd, no namespaces."""
    steps = (JoinNamespaces(namespaces=SIX), *run_payload("true"))

    assert driver.run(steps, namespaces=Namespace(0)).failure == (0, errno.EBADF)


def test_terminal_in_a_running_container(
    driver: Driver, driver_program: Path, payload_rootfs: Path, tmp_path: Path
) -> None:
    """An exec session can have a pty of the container's devpts."""
    home = tmp_path / "home"
    home.mkdir()
    tty = SlotNode(slot=2, path="tty", mode=0o666, major=5, minor=0)
    inside = (attach(2, "/dev"), attach(3, "/dev/pts"))
    steps = container(payload_rootfs, *inside, gather=(*dev(), tty, DEVPTS), end=run_payload("cat"))
    running = Driver(driver_program, home).start(steps)
    running.read_until("outcome")

    launch = join(driver, running, Terminal(rows=5, columns=6), *run_payload("tty"), flags="t")
    running.finish()

    assert launch.lines == ["/dev/pts/0 5 6 controlling"]


# ── the process that stays behind ────────────────────────────────────────────────────────────────


def test_init_reaps_orphans(driver: Driver, payload_rootfs: Path) -> None:
    """Under the stub no zombies stay."""
    end = (ForkInit(), *run_payload("zombies", "20"))

    assert driver.run(container(payload_rootfs, end=end), flags="m").lines == ["0"]


@pytest.mark.parametrize("status", [0, 7, 255])
def test_init_exits_as_its_child(driver: Driver, payload_rootfs: Path, status: int) -> None:
    """PID 1's exit status is the payload's."""
    launch = driver.run(container(payload_rootfs, end=(ForkInit(), *run_payload("exit", str(status)))), flags="m")

    assert launch.status == status << 8


def test_init_forwards_signals(driver: Driver, payload_rootfs: Path) -> None:
    """A signal to PID 1 reaches the payload, for which it means what it usually means."""
    running = driver.start(container(payload_rootfs, end=(ForkInit(), *run_payload("cat"))), flags="m")
    running.read_until("outcome")

    os.kill(running.pid, signal.SIGTERM)
    running.read_until("status")  # before stdin closes, which would end it as well

    assert running.finish().status == (128 + signal.SIGTERM) << 8


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGHUP, 33, 64])
def test_init_forwards_every_signal(driver: Driver, payload_rootfs: Path, number: int) -> None:
    """Those that a libc keeps for itself as well; USR1 is an ordinary signal without SUBREAPER."""
    running = driver.start(container(payload_rootfs, end=(ForkInit(), *run_payload("cat"))), flags="m")
    running.read_until("outcome")

    os.kill(running.pid, number)
    running.read_until("status")

    assert running.finish().status == (128 + number) << 8


def test_init_reports_the_failure_of_its_child(driver: Driver, payload_rootfs: Path) -> None:
    """Steps after FORK_INIT fail with their number; the process ends with the failed child's status."""
    launch = driver.run(container(payload_rootfs, ForkInit(), Chdir(path=ContainerPath("/no/such"))), flags="m")

    assert launch.failure == (5, errno.ENOENT)
    assert launch.status == 125 << 8


def test_init_never_stays_in_shared_memory(driver: Driver, payload_rootfs: Path) -> None:
    """FORK_INIT in a process that lives in its launcher's memory is refused."""
    assert driver.run(container(payload_rootfs, ForkInit())).failure == (4, errno.EINVAL)


def test_init_keeps_no_descriptor(driver: Driver, payload_rootfs: Path) -> None:
    """The process that stays behind holds nothing open: not stdio, not the report, no directory."""
    running = driver.start(container(payload_rootfs, end=(ForkInit(), *run_payload("cat"))), flags="m")
    running.read_until("outcome")

    descriptors = os.listdir(f"/proc/{running.pid}/fd")
    running.finish()

    assert descriptors == []


def processes_in(namespace_of: int) -> set[int]:
    """Return the pids in the pid namespace of a process."""
    wanted = os.readlink(f"/proc/{namespace_of}/ns/pid")
    found: set[int] = set()
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            if os.readlink(f"/proc/{name}/ns/pid") == wanted:
                found.add(int(name))
        except OSError:  # ended meanwhile
            continue
    return found


def start_session(driver: Driver, into: Running, *steps: Step) -> tuple[Running, int]:
    """Start an exec session of five orphans in sessions of their own, under a reaper; return both."""
    under_reaper = (ForkInit(flags=InitFlag.SUBREAPER), *steps, *run_payload("fork-tree", "5"))
    running = driver.start(
        (JoinNamespaces(namespaces=SIX), *under_reaper),
        namespaces=Namespace(0),
        target=into.pid,
        flags="m",
    )
    reaper = int(running.read_until("outcome").split()[-1])
    assert running.driver.stdout is not None
    assert running.driver.stdout.readline() == "ready\n"
    return running, reaper


@pytest.fixture
def session(driver: Driver, inhabited: Running) -> tuple[Running, int]:
    """Give such a session and its reaper."""
    running, reaper = start_session(driver, inhabited)
    assert len(processes_in(inhabited.pid)) == 8

    return running, reaper


def test_subreaper_ends_everything_it_stands_above(session: tuple[Running, int], inhabited: Running) -> None:
    """On SIGUSR1 the session and all its descendants end, and nothing else of the container."""
    running, reaper = session

    os.kill(reaper, signal.SIGUSR1)
    launch = running.finish()

    assert launch.joined_status == 137 << 8
    assert processes_in(inhabited.pid) == {inhabited.pid}


def test_subreaper_ends_children_that_become_orphans_by_it(driver: Driver, inhabited: Running) -> None:
    """Killing a parent makes its children ours, and they are next."""
    running, reaper = start_session(driver, inhabited, ForkInit())
    assert len(processes_in(inhabited.pid)) == 9

    os.kill(reaper, signal.SIGUSR1)
    launch = running.finish()

    assert launch.joined_status == 137 << 8
    assert processes_in(inhabited.pid) == {inhabited.pid}


def test_subreaper_ends_by_the_signal_that_ended_its_child(session: tuple[Running, int], inhabited: Running) -> None:
    """The wait status is the payload's; what it left running stays with the container."""
    running, reaper = session

    os.kill(reaper, signal.SIGTERM)
    running.read_until("status")
    left = processes_in(inhabited.pid)
    os.kill(inhabited.pid, signal.SIGKILL)

    assert running.finish().joined_status == signal.SIGTERM
    assert len(left) == 6


def test_attributes_of_a_mount_hold_for_exec(driver: Driver, payload_rootfs: Path) -> None:
    """A program on a file system mounted noexec is not a candidate."""
    gather = (NewFilesystem(slot=2, fstype="tmpfs", attributes=MountAttr.NOEXEC),)

    launch = driver.run(
        container(payload_rootfs, attach(2, "/w", DIRECTORY), gather=gather, end=(Ready(), *execute("/w")))
    )

    assert launch.failure[1] == errno.EACCES
