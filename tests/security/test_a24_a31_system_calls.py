"""A24, A31: families of sockets and ways into the kernel that a filter forgets (CVE-2026-31431).

That the filter decides as it should for every number is compared with libseccomp in
tests/integration/test_seccomp.py; here the kernel is asked.
"""

from __future__ import annotations

import platform

import pytest

import container_kit as ck
from tests.security.rigs import Rig

AF_UNIX, AF_INET, AF_INET6, AF_ALG, AF_VSOCK = 1, 2, 10, 38, 40  # linux/socket.h
X32_BIT = 0x40000000
GETPID = {"x86_64": 39, "aarch64": 172}
FORBIDDEN = {
    # name: number on x86_64, and on the architectures that have the common table
    "kexec_load": (246, 104),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "pivot_root": (155, 41),
    "swapon": (167, 224),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425),
    "open_by_handle_at": (304, 265),
    "init_module": (175, 105),
    "mount": (165, 40),
    "unshare": (272, 97),
    "setns": (308, 268),
    "fsopen": (430, 430),
    "move_mount": (429, 429),
}


@pytest.mark.parametrize("way", ["run", "exec"])
@pytest.mark.parametrize("family", [AF_ALG, AF_VSOCK])
def test_A24_sockets_of_the_kernels_cryptography_and_of_virtual_machines_are_forbidden(
    rig: Rig, family: int, way: str
) -> None:
    """EPERM, by our profile and by Docker's; the ordinary families work."""
    docker = ck.Security(seccomp=ck.SeccompMode.DOCKER)

    assert "EPERM\n" == rig.output(way, "socket", str(family))
    assert "EPERM\n" == rig.output(way, "socket", str(family), security=docker)
    for ordinary in (AF_UNIX, AF_INET):
        assert "ok\n" == rig.output(way, "socket", str(ordinary))


@pytest.mark.parametrize("way", ["run", "exec"])
def test_A31_calls_that_are_not_on_the_list_fail(rig: Rig, way: str) -> None:
    """Each with EPERM, whatever its arguments; ENOSYS where nobody would know it."""
    column = 0 if platform.machine() == "x86_64" else 1
    box = rig.start()

    answers = {
        name: (
            box.exec(["payload", "syscall", str(numbers[column])], text=True)
            if way == "exec"
            else rig.run("syscall", str(numbers[column]))
        ).stdout
        for name, numbers in FORBIDDEN.items()
    }

    assert {"-1 EPERM\n"} == set(answers.values()), answers


@pytest.mark.parametrize("way", ["run", "exec"])
def test_A31_the_32_bit_ways_into_the_kernel_are_closed(rig: Rig, way: str) -> None:
    """x32 and int 0x80 have numbers of their own, which could mean something else, and socketcall (A24)."""
    number = GETPID[platform.machine()]
    x32 = rig.output(way, "syscall", str(X32_BIT | number))
    i386 = rig.output(way, "int80", "20")
    own = rig.output(way, "syscall", str(number))

    assert x32 in ("-1 EPERM\n", "-1 ENOSYS\n")
    assert i386 in ("EPERM\n", "ENOSYS\n", "")  # the last: it was killed
    assert own.endswith(" ok\n")
