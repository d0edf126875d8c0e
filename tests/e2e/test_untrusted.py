"""Story: code that nobody vouches for, under a profile of which nothing is waived.

Here the host has all that `Security.untrusted()` asks for; what it says where something is missing is in
test_profiles.py, bombs a hundred times over are rows F34 and F35.
"""

from __future__ import annotations

from pathlib import Path

import pytest

import container_kit as ck
from container_kit import Resources, Security, errors

pytestmark = [pytest.mark.guest, pytest.mark.needs_root, pytest.mark.needs_controllers("memory", "pids")]

MOST = 16  # processes
PROFILE = Security.untrusted(memory="16m", pids=MOST, scratch="4m", time_limit=60)
SLEEP = ["payload", "sleep", "1000"]

# x86-64's numbers: syscalls of asm/unistd_64.h
MOUNT, UNSHARE, KEYCTL, BPF, PTRACE, SETUID, IO_URING_SETUP = 165, 272, 250, 321, 101, 105, 425


def attempt(engine: ck.Engine, image: ck.Image, *command: str, security: Security = PROFILE) -> ck.Completed[str]:
    """Run a command of the payload under the profile."""
    return ck.run(image, ["payload", *command], security=security, max_output=1 << 16, engine=engine, text=True)


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        (("open", "r", "/etc/shadow"), "ENOENT"),
        (("open", "c", "/bin/new"), "EROFS"),
        (("open", "w", "/etc/os-release"), "EROFS"),
        (("open", "w", "/proc/sys/kernel/core_pattern"), "EACCES"),
        (("open", "w", "/proc/sysrq-trigger"), "EACCES"),
        (("mkdir", "/sys/fs/cgroup/new"), "EROFS"),
        (("socket", "38"), "EAFNOSUPPORT"),
        (("socket", "40"), "EAFNOSUPPORT"),
        (("connect", "192.0.2.1", "80"), "ENETUNREACH"),
        (("mknod", "/tmp/disk", "8", "0"), "EPERM"),
        (("chown", "1", "1", "/tmp"), "EPERM"),
        (("syscall", str(MOUNT), "0", "0", "0", "0", "0"), "EPERM"),
        (("syscall", str(UNSHARE), str(0x10000000)), "EPERM"),
        (("syscall", str(KEYCTL), "0"), "EPERM"),
        (("syscall", str(BPF), "0", "0", "0"), "EPERM"),
        (("syscall", str(PTRACE), "0", "0", "0", "0"), "EPERM"),
        (("syscall", str(SETUID), "1"), "EPERM"),
        (("syscall", str(IO_URING_SETUP), "1", "0"), "EPERM"),
    ],
    ids=str,
)
def test_what_is_out_of_reach_stays_there(
    engine: ck.Engine, image: ck.Image, command: tuple[str, ...], answer: str
) -> None:
    """Each of the ways out answers with an error, and the program goes on as if there were none."""
    result = attempt(engine, image, *command)

    assert answer in result.stdout + result.stderr


def test_what_is_used_up_is_its_own(engine: ck.Engine, image: ck.Image) -> None:
    """Processes, memory, scratch space, output and time each end at their bound, and the result says which."""
    quick = Security.untrusted(memory="16m", pids=MOST, scratch="4m", time_limit=0.5)

    forks = attempt(engine, image, "forks", "1000")
    memory = attempt(engine, image, "memory", "64")
    scratch = attempt(engine, image, "fill", "/tmp/x", "64", "--sync")
    output = attempt(engine, image, "flood", str(1 << 20))
    time = attempt(engine, image, "ignore-term", security=quick)

    assert f"{MOST - 1}\n" == forks.stdout
    assert (137, True, False) == (memory.returncode, memory.oom_killed, memory.timed_out)
    assert "4\n" == scratch.stdout
    assert (True, 1 << 16) == (output.truncated, len(output.stdout))
    assert (137, False, True) == (time.returncode, time.oom_killed, time.timed_out)


def test_a_sandbox_has_ids_that_nobody_else_has(engine: ck.Engine, image: ck.Image) -> None:
    """Root inside is a number without rights outside, another one for each container."""
    first, second = (ck.start(image, SLEEP, security=PROFILE, engine=engine) for _ in range(2))

    maps = [Path(f"/proc/{box.pid}/uid_map").read_text().split() for box in (first, second)]
    owners = [Path(f"/proc/{box.pid}/task/{box.pid}").stat().st_uid for box in (first, second)]

    ranges = [range(int(start), int(start) + int(size)) for _, start, size in maps]
    assert not set(ranges[0]) & set(ranges[1])
    assert 0 not in (*ranges[0], *ranges[1])
    assert [ids.start for ids in ranges] == owners or [0, 0] == owners  # root's where it cannot be traced


def test_privileges_can_be_gained_under_a_filter_with_ids_of_its_own(engine: ck.Engine, image: ck.Image) -> None:
    """Without no_new_privs the filter takes privileges: in the container's user namespace it has them at first."""
    security = Security(userns="auto", no_new_privileges=False)
    first = ck.run(image, ["payload", "seccomp"], security=security, engine=engine, text=True)
    later = ck.start(image, SLEEP, security=security, engine=engine).exec(["payload", "seccomp"], text=True)

    assert [["Seccomp:", "2"]] * 2 == [result.stdout.split()[:2] for result in (first, later)]


def test_nothing_of_the_host_is_mounted_inside(engine: ck.Engine, image: ck.Image) -> None:
    """One root, and below it what the container was given: kernel file systems, its own tmpfs, six nodes."""
    lines = attempt(engine, image, "mounts").stdout.splitlines()

    targets = [line.split()[4] for line in lines]
    known = ("/", "/proc", "/dev", "/sys", "/tmp", "/var/tmp", "/run", "/etc/")
    assert 1 == targets.count("/")
    assert [] == [target for target in targets if not (target in known or target.startswith(known[1:]))]


def test_its_cgroup_holds_what_the_profile_says(engine: ck.Engine, image: ck.Image) -> None:
    """Memory without swap and processes, set before its first instruction; what comes later by exec is inside."""
    box = ck.start(image, SLEEP, security=PROFILE, engine=engine)
    cgroup = Path(box.inspect().cgroup or "")

    later = box.exec(["payload", "forks", "1000"], text=True)

    wanted = {"memory.max": 16 << 20, "memory.swap.max": 0, "pids.max": MOST}
    there = {name: int((cgroup / name).read_text()) for name in wanted if (cgroup / name).exists()}
    assert {name: value for name, value in wanted.items() if name in there} == there
    assert {"memory.max", "pids.max"} <= there.keys()
    assert int(later.stdout) < MOST


def test_its_bounds_can_be_moved_but_not_taken_away(engine: ck.Engine, image: ck.Image) -> None:
    """An update that would leave it without one of them is refused, and nothing changes."""
    box = ck.start(image, SLEEP, security=PROFILE, engine=engine)

    box.update(resources=Resources(pids=MOST + 1))
    with pytest.raises(errors.InvalidSpecError):
        box.update(resources=Resources(pids=-1))

    assert MOST + 1 == box.inspect().config.resources.pids
    assert f"{MOST + 1}\n" == (Path(box.inspect().cgroup or "") / "pids.max").read_text()
