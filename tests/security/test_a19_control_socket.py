"""A19: what controls a container can be reached from one that shares the host's network (CVE-2020-15257)."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

import container_kit as ck
from tests.e2e.patience import eventually
from tests.security.rigs import Rig

CONNECT = """
import os, socket, sys
if sys.argv[2] == "stranger":
    os.setgroups([]); os.setresgid(54321, 54321, 54321); os.setresuid(54321, 54321, 54321)
client = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
client.settimeout(20)
try:
    client.connect(sys.argv[1])
    client.send(bytes([255]) + bytes(47))
    print("answered" if client.recv(100) else "hung up")
except OSError as error:
    print(type(error).__name__)
"""


def sockets_of(rig: Rig, box: ck.Container) -> Path:
    """Return the container's runtime directory."""
    return Path(rig.engine.site.home.container_runtime_dir(box.id))


def abstract_sockets() -> set[str]:
    """Return the names of abstract sockets in this network namespace (unix(7))."""
    lines = Path("/proc/net/unix").read_text().splitlines()[1:]
    return {line.split()[-1] for line in lines if line.split()[-1].startswith("@")}


def test_A19_the_control_socket_is_a_private_file(rig: Rig) -> None:
    """Mode 0600 in directories of mode 0700, and no abstract socket appears for a container."""
    before = abstract_sockets()
    box = rig.start()
    place = sockets_of(rig, box)

    box.exec(["payload", "true"])

    assert 0o600 == (place / "control.sock").lstat().st_mode & 0o7777
    assert {0o700} == {path.lstat().st_mode & 0o7777 for path in (place, place.parent)}
    assert os.geteuid() == (place / "control.sock").lstat().st_uid
    eventually(lambda: abstract_sockets() <= before, "no abstract socket but what others have for a moment")


def test_A19_a_container_with_the_hosts_network_cannot_connect(rig: Rig) -> None:
    """Neither by the path, which is not there, nor by any name of an abstract socket."""
    box = rig.start()
    path = sockets_of(rig, box) / "control.sock"

    with rig.start(network="host") as other:
        by_path = other.exec(["payload", "connect-unix", str(path)])
        by_name = other.exec(["payload", "connect-unix", f"@{path}"])
        by_short_name = other.exec(["payload", "connect-unix", f"@ck-{box.id}"])

    assert all(attempt.returncode == 1 for attempt in (by_path, by_name, by_short_name))
    assert "running" == box.status


@pytest.mark.needs_root
def test_A19_a_stranger_is_not_listened_to_even_when_the_file_is_open_to_all(rig: Rig) -> None:
    """Who has connected is asked of the kernel (SO_PEERCRED), whatever became of the file's mode."""
    box = rig.start()
    place = sockets_of(rig, box)
    (place / "control.sock").chmod(0o666)
    place.chmod(0o711)

    answers = {who: talk_as(who, place) for who in ("root", "stranger")}

    assert "answered" == answers["root"]
    assert answers["stranger"] in ("hung up", "BrokenPipeError", "ConnectionResetError")
    assert "running" == box.status


def talk_as(who: str, place: Path) -> str:
    """Connect as a user from a directory that is passed open: the others on the way need not let it through."""
    with open_directory(place) as directory:
        path = f"/proc/self/fd/{directory}/control.sock"
        command = [sys.executable, "-c", CONNECT, path, who]
        done = subprocess.run(command, pass_fds=[directory], capture_output=True, text=True, check=True)
        return done.stdout.strip()


@contextmanager
def open_directory(place: Path) -> Generator[int]:
    """Open a directory: a path through its descriptor is short enough for sun_path (unix(7))."""
    directory = os.open(place, os.O_PATH | os.O_DIRECTORY)
    try:
        yield directory
    finally:
        os.close(directory)


def test_A19_garbage_on_the_control_socket_ends_nothing(rig: Rig) -> None:
    """Messages of every size and type are answered or hung up on; the container goes on."""
    box = rig.start()

    with open_directory(sockets_of(rig, box)) as directory:
        for size in (0, 1, 47, 48, 49, 4096, 65536):
            with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as client:
                client.connect(f"/proc/self/fd/{directory}/control.sock")
                client.send(b"\xff" * size)

    assert "running" == box.status
    assert 0 == box.exec(["payload", "true"]).returncode
