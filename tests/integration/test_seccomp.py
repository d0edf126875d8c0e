"""seccomp: which system calls a container has, asked of the kernel that runs the filter (seccomp(2))."""

from __future__ import annotations

import errno
import platform

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
