"""What runs in a container, when its PID 1 turns out to have ended and its pid to be of another process."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import attrs
import pytest

from container_kit._linux.processes import ProcessId, own_process_id
from container_kit._runtime.top import list_processes, listening_ports


@pytest.fixture
def ended() -> ProcessId:
    """Give a process that had this process's pid before."""
    return attrs.evolve(own_process_id(), start_time=own_process_id().start_time - 1)


@pytest.fixture
def port() -> Iterator[int]:
    """Give a port on which this process listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_processes_are_those_of_the_pid_namespace_where_there_is_no_cgroup() -> None:
    """This process is among its own."""
    found = list_processes(None, own_process_id())

    assert found is not None
    assert os.getpid() in [process.pid for process in found]


def test_processes_of_a_reused_pid_are_not_told(ended: ProcessId) -> None:
    """They are of the host, or of another container."""
    assert list_processes(None, ended) is None


def test_ports_are_those_of_the_network_namespace(port: int) -> None:
    """Whoever listens on them."""
    assert port in listening_ports(own_process_id())


def test_ports_of_a_reused_pid_are_not_told(ended: ProcessId, port: int) -> None:
    """They are of the host, or of another container."""
    assert frozenset() == listening_ports(ended)
