"""What the monitors of these tests are told: settings and plans, as bytes.

Not a test, and independent of container_kit: see wire.py.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict, Unpack

from tests.unit.monitor import wire
from tests.unit.monitor.wire import step, strings, text, u32, u64

PAYLOAD = f"ck-test-payload-{os.getpid()}"  # argv[0], by which the processes of this run are found
NAMESPACES = wire.NS_MOUNT | wire.NS_PID | wire.NS_IPC | wire.NS_UTS


class Settings(TypedDict, total=False):
    """The fields of CK_SETTINGS_FORMAT but the flags."""

    owner_pid: int
    namespaces: int
    container_dir: str
    runtime_dir: str
    dirs: Sequence[str]
    dir_mode: int
    cgroup_parent: str
    cgroup_name: str
    cgroup_writes: Sequence[str]
    stop_signal: int
    stop_timeout_ms: int
    restart: int
    restart_max: int
    log_max_bytes: int
    log_max_files: int
    health_interval_ms: int
    health_timeout_ms: int
    health_retries: int
    health_start_period_ms: int
    health_start_interval_ms: int
    time_limit_ms: int


def encode_settings(flags: int, **given: Unpack[Settings]) -> bytes:
    """Return a settings record; what is not given has a value that does nothing special."""
    return b"".join(
        [
            u32(flags, given.get("owner_pid", 0), given.get("namespaces", NAMESPACES)),
            text(given.get("container_dir", "")),
            text(given.get("runtime_dir", "")),
            strings(given.get("dirs", ())),
            u32(given.get("dir_mode", 0o755)),
            text(given.get("cgroup_parent", "")),
            text(given.get("cgroup_name", "")),
            strings(given.get("cgroup_writes", ())),
            u32(given.get("stop_signal", signal.SIGTERM)),
            u64(given.get("stop_timeout_ms", 10_000)),
            u32(given.get("restart", wire.RESTART_NO), given.get("restart_max", 0)),
            u64(given.get("log_max_bytes", 1 << 20)),
            u32(given.get("log_max_files", 3)),
            u64(given.get("health_interval_ms", 0)),
            u64(given.get("health_timeout_ms", 0)),
            u32(given.get("health_retries", 0)),
            u64(given.get("health_start_period_ms", 0)),
            u64(given.get("health_start_interval_ms", 0)),
            u64(given.get("time_limit_ms", 0)),
        ]
    )


def container_plan(rootfs: Path, *argv: str, root: bytes | None = None, extra: Sequence[bytes] = ()) -> list[bytes]:
    """Return the plan of a small container: the root directory bound (or another step's), proc, the payload."""
    return [
        step(13, u32(signal.SIGKILL)),
        root if root is not None else step(3, u32(0), text(rootfs), u32(0)),
        step(1, u32(1), text("proc"), u32(0), strings(())),
        step(20, u32(0)),
        step(21, u32(1), text("/proc"), u32(0)),
        *extra,
        step(53),
        execute(*argv),
    ]


def execute(*argv: str) -> bytes:
    """Return an EXEC step of the payload with these words."""
    return step(60, strings(("/nowhere/payload", "/payload")), strings((PAYLOAD, *argv)), strings(("PATH=/",)))


def exec_plan(*argv: str, namespaces: int = NAMESPACES, extra: Sequence[bytes] = ()) -> list[bytes]:
    """Return the plan of a further process in a container."""
    return [step(12, u32(namespaces)), step(54), step(13, u32(signal.SIGKILL)), *extra, execute(*argv)]


def terminal_steps() -> list[bytes]:
    """Return steps for /dev/pts and a terminal of 24 by 80."""
    options = strings(("newinstance", "ptmxmode=0666", "mode=0620"))
    return [
        step(1, u32(7), text("devpts"), u32(0), options),
        step(21, u32(7), text("/dev/pts"), u32(0)),
        step(49, text("/dev/pts"), u32(24, 80)),
    ]
