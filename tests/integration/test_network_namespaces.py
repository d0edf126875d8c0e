"""Network namespaces: an own one with a loopback that is up, or the host's (network_namespaces(7))."""

from __future__ import annotations

import os
import socket

import container_kit as ck


def links(box: ck.Container) -> list[str]:
    """Return the interfaces that a container has."""
    lines = box.exec(["payload", "cat", "/proc/net/dev"], text=True).stdout.splitlines()[2:]
    return [line.split(":")[0].strip() for line in lines]


def test_a_container_has_a_loopback_of_its_own_and_nothing_else(box: ck.Container) -> None:
    """The kernel's table of its namespace has one line; tunnels of some kernels aside."""
    tunnels = ("tunl", "gre", "erspan", "ip_vti", "ip6_vti", "sit", "ip6tnl", "ip6gre")

    assert ["lo"] == [link for link in links(box) if not link.startswith(tunnels)]
    assert os.readlink("/proc/self/ns/net") != os.readlink(f"/proc/{box.pid}/ns/net")


def test_what_listens_on_the_host_is_out_of_reach(box: ck.Container) -> None:
    """Nobody listens on the container's own loopback."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        tried = box.exec(["payload", "connect", "127.0.0.1", str(port)], text=True)

    assert "ECONNREFUSED\n" == tried.stdout


def test_the_hosts_abstract_sockets_are_out_of_reach(engine: ck.Engine, image: ck.Image, box: ck.Container) -> None:
    """They belong to the network namespace (unix(7)); with the host's network they are there."""
    name = f"container_kit-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        server.bind(f"\0{name}")
        server.listen()

        apart = box.exec(["payload", "connect-unix", f"@{name}"], text=True)
        together = ck.run(image, ["payload", "connect-unix", f"@{name}"], network="host", text=True, engine=engine)

    assert ("ECONNREFUSED\n", "connected\n") == (apart.stdout, together.stdout)


def test_no_socket_of_ours_is_abstract(box: ck.Container) -> None:
    """A container with the host's network could reach it (CVE-2020-15257)."""
    with open("/proc/net/unix", encoding="ascii", errors="replace") as table:
        abstract = [line for line in table if "@" in line and ("container_kit/" in line or box.id in line)]

    assert [] == abstract


def test_the_hosts_network_is_the_hosts_namespace(engine: ck.Engine, image: ck.Image) -> None:
    """Nothing is made."""
    with ck.start(image, ["payload", "sleep", "1000"], network="host", engine=engine) as box:
        assert os.readlink("/proc/self/ns/net") == os.readlink(f"/proc/{box.pid}/ns/net")


def test_ports_below_1024_need_no_privilege_in_an_own_network(engine: ck.Engine, image: ck.Image) -> None:
    """net.ipv4.ip_unprivileged_port_start is 0 there, as in Docker."""
    with ck.start(image, ["payload", "sleep", "1000"], engine=engine) as box:
        value = box.exec(["payload", "sysctl", "net.ipv4.ip_unprivileged_port_start"], text=True).stdout

    assert "0\n" == value
