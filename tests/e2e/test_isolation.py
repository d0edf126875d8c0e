"""Story: what a container may see and do unless it is told otherwise."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

import container_kit as ck
from container_kit import wait

DECOYS = 64
# capabilities(7): CHOWN 0, DAC_OVERRIDE 1, FOWNER 3, FSETID 4, KILL 5, SETGID 6, SETUID 7, SETPCAP 8,
# NET_BIND_SERVICE 10, SYS_CHROOT 18, SETFCAP 31
DEFAULT_CAPABILITIES = 0x800405FB
CAP_NET_RAW = 1 << 13


@pytest.fixture
def decoys() -> Iterator[list[int]]:
    """Give the caller many descriptors that survive an exec, as careless programs have."""
    fds = [os.open("/dev/null", os.O_RDONLY) for _ in range(DECOYS)]
    for fd in fds:
        os.set_inheritable(fd, True)

    yield fds

    for fd in fds:
        os.close(fd)


def numbers(output: str) -> list[int]:
    """Return the descriptors that `payload fds` printed."""
    return sorted(int(line.split()[0]) for line in output.splitlines())


def fields(output: str) -> dict[str, str]:
    """Read lines of /proc/self/status."""
    return {name: value.strip() for name, _, value in (line.partition(":") for line in output.splitlines())}


def test_only_the_three_standard_descriptors_are_inside(engine: ck.Engine, image: ck.Image, decoys: list[int]) -> None:
    """Nothing of what the caller has open reaches a container: not by run, start, init or exec."""
    run = ck.run(image, ["payload", "fds"], engine=engine, text=True).stdout
    with_init = ck.run(image, ["payload", "fds"], init=True, engine=engine, text=True).stdout
    box = ck.start(image, ["payload", "sleep", "1000"], engine=engine)
    exec_ = box.exec(["payload", "fds"], text=True).stdout
    of_init = Path(f"/proc/{box.pid}/fd")

    assert [0, 1, 2] == numbers(run)
    assert [0, 1, 2] == numbers(with_init)
    assert [0, 1, 2] == numbers(exec_)
    assert not os.access(of_init, os.R_OK) or ["0", "1", "2"] == sorted(os.listdir(of_init))


@pytest.mark.parametrize("way", ["run", "exec"])
def test_capabilities_are_the_default_ones(engine: ck.Engine, image: ck.Image, way: str) -> None:
    """Root inside has eleven capabilities, and nothing is inheritable or ambient."""
    if way == "run":
        output = ck.run(image, ["payload", "caps"], engine=engine, text=True).stdout
    else:
        output = (
            ck.start(image, ["payload", "sleep", "1000"], engine=engine).exec(["payload", "caps"], text=True).stdout
        )

    expected = f"{DEFAULT_CAPABILITIES:016x}"
    none = f"{0:016x}"
    assert {"CapInh": none, "CapPrm": expected, "CapEff": expected, "CapBnd": expected, "CapAmb": none} == fields(
        output
    )


@pytest.mark.needs_subids
def test_a_user_other_than_root_has_no_capability(engine: ck.Engine, image: ck.Image) -> None:
    """Only the bounding set is left, which no_new_privileges keeps from being used."""
    caps = fields(ck.run(image, ["payload", "caps"], user="app", engine=engine, text=True).stdout)

    assert {f"{0:016x}"} == {caps["CapPrm"], caps["CapEff"], caps["CapAmb"], caps["CapInh"]}


def test_capabilities_can_be_added_and_all_dropped(engine: ck.Engine, image: ck.Image) -> None:
    """What was asked for is what there is."""
    more = ck.run(image, ["payload", "caps"], security=ck.Security(cap_add=["NET_RAW"]), engine=engine, text=True)
    none = ck.run(image, ["payload", "caps"], security=ck.Security.untrusted(), engine=engine, text=True)

    assert f"{DEFAULT_CAPABILITIES | CAP_NET_RAW:016x}" == fields(more.stdout)["CapEff"]
    assert {f"{0:016x}"} == set(fields(none.stdout).values())


@pytest.mark.parametrize("way", ["run", "exec"])
def test_no_new_privileges_and_a_seccomp_filter_are_in_force(engine: ck.Engine, image: ck.Image, way: str) -> None:
    """For the command and for further processes alike; a forbidden call fails with EPERM."""
    box = ck.start(image, ["payload", "sleep", "1000"], engine=engine)

    def output(*command: str) -> str:
        if way == "exec":
            return box.exec(["payload", *command], text=True).stdout
        return ck.run(image, ["payload", *command], engine=engine, text=True).stdout

    assert {"NoNewPrivs": "1", "Seccomp": "2"} == fields(output("status", "NoNewPrivs", "Seccomp"))
    assert "-1 EPERM\n" == output("keyctl") or "" == output("keyctl")


def test_what_is_on_by_default_can_be_switched_off(engine: ck.Engine, image: ck.Image) -> None:
    """Then the container is as the caller is."""
    own = fields(Path("/proc/self/status").read_text())
    security = ck.Security(seccomp=ck.SeccompMode.UNCONFINED, no_new_privileges=False)

    seen = ck.run(
        image, ["payload", "status", "NoNewPrivs", "Seccomp"], security=security, engine=engine, text=True
    ).stdout

    assert {"NoNewPrivs": own["NoNewPrivs"], "Seccomp": own["Seccomp"]} == fields(seen)


def test_masked_files_are_empty(engine: ck.Engine, image: ck.Image) -> None:
    """They are the null device, so reading gives nothing of the host."""
    paths = existing("/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/interrupts")

    shown = ck.run(image, ["payload", "cat", *paths], engine=engine)
    kinds = ck.run(image, ["payload", "stat", *paths], engine=engine, text=True).stdout.splitlines()

    assert (b"", 0) == (shown.stdout, shown.returncode)
    assert [["char", "1:3", path] for path in paths] == [[*line.split()[::5], line.split()[6]] for line in kinds]


def existing(*paths: str) -> list[str]:
    """Return those of the paths that this kernel has; what it lacks cannot be hidden."""
    found = [path for path in paths if os.path.exists(path)]
    assert found
    return found


def test_masked_directories_are_empty(engine: ck.Engine, image: ck.Image) -> None:
    """/sys/firmware has something on the host and nothing inside."""
    assert os.listdir("/sys/firmware")

    completed = ck.run(image, ["payload", "ls", "/sys/firmware"], engine=engine)

    assert (b"", 0) == (completed.stdout, completed.returncode)


def test_kernel_settings_are_read_only(engine: ck.Engine, image: ck.Image) -> None:
    """Even for root inside."""
    paths = existing("/proc/sys/kernel/hostname", "/proc/sysrq-trigger", "/sys/power/state")
    box = ck.start(image, ["payload", "sleep", "1000"], engine=engine)

    answers = [box.exec(["payload", "open", "w", path], text=True).stdout for path in paths]

    # Who is not the host's root has no right to them anyway.
    allowed = {"EROFS\n"} if os.geteuid() == 0 else {"EROFS\n", "EACCES\n"}
    assert set(answers) <= allowed


@pytest.mark.parametrize("kind", ["mnt", "pid", "net", "uts", "ipc", "cgroup"])
def test_every_namespace_is_its_own(engine: ck.Engine, host: ck.Image, kind: str) -> None:
    """The container shares none with the caller."""
    link = f"/proc/self/ns/{kind}"

    inside = ck.run(host, ["readlink", link], engine=engine, text=True).stdout.strip()

    assert inside.startswith(f"{kind}:[")
    assert os.readlink(link) != inside


def test_the_command_is_process_one_and_sees_no_other(engine: ck.Engine, host: ck.Image) -> None:
    """/proc shows the container's processes only."""
    completed = ck.run(host, ck.shell("echo $$; echo /proc/[0-9]*"), engine=engine, text=True)

    assert "1\n/proc/1\n" == completed.stdout


