"""seccomp: which system calls a container has, asked of the kernel that runs the filter (seccomp(2))."""

from __future__ import annotations

import errno
import json
import platform
import signal
from pathlib import Path

import pytest

import container_kit as ck
from container_kit._plan.seccomp_tables import AARCH64, X86_64

NUMBERS = X86_64 if platform.machine() == "x86_64" else AARCH64
AF_ALG, AF_VSOCK, AF_INET, SOCK_STREAM = 38, 40, 2, 1
CLONE_NEWUSER = 0x10000000


def answer(engine: ck.Engine, image: ck.Image, call: str, *arguments: int) -> str:
    """Return the errno's name, or ok, of a system call in a container."""
    command = ["payload", "syscall", str(NUMBERS[call]), *map(str, arguments)]
    return ck.run(image, command, text=True, engine=engine).stdout.split()[1]


REFUSED = (
    *("add_key", "keyctl", "request_key", "bpf", "mount", "umount2", "pivot_root", "setns", "kexec_load"),
    *("init_module", "io_uring_setup", "userfaultfd", "perf_event_open", "open_by_handle_at", "swapon", "reboot"),
)


@pytest.mark.parametrize("call", REFUSED)
def test_what_changes_the_host_or_escapes_is_refused(engine: ck.Engine, image: ck.Image, call: str) -> None:
    """EPERM from the filter, before the kernel looks at the arguments (which would be EFAULT or EINVAL)."""
    assert "EPERM" == answer(engine, image, call, -1, -1, -1, -1, -1)


def test_a_new_user_namespace_is_refused(engine: ck.Engine, image: ck.Image) -> None:
    """It would bring all capabilities over what the kernel offers there."""
    assert "EPERM" == answer(engine, image, "unshare", CLONE_NEWUSER)


def test_clone3_is_unknown(engine: ck.Engine, image: ck.Image) -> None:
    """A filter cannot look into its arguments; ENOSYS makes libraries use clone."""
    assert errno.errorcode[errno.ENOSYS] == answer(engine, image, "clone3", 0, 0)


@pytest.mark.parametrize(("family", "expected"), [(AF_ALG, "EPERM"), (AF_VSOCK, "EPERM"), (AF_INET, "ok")])
def test_sockets_are_those_of_networks_only(engine: ck.Engine, image: ck.Image, family: int, expected: str) -> None:
    """The kernel's crypto and the hypervisor are out of reach (CVE-2026-31431)."""
    assert expected == answer(engine, image, "socket", family, SOCK_STREAM, 0)


def test_an_exec_is_under_the_same_filter(box: ck.Container) -> None:
    """Joining a running container must not be weaker than starting it."""
    refused = box.exec(["payload", "syscall", str(NUMBERS["add_key"]), "-1", "-1"], text=True)
    filters = box.exec(["payload", "seccomp"], text=True)

    assert "EPERM" == refused.stdout.split()[1]
    assert ["2", "1"] == [line.split()[1] for line in filters.stdout.splitlines()]


# ── the other profiles ───────────────────────────────────────────────────────────────────────────


def ask(engine: ck.Engine, image: ck.Image, security: ck.Security, *command: object) -> str:
    """Return the errno's name, or ok, of what the payload does under a profile."""
    words = ["payload", *map(str, command)]
    return ck.run(image, words, text=True, engine=engine, security=security).stdout.split()[1]


@pytest.mark.parametrize(
    ("mode", "expected"), [("docker", "ok"), ("default", "EPERM"), ("strict", "EPERM"), ("unconfined", "ok")]
)
@pytest.mark.needs_machine("x86_64")
def test_a31_calls_of_32_bit_programs_pass_dockers_profile_only(
    engine: ck.Engine, image: ck.Image, mode: str, expected: str
) -> None:
    """Getpid of i386, by int 0x80; nothing of i386 escapes the filter, keyctl is refused in all profiles."""
    security = ck.Security(seccomp=ck.SeccompMode(mode))

    assert expected == ask(engine, image, security, "syscall32", 20)
    if mode != "unconfined":
        assert "EPERM" == ask(engine, image, security, "syscall32", 288, -1)
        assert "EPERM" == ask(engine, image, security, "syscall", NUMBERS["keyctl"], -1)


