"""What a container uses right now, as a frozen value.

None stands for what this host does not tell, never for zero. Names and units are those
of the kernel's cgroup-v2.rst and proc_net(5), in bytes and seconds.
"""

from __future__ import annotations

from datetime import datetime

import attrs


@attrs.frozen(kw_only=True)
class Stall:
    """How much of the time something was waited for (the kernel's accounting/psi.rst).

    Attributes:
        avg10: percent of the last 10 seconds. avg60: of the last minute. avg300: of the last 5 minutes.
        total_seconds: the time since the container's start.
    """

    avg10: float
    avg60: float
    avg300: float
    total_seconds: float


@attrs.frozen(kw_only=True)
class Pressure:
    """Time lost because a resource was short.

    Attributes:
        some: at least one process waited.
        full: all waited that had work to do.
    """

    some: Stall
    full: Stall | None = None


@attrs.frozen(kw_only=True)
class DeviceTraffic:
    """What went to and came from one block device.

    Attributes:
        number: its major and minor number, `259:0`.
        path: its node on the host, `/dev/nvme0n1`; empty when the host does not tell.
        read_bytes, write_bytes: bytes. read_operations, write_operations: requests.
    """

    number: str
    path: str
    read_bytes: int
    write_bytes: int
    read_operations: int
    write_operations: int


@attrs.frozen(kw_only=True)
class InterfaceTraffic:
    """What one network interface received (rx) and sent (tx), counted since it was made.

    Attributes:
        name: in the container, `eth0`.
        rx_bytes, tx_bytes, rx_packets, tx_packets: what went through.
        rx_errors, tx_errors, rx_dropped, tx_dropped: packets that did not.
    """

    name: str
    rx_bytes: int
    rx_packets: int
    rx_errors: int
    rx_dropped: int
    tx_bytes: int
    tx_packets: int
    tx_errors: int
    tx_dropped: int


@attrs.frozen(kw_only=True)
class Stats:
    """A reading of what a container uses, all of its processes together.

    Attributes:
        read_at: when.
        pids: processes and threads. pids_limit: the most there may be.
        cpu_seconds: CPU time used so far. cpu_user_seconds, cpu_system_seconds: its two parts.
        cpu_percent: CPU time in percent of the time since the reading before, 100 for each busy CPU; None in the first
            reading of a run.
        cpu_periods: periods of a CPU limit in which it ran. cpu_throttled_periods: those in which it was stopped for
            having used up its share. cpu_throttled_seconds: for how long.
        memory_bytes: memory in use, page cache included; without the memory controller the sum of resident sets.
        memory_peak_bytes: the most it ever was.
        memory_limit_bytes: the most it may be.
        memory_anon_bytes: private memory of processes. memory_file_bytes: page cache and tmpfs.
        memory_socket_bytes: buffers of network connections. memory_swap_bytes: what is swapped out.
        oom_kills: how many processes the kernel ended because memory ran out.
        devices: what went to and from block devices.
        interfaces: what its network interfaces sent and received; None when it has the host's.
        cpu_pressure, memory_pressure, io_pressure: time lost because of a shortage.
    """

    read_at: datetime
    pids: int
    pids_limit: int | None = None
    cpu_seconds: float
    cpu_user_seconds: float
    cpu_system_seconds: float
    cpu_percent: float | None = None
    cpu_periods: int | None = None
    cpu_throttled_periods: int | None = None
    cpu_throttled_seconds: float | None = None
    memory_bytes: int
    memory_peak_bytes: int | None = None
    memory_limit_bytes: int | None = None
    memory_anon_bytes: int | None = None
    memory_file_bytes: int | None = None
    memory_socket_bytes: int | None = None
    memory_swap_bytes: int | None = None
    oom_kills: int | None = None
    devices: tuple[DeviceTraffic, ...] | None = None
    interfaces: tuple[InterfaceTraffic, ...] | None = None
    cpu_pressure: Pressure | None = None
    memory_pressure: Pressure | None = None
    io_pressure: Pressure | None = None
