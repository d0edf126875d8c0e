"""What one container's monitor is told besides the plan: a record with wire kinds, as in `ops`.

The other half is CK_SETTINGS_FORMAT in `_native/ckit.h`.
"""

from __future__ import annotations

import enum

import attrs

from container_kit._plan.flags import Namespace
from container_kit._plan.wire import PATH, STRINGS, U32, U64, on_wire
from container_kit._spec.paths import HostPath


class MonitorFlag(enum.IntFlag):
    """What the monitor does besides running the plan; see CK_SET_* in ckit.h."""

    NONE = 0
    OWNED = 0x1
    REMOVE = 0x2
    REMOVE_OWNED = 0x4
    TERMINAL = 0x8
    STDIN = 0x10
    LOG = 0x20
    DIRECT = 0x40
    OWN_MEMORY = 0x80
    PROBE = 0x100
    DIRTY_WORK = 0x200
    REMOVE_ONLY = 0x400
    KEEP_STATE = 0x800
    ENTER_CGROUP = 0x1000
    STAGES = 0x2000


class Restart(enum.IntEnum):
    """Restart policies, numbered as on the wire."""

    NO = 0
    ALWAYS = 1
    ON_FAILURE = 2
    UNLESS_STOPPED = 3


@attrs.frozen(kw_only=True)
class MonitorSettings:
    """The settings record, field by field in wire order."""

    flags: MonitorFlag = attrs.field(metadata=on_wire(U32))
    owner_pid: int = attrs.field(metadata=on_wire(U32))
    namespaces: Namespace = attrs.field(metadata=on_wire(U32))
    container_dir: HostPath = attrs.field(metadata=on_wire(PATH))
    runtime_dir: HostPath = attrs.field(metadata=on_wire(PATH))
    dirs: tuple[str, ...] = attrs.field(default=(), metadata=on_wire(STRINGS))
    dir_mode: int = attrs.field(default=0o755, metadata=on_wire(U32))
    cgroup_parent: str = attrs.field(default="", metadata=on_wire(PATH))
    cgroup_name: str = attrs.field(default="", metadata=on_wire(PATH))
    cgroup_writes: tuple[str, ...] = attrs.field(default=(), metadata=on_wire(STRINGS))
    stop_signal: int = attrs.field(default=15, metadata=on_wire(U32))
    stop_timeout_ms: int = attrs.field(default=10_000, metadata=on_wire(U64))
    restart: Restart = attrs.field(default=Restart.NO, metadata=on_wire(U32))
    restart_max: int = attrs.field(default=0, metadata=on_wire(U32))
    log_max_bytes: int = attrs.field(default=10 << 20, metadata=on_wire(U64))
    log_max_files: int = attrs.field(default=3, metadata=on_wire(U32))
    health_interval_ms: int = attrs.field(default=0, metadata=on_wire(U64))
    health_timeout_ms: int = attrs.field(default=0, metadata=on_wire(U64))
    health_retries: int = attrs.field(default=0, metadata=on_wire(U32))
    health_start_period_ms: int = attrs.field(default=0, metadata=on_wire(U64))
    health_start_interval_ms: int = attrs.field(default=0, metadata=on_wire(U64))
    time_limit_ms: int = attrs.field(default=0, metadata=on_wire(U64))