def test_without_network_there_is_a_loopback_that_works(engine: ck.Engine, image: ck.Image) -> None:
    """`lo` is the only link and it is up: processes of one container reach each other."""
    links = ck.run(image, ["payload", "ls", "/sys/class/net"], engine=engine, text=True).stdout
    box = ck.start(image, ["payload", "sleep", "1000"], engine=engine)
    with box.spawn(["payload", "listen", "8080"]):
        box.wait(condition=wait.port(8080))
        answer = box.exec(["payload", "connect", "127.0.0.1", "8080"], text=True).stdout

    assert "lo\n" == links
    assert "hello\n" == answer


def test_two_containers_have_different_loopbacks(engine: ck.Engine, image: ck.Image) -> None:
    """What one listens on, another does not reach."""
    with ck.start(image, ["payload", "listen", "8080"], wait=wait.port(8080), engine=engine):
        answer = ck.run(image, ["payload", "connect", "127.0.0.1", "8080"], engine=engine, text=True).stdout

    assert "ECONNREFUSED\n" == answer


def test_the_hosts_network_can_be_used(engine: ck.Engine, host: ck.Image) -> None:
    """With network="host" the container is in the caller's network namespace."""
    completed = ck.run(host, ["readlink", "/proc/self/ns/net"], network="host", engine=engine, text=True)

    assert os.readlink("/proc/self/ns/net") == completed.stdout.strip()


def test_the_hosts_homes_are_not_in_the_host_image(engine: ck.Engine, host: ck.Image) -> None:
    """Image.host() shows programs, and nothing of users, services or secrets."""
    places = ("/home", "/root", "/srv", "/var/lib", "/etc/ssh")

    listed = ck.run(host, ["ls", "-A", *places], engine=engine, text=True).stdout.splitlines()
    secrets = ck.run(host, ["cat", "/etc/shadow", "/etc/gshadow", "/etc/ssl/private"], engine=engine)

    assert [] == [line for line in listed if line and line.rstrip(":") not in places]
    assert b"" == secrets.stdout
