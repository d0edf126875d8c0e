"""Story: what a container may see and do unless it is told otherwise."""

from __future__ import annotations

import os

import pytest

import container_kit as ck
from container_kit import wait


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
