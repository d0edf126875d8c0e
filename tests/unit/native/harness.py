"""Compiles the executor with sanitizers into small programs, and launches plans with them."""

from __future__ import annotations

import functools
import os
import select
import subprocess
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import attrs

from container_kit._plan.encode import encode_exec_request
from container_kit._plan.ops import (
    Attach,
    AttachHow,
    EnterPidNamespace,
    Exec,
    JoinNamespaces,
    MountAttr,
    Namespace,
    NewFilesystem,
    NewOverlay,
    Pivot,
    Ready,
    SlotDir,
    SlotNode,
    Step,
)
from container_kit._spec.facts import OverlayForm
from container_kit._spec.paths import ContainerPath, HostPath

HERE = Path(__file__).parent
NATIVE = HERE.parents[2] / "_native"
EXECUTOR = ("decode.c", "resolve.c", "execute.c", "reaper.c", *sorted(path.name for path in NATIVE.glob("ops_*.c")))

WARNINGS = (
    "-std=gnu11",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-Wno-gnu-variable-sized-type-not-at-end",  # clang's name for a cmsghdr with its descriptors behind it
    "-g",
    "-O1",
)
SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer")
TIMEOUT = 60  # seconds; nothing here takes one
DEADLINE_MS = 20_000

DONE, FAILED = 2, 1
SIX = Namespace.MOUNT | Namespace.PID | Namespace.IPC | Namespace.UTS | Namespace.NET | Namespace.CGROUP
DIRECTORY = AttachHow.MAKE_DIR
PAYLOAD = ContainerPath("/bin/payload")


@functools.cache
def sanitizer_flags() -> tuple[str, ...]:
    """Return the flags of the sanitizers, or none where the compiler has no libraries for them."""
    with tempfile.TemporaryDirectory() as place:
        source = Path(place, "probe.c")
        source.write_text("int main(void) { return 0; }\n")
        command = [compiler(), *SANITIZERS, "-o", str(Path(place, "probe")), str(source)]
        works = subprocess.run(command, capture_output=True, check=False).returncode == 0
    return SANITIZERS if works else ()


def compiler() -> str:
    """Return the C compiler."""
    return os.environ.get("CC", "cc")


def compile_program(output: Path, sources: Sequence[str | Path], flags: Sequence[str] = ()) -> Path:
    """Compile sources of _native (by name) and of the tests (by path) with sanitizers."""
    files = [str(NATIVE / source) if isinstance(source, str) else str(source) for source in sources]
    command = [compiler(), *WARNINGS, *sanitizer_flags(), f"-I{NATIVE}", "-o", str(output), *files, *flags]
    subprocess.run(command, check=True)
    return output


# ── plans ────────────────────────────────────────────────────────────────────────────────────────


@attrs.frozen
class Steps:
    """Steps as a plan."""

    steps: tuple[Step, ...]


def run_payload(*arguments: str) -> tuple[Step, ...]:
    """Return the end of a plan: execute a command of the payload."""
    return (
        Ready(),
        Exec(candidates=(PAYLOAD,), argv=("payload", *arguments), env=("HOME=/", "WORD=a b")),
    )


def overlay(rootfs: Path, slot: int = 0, form: OverlayForm = OverlayForm.FD) -> NewOverlay:
    """Return the step that makes the root: a writable overlay of the payload's root file system."""
    return NewOverlay(slot=slot, lowers=(HostPath(str(rootfs)),), upper="upper", work="work", form=form)


def proc(slot: int = 1) -> NewFilesystem:
    """Return the step that makes a proc file system."""
    attributes = MountAttr.NOSUID | MountAttr.NODEV | MountAttr.NOEXEC
    return NewFilesystem(slot=slot, fstype="proc", attributes=attributes)


def dev(slot: int = 2) -> tuple[Step, ...]:
    """Return the steps that make a small /dev with the null device and a place for devpts."""
    return (
        NewFilesystem(slot=slot, fstype="tmpfs", attributes=MountAttr.NOSUID, options=("mode=755", "size=64k")),
        SlotNode(slot=slot, path="null", mode=0o666, major=1, minor=3),
        SlotDir(slot=slot, path="pts", mode=0o755),
    )


def attach(slot: int, target: str, how: AttachHow = AttachHow.NONE) -> Attach:
    """Return the step that puts a slot's mount at a target."""
    return Attach(slot=slot, target=ContainerPath(target), how=how)


