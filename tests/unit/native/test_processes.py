"""Who goes on, what is reported, and the exec (execute.c, ops_process.c)."""

from __future__ import annotations

import errno
import os
import signal
from pathlib import Path

import pytest

from container_kit._plan.ops import (
    Chdir,
    EnterPidNamespace,
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
    Running,
    attach,
    container,
    dev,
    ended,
    execute,
    join,
    run_payload,
)

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_overlay]

BOTH_MEMORIES = pytest.mark.parametrize("flags", ["", "m"], ids=["shared memory", "own memory"])


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
    """Nothing is blocked or handled, although the launcher blocks all; what is ignored is the spawner's business."""
    launch = driver.run(container(payload_rootfs, end=run_payload("cat", "/proc/self/status")), flags=flags)

    masks = dict(line.split(":\t", 1) for line in launch.lines if line.startswith("Sig"))
    assert {int(masks[name], 16) for name in ("SigBlk", "SigCgt")} == {0}


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
        (JoinNamespaces(namespaces=SIX), EnterPidNamespace(), *run_payload("cat")),
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

    assert launch.failure == (3, errno.ENOENT)
    assert (launch.status, launch.joined_status) == (0, 125 << 8)


def test_joining_without_a_target_fails(driver: Driver) -> None:
    """No pidfd, no namespaces."""
    steps = (JoinNamespaces(namespaces=SIX), EnterPidNamespace(), *run_payload("true"))

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


def test_attributes_of_a_mount_hold_for_exec(driver: Driver, payload_rootfs: Path) -> None:
    """A program on a file system mounted noexec is not a candidate."""
    gather = (NewFilesystem(slot=2, fstype="tmpfs", attributes=MountAttr.NOEXEC),)

    launch = driver.run(
        container(payload_rootfs, attach(2, "/w", DIRECTORY), gather=gather, end=(Ready(), *execute("/w")))
    )

    assert launch.failure[1] == errno.EACCES