@pytest.mark.parametrize("mode", ["docker", "default", "strict"])
@pytest.mark.needs_machine("x86_64")
def test_a31_x32_bit_is_no_way_around_the_filter(engine: ck.Engine, image: ck.Image, mode: str) -> None:
    """Mount as a call of x32: refused by the filter, whether the kernel has x32 or not."""
    security = ck.Security(seccomp=ck.SeccompMode(mode))

    assert "EPERM" == ask(engine, image, security, "syscall", 0x40000000 | NUMBERS["mount"], -1, -1, -1)


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (("ptrace", 0), "EPERM"),
        (("msgget", 0, 0o1600), "EPERM"),
        (("memfd_secret", 0), "EPERM"),
        (("ioctl", 0, 0x5412, 0), "EPERM"),
        (("socket", 17, 3, 0), "EAFNOSUPPORT"),
        (("socket", AF_INET, SOCK_STREAM, 132), "EPERM"),
        (("socket", AF_INET, SOCK_STREAM, 0), "ok"),
        (("socket", 16, 3, 0), "ok"),
        (("personality", 0x40000), "EPERM"),
        (("personality", 0xFFFFFFFF), "ok"),
    ],
)
def test_strict_profile_leaves_the_risky_calls_out(
    engine: ck.Engine, image: ck.Image, call: tuple[str, *tuple[int, ...]], expected: str
) -> None:
    """For code that nobody vouches for; the kernel runs the filter."""
    name, *arguments = call
    security = ck.Security(seccomp=ck.SeccompMode.STRICT)

    assert expected == ask(engine, image, security, "syscall", NUMBERS[name], *arguments)


def profile_file(tmp_path: Path, *syscalls: object, **others: object) -> Path:
    """Write a profile that allows everything else."""
    path = tmp_path / "profile.json"
    path.write_text(json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": syscalls, **others}), encoding="utf-8")
    return path


def test_profile_from_a_file_is_in_force_also_after_the_file_is_gone(
    engine: ck.Engine, image: ck.Image, tmp_path: Path
) -> None:
    """It was read when the container was made; an exec is under the same; flags reach the kernel."""
    path = profile_file(
        tmp_path,
        {"names": ["getpriority"], "action": "SCMP_ACT_ERRNO", "errnoRet": errno.EXDEV,
         "args": [{"index": 1, "value": 2**32 + 5, "op": "SCMP_CMP_EQ"}]},
        flags=["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW"],
    )  # fmt: skip
    security = ck.Security(seccomp=str(path))
    with ck.Container.create(image, ["payload", "sleep", "1000"], engine=engine, security=security) as box:
        path.unlink()
        box.start()

        command = ["payload", "syscall", str(NUMBERS["getpriority"]), "0"]
        answers = [box.exec([*command, str(value)], text=True).stdout.split()[1] for value in (2**32 + 5, 2**33)]

    assert "EXDEV" == answers[0]
    assert "EXDEV" != answers[1]


@pytest.mark.parametrize("action", ["SCMP_ACT_KILL_PROCESS", "SCMP_ACT_KILL", "SCMP_ACT_TRAP"])
def test_profile_from_a_file_may_kill(engine: ck.Engine, image: ck.Image, tmp_path: Path, action: str) -> None:
    """The process ends by SIGSYS."""
    security = ck.Security(seccomp=str(profile_file(tmp_path, {"names": ["getpriority"], "action": action})))

    done = ck.run(image, ["payload", "syscall", str(NUMBERS["getpriority"])], engine=engine, security=security)

    assert 128 + signal.SIGSYS == done.returncode


def test_profile_that_cannot_be_used_is_refused_when_the_container_is_made(
    engine: ck.Engine, image: ck.Image, tmp_path: Path
) -> None:
    """A missing file, one that is too large, and one that is no profile; all name the file."""
    missing, large, wrong = tmp_path / "missing", tmp_path / "large", tmp_path / "wrong"
    large.write_text(" " * ((1 << 20) + 1), encoding="ascii")
    wrong.write_text('{"defaultAction": "SCMP_ACT_MAYBE"}', encoding="ascii")

    for path, reason in ((missing, "No such file"), (large, "larger than 1 MiB"), (wrong, "SCMP_ACT_MAYBE")):
        with pytest.raises(ck.errors.InvalidSpecError, match=reason) as caught:
            ck.Container.create(image, ["payload", "true"], engine=engine, security=ck.Security(seccomp=str(path)))
        assert ("seccomp", str(path)) == (caught.value.field, caught.value.value)