def container(
    rootfs: Path,
    *inside: Step,
    gather: Iterable[Step] = (),
    end: Iterable[Step] | None = None,
) -> tuple[Step, ...]:
    """Return a plan: root and proc (slots 0 and 1), more to gather, and steps inside the new root."""
    head = (overlay(rootfs), proc(), *gather, Pivot(slot=0), attach(1, "/proc"))
    return (*head, *inside, *(run_payload("true") if end is None else end))


# ── launches ─────────────────────────────────────────────────────────────────────────────────────


@attrs.frozen(kw_only=True)
class Launch:
    """What a launch came to."""

    pid: int
    state: int
    step: int
    error: int
    detail: int
    joined: int
    status: int
    joined_status: int
    stdout: str
    stderr: str  # the address sanitizer says there that it does not know the stacks

    @property
    def failure(self) -> tuple[int, int]:
        """The step that failed and its errno; a launch without one fails the test."""
        assert self.state == FAILED, self
        return self.step, self.error

    @property
    def lines(self) -> list[str]:
        """Return what the payload wrote; a payload that did not end well fails the test."""
        assert (self.state, self.status if not self.joined else self.joined_status) == (0, 0), self
        return self.stdout.splitlines()


@attrs.define
class Running:
    """A driver at work. `out` is what it says about the launch."""

    driver: subprocess.Popen[str]
    out: int
    pid: int = 0
    text: str = ""

    def read_until(self, word: str) -> str:
        """Read what the driver says until a line with this word; return that line."""
        while True:
            for line in self.text.splitlines(keepends=True):
                if line.startswith(word) and line.endswith("\n"):
                    return line
            piece = os.read(self.out, 4096).decode()
            assert piece, f"the driver ended before it said {word}: {self.text} {self.driver.communicate()}"
            self.text += piece

    def finish(self, stdin: str = "") -> Launch:
        """Wait for the end of everything."""
        try:
            stdout, stderr = self.driver.communicate(stdin, timeout=TIMEOUT)
            _, state, step, error, detail, joined = self.read_until("outcome").split()
            _, status, joined_status = self.read_until("status").split()
        finally:
            os.close(self.out)
        return Launch(
            pid=self.pid,
            state=int(state),
            step=int(step),
            error=int(error),
            detail=int(detail),
            joined=int(joined),
            status=int(status),
            joined_status=int(joined_status),
            stdout=stdout,
            stderr=stderr,
        )


@attrs.frozen
class Driver:
    """Launches plans in a container directory of its own."""

    program: Path
    directory: Path
    wrapper: tuple[str, ...] = ()

    def start(
        self,
        steps: Iterable[Step],
        *,
        namespaces: Namespace = SIX,
        target: int = 0,
        flags: str = "",
        inherit: Sequence[int] = (),
    ) -> Running:
        """Start a launch; returns when its process exists. See drive.c for the flags; it gets `inherit` as well."""
        for name in ("upper", "work"):
            (self.directory / name).mkdir(exist_ok=True)
        request = self.directory / "request"
        request.write_bytes(encode_exec_request(Steps(tuple(steps))))
        out, theirs = os.pipe()
        command = [
            *self.wrapper,
            str(self.program),
            str(request),
            str(theirs),
            str(int(namespaces)),
            str(target),
            f"-{flags}",
        ]
        driver = subprocess.Popen(
            command,
            cwd=self.directory,
            pass_fds=[theirs, *inherit],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        os.close(theirs)
        running = Running(driver, out)
        running.pid = int(running.read_until("pid").split()[1])
        return running

    def run(
        self,
        steps: Iterable[Step],
        *,
        namespaces: Namespace = SIX,
        target: int = 0,
        flags: str = "",
        inherit: Sequence[int] = (),
        stdin: str = "",
    ) -> Launch:
        """Launch a plan and wait for its end."""
        running = self.start(steps, namespaces=namespaces, target=target, flags=flags, inherit=inherit)
        return running.finish(stdin)


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


def join(driver: Driver, into: Running, *end: Step, flags: str = "") -> Launch:
    """Run steps inside the namespaces of a running container."""
    steps = (JoinNamespaces(namespaces=SIX), EnterPidNamespace(), *end)
    return driver.run(steps, namespaces=Namespace(0), target=into.pid, flags=flags)
