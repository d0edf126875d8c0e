"""What a container's processes may do: capabilities, seccomp, hidden and read-only paths.

Sources: capabilities(7), OCI runtime-spec config-linux.md, and the defaults that Docker
and Podman agree on. The stricter of the two counts where they differ.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from typing import Literal, TypeAlias, get_args

import attrs

from container_kit._spec.paths import AnyPath, ContainerPath, HostPath, parse_host_path
from container_kit._spec.sandbox import Sandbox, Waivable
from container_kit._spec.text import check_line, check_strings
from container_kit.errors import InvalidMountError, InvalidSpecError

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

THERMAL_THROTTLE = ContainerPath("/sys/devices/system/cpu/cpu*/thermal_throttle")
"""Stands for this directory of every CPU: on some hosts there are hundreds of them, on most none."""

DEFAULT_MASKED_PATHS = tuple(
    ContainerPath(path)
    for path in (
        "/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
        "/proc/sched_debug", "/proc/scsi", "/proc/timer_list", "/proc/timer_stats",
        THERMAL_THROTTLE, "/sys/devices/virtual/powercap", "/sys/firmware", "/sys/fs/selinux",
    )
)  # fmt: skip

DEFAULT_READ_ONLY_PATHS = tuple(
    ContainerPath(path) for path in ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
)

# What Docker keeps besides: raw sockets, device nodes, the audit log.
DOCKER_EXTRA_CAPABILITIES = ("CAP_AUDIT_WRITE", "CAP_MKNOD", "CAP_NET_RAW")

ALL = "ALL"

UserNamespaceMode: TypeAlias = Literal["host", "auto"]


class SeccompMode(enum.Enum):
    """Which system calls are allowed: by our profile, by Docker's, by the one for untrusted code, or all of them."""

    DEFAULT = "default"
    DOCKER = "docker"
    STRICT = "strict"
    UNCONFINED = "unconfined"


_SANDBOX_FILTER = SeccompMode.STRICT


@attrs.frozen(kw_only=True)
class SeccompFile:
    """A profile in the JSON of Docker and the OCI; `text` is what the file held when the container was made."""

    path: HostPath
    text: str = attrs.field(default="", repr=False)


def _parse_seccomp(given: SeccompMode | SeccompFile | AnyPath) -> SeccompMode | SeccompFile:
    if isinstance(given, SeccompMode | SeccompFile):
        return given
    if isinstance(given, str) and given in {mode.value for mode in SeccompMode}:
        return SeccompMode(given)
    try:
        return SeccompFile(path=parse_host_path(given, "seccomp"))
    except InvalidMountError as error:
        hint = f"one of {', '.join(mode.value for mode in SeccompMode)}, or the path of a profile"
        raise InvalidSpecError(field="seccomp", value=error.value, reason=error.reason, hint=hint) from None


def parse_capability(name: object) -> str:
    """Return the full name, `CAP_NET_ADMIN`, of what may be written `net_admin`; `ALL` stays `ALL`."""
    upper = name.upper() if isinstance(name, str) else ""
    full = upper if upper == ALL or upper.startswith("CAP_") else f"CAP_{upper}"
    if full != ALL and full not in CAPABILITIES:
        raise InvalidSpecError(field="capability", value=name, reason="is not a Linux capability")
    return full


def _check_sandboxed(security: Security, sandbox: Sandbox) -> None:
    """Raise if a profile contradicts the sandbox it claims to be."""
    confined = isinstance(security.seccomp, SeccompFile) or security.seccomp is _SANDBOX_FILTER
    hidden = set(security.masked_paths) >= set(DEFAULT_MASKED_PATHS)
    protected = set(security.read_only_paths) >= set(DEFAULT_READ_ONLY_PATHS)
    contradictions = (
        (bool(security.capabilities), "cap_add", "untrusted code has no capabilities"),
        (not security.no_new_privileges, "no_new_privileges", "untrusted code gains none"),
        (security.is_privileged, "is_privileged", "untrusted code has no privileges"),
        (not confined, "seccomp", f"it is '{_SANDBOX_FILTER.value}', or a profile from a file"),
        (not hidden, "masked_paths", "the default ones are hidden"),
        (not protected, "read_only_paths", "the default ones are read-only"),
        (security.userns == "host" and "userns" not in sandbox.waived, "userns", "it is 'auto' unless that is waived"),
    )
    for contradicts, field, reason in contradictions:
        if contradicts:
            hint = "use another profile, or leave the change out"
            raise InvalidSpecError(field=field, reason=f"contradicts Security.untrusted(): {reason}", hint=hint)


def _parse_capabilities(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(parse_capability(name) for name in check_strings(names, "capabilities")))


