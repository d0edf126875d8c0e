"""What a container's processes may do: capabilities, seccomp, hidden and read-only paths.

Sources: capabilities(7), OCI runtime-spec config-linux.md, and the defaults that Docker
and Podman agree on. The stricter of the two counts where they differ.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable

import attrs

from container_kit._spec.paths import ContainerPath
from container_kit._spec.text import check_strings
from container_kit.errors import InvalidSpecError

# linux/capability.h, in order of their numbers.
_NAMES = (
    "CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP",
    "LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER",
    "SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE",
    "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP",
    "MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF",
    "CHECKPOINT_RESTORE",
)  # fmt: skip
CAPABILITIES: dict[str, int] = {f"CAP_{name}": number for number, name in enumerate(_NAMES)}

DEFAULT_CAPABILITIES = frozenset(
    {
        "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_NET_BIND_SERVICE",
        "CAP_SETFCAP", "CAP_SETGID", "CAP_SETPCAP", "CAP_SETUID", "CAP_SYS_CHROOT",
    }
)  # fmt: skip

DEFAULT_MASKED_PATHS = tuple(
    ContainerPath(path)
    for path in (
        "/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
        "/proc/sched_debug", "/proc/scsi", "/proc/timer_list", "/proc/timer_stats",
        "/sys/devices/virtual/powercap", "/sys/firmware", "/sys/fs/selinux",
    )
)  # fmt: skip

DEFAULT_READ_ONLY_PATHS = tuple(
    ContainerPath(path) for path in ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
)

ALL = "ALL"


class SeccompMode(enum.Enum):
    """Which system calls are allowed."""

    DEFAULT = "default"
    UNCONFINED = "unconfined"


def parse_capability(name: object) -> str:
    """Return the full name, `CAP_NET_ADMIN`, of what may be written `net_admin`; `ALL` stays `ALL`."""
    upper = name.upper() if isinstance(name, str) else ""
    full = upper if upper == ALL or upper.startswith("CAP_") else f"CAP_{upper}"
    if full != ALL and full not in CAPABILITIES:
        raise InvalidSpecError(field="capability", value=name, reason="is not a Linux capability")
    return full


def _parse_capabilities(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(parse_capability(name) for name in check_strings(names, "capabilities")))


@attrs.frozen(kw_only=True)
class Security:
    """How far a container is confined; the default suits most programs.

    `cap_add` and `cap_drop` change `DEFAULT_CAPABILITIES`; `ALL` stands for every
    capability. A capability in both is an error.
    """

    cap_add: tuple[str, ...] = attrs.field(default=(), converter=_parse_capabilities)
    cap_drop: tuple[str, ...] = attrs.field(default=(), converter=_parse_capabilities)
    no_new_privileges: bool = True
    seccomp: SeccompMode = attrs.field(default=SeccompMode.DEFAULT, converter=SeccompMode)
    masked_paths: tuple[ContainerPath, ...] = DEFAULT_MASKED_PATHS
    read_only_paths: tuple[ContainerPath, ...] = DEFAULT_READ_ONLY_PATHS

    def __attrs_post_init__(self) -> None:
        both = sorted(set(self.cap_add) & set(self.cap_drop))
        if both:
            raise InvalidSpecError(field="security", value=both[0], reason="is both in cap_add and in cap_drop")

    @classmethod
    def untrusted(cls) -> Security:
        """Return the profile for code that nobody vouches for: no capability at all."""
        return cls(cap_drop=(ALL,))

    @property
    def capabilities(self) -> frozenset[str]:
        """The names that stay, after adding and dropping."""
        added, dropped = set(self.cap_add), set(self.cap_drop)
        if ALL in added:
            return frozenset(CAPABILITIES.keys() - dropped)
        start = frozenset[str]() if ALL in dropped else DEFAULT_CAPABILITIES - dropped
        return frozenset(start | added)

    @property
    def capability_mask(self) -> int:
        """The same as a bit mask, bit n for the capability numbered n."""
        return sum(1 << CAPABILITIES[name] for name in self.capabilities)