@attrs.frozen(kw_only=True)
class Security:
    """How far a container is confined. The default suits most programs; the class methods make other profiles.

    Attributes:
        cap_add, cap_drop: change `DEFAULT_CAPABILITIES`; `ALL` stands for every capability that the caller has to give.
            One in both is an error.
        no_new_privileges: set-user-ID programs and file capabilities give nothing (no_new_privs, prctl(2)).
        seccomp: `default`, `docker`, `strict`, `unconfined`, or the path of a profile in Docker's JSON.
        userns: `auto`: a user namespace of its own with ids that no other container has. `host`: the engine's, which
            for root means the host's ids.
        apparmor, selinux: the profile or label its processes get; one that the host does not have is an error.
        masked_paths, read_only_paths: what is hidden, and what cannot be written.
        is_privileged: all devices of the host, and a /sys that can be written; see `privileged`.
        sandbox: bounds of an untrusted container; see `untrusted`.
    """

    cap_add: tuple[str, ...] = attrs.field(default=(), converter=_parse_capabilities)
    cap_drop: tuple[str, ...] = attrs.field(default=(), converter=_parse_capabilities)
    no_new_privileges: bool = True
    seccomp: SeccompMode | SeccompFile = attrs.field(default=SeccompMode.DEFAULT, converter=_parse_seccomp)
    userns: UserNamespaceMode = "host"
    apparmor: str | None = None
    selinux: str | None = None
    masked_paths: tuple[ContainerPath, ...] = DEFAULT_MASKED_PATHS
    read_only_paths: tuple[ContainerPath, ...] = DEFAULT_READ_ONLY_PATHS
    is_privileged: bool = False
    sandbox: Sandbox | None = None

    def __attrs_post_init__(self) -> None:
        if self.sandbox is not None:
            _check_sandboxed(self, self.sandbox)
        both = sorted(set(self.cap_add) & set(self.cap_drop))
        if both:
            raise InvalidSpecError(field="security", value=both[0], reason="is both in cap_add and in cap_drop")
        if self.userns not in get_args(UserNamespaceMode):
            raise InvalidSpecError(field="userns", value=self.userns, reason="must be 'host' or 'auto'")
        for field, label in (("apparmor", self.apparmor), ("selinux", self.selinux)):
            if label is not None and not check_line(label, field).strip():
                raise InvalidSpecError(field=field, value=label, reason="must not be empty")

    @classmethod
    def docker(cls) -> Security:
        """Return what Docker gives: its 14 capabilities, its system calls, and programs that may gain privileges.

        Hidden and read-only paths are Docker's, and /sys/fs/selinux, which Podman hides.
        """
        return cls(cap_add=DOCKER_EXTRA_CAPABILITIES, no_new_privileges=False, seccomp=SeccompMode.DOCKER)

    @classmethod
    def untrusted(
        cls,
        *,
        memory: int | str = "512m",
        pids: int = 128,
        scratch: int | str = "64m",
        time_limit: float | None = 60.0,
        waive: Iterable[Waivable] = (),
    ) -> Security:
        """Return the profile for code that nobody vouches for.

        A user namespace with ids of its own, no capability, the strict system call filter, no network, no path of the
        host, a read-only root with scratch space in memory, and bounds on memory, processes, time and output. All of
        it holds, or the container does not start. Its user is the image's; a process has 1024 descriptors at most and
        leaves no core file. /proc shows the container's own processes and stays whole otherwise: with `subset=pid`
        there would be no /proc/cpuinfo and /proc/meminfo, without which many programs do not run.

        Args:
            memory: what all of its processes may use, scratch space included; bytes or text. There is no swap.
            pids: the most processes and threads.
            scratch: what each of /tmp, /var/tmp and /run may hold.
            time_limit: seconds after which it is ended, whoever waits for it; None: no limit.
            waive: what may be missing on a host that lacks it: `memory`, `pids`, `userns`.
        """
        sandbox = Sandbox(memory=memory, pids=pids, scratch=scratch, time_limit=time_limit, waived=waive)
        return cls(
            cap_drop=(ALL,),
            seccomp=_SANDBOX_FILTER,
            userns="host" if "userns" in sandbox.waived else "auto",
            sandbox=sandbox,
        )

    @classmethod
    def privileged(cls) -> Security:
        """Return no confinement but namespaces. Not for foreign code: as root it reaches the whole host.

        Every capability that the caller has, all system calls and devices, a /sys and cgroups that can be written,
        nothing hidden. Without root it is all of that inside the engine's user namespace, which is little outside.
        """
        return cls(
            cap_add=(ALL,),
            no_new_privileges=False,
            seccomp=SeccompMode.UNCONFINED,
            masked_paths=(),
            read_only_paths=(),
            is_privileged=True,
        )

    @property
    def has_own_ids(self) -> bool:
        """Whether the container gets a user namespace of its own, with ids that no other container has."""
        return self.userns == "auto"

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
