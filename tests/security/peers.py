"""Portraits: the same program run from the same root file system by us and by others, and what it saw."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import container_kit as ck
from tests.security.rigs import Rig

CGROUP = Path("/sys/fs/cgroup")
LIMIT = 60.0
_NOISE = frozenset({"relatime", "strictatime", "noatime", "nodiratime", "rw"})

# What Docker asks its runtime for (moby, DefaultLinuxSpec and its profiles), as an OCI runtime configuration.
DOCKER_CAPABILITIES = (
    "CHOWN", "DAC_OVERRIDE", "FSETID", "FOWNER", "MKNOD", "NET_RAW", "SETGID", "SETUID", "SETFCAP", "SETPCAP",
    "NET_BIND_SERVICE", "SYS_CHROOT", "KILL", "AUDIT_WRITE",
)  # fmt: skip
DOCKER_MASKED = (
    "/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
    "/proc/sched_debug", "/proc/scsi", "/proc/timer_list", "/proc/timer_stats", "/sys/devices/virtual/powercap",
    "/sys/firmware",
)  # fmt: skip
DOCKER_READ_ONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
_STRICT = ("nosuid", "noexec", "nodev")
DOCKER_MOUNTS = (
    ("/proc", "proc", _STRICT),
    ("/dev", "tmpfs", ("nosuid", "strictatime", "mode=755", "size=65536k")),
    ("/dev/pts", "devpts", ("nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5")),
    ("/sys", "sysfs", (*_STRICT, "ro")),
    ("/sys/fs/cgroup", "cgroup", ("ro", *_STRICT)),
    ("/dev/mqueue", "mqueue", _STRICT),
    ("/dev/shm", "tmpfs", (*_STRICT, "mode=1777", "size=65536k")),
)
DOCKER_FILES = ("/etc/hostname", "/etc/hosts", "/etc/resolv.conf")
DOCKER_NAMESPACES = ("mount", "network", "uts", "pid", "ipc", "cgroup")
DOCKER_SYSCTLS = {"net.ipv4.ip_unprivileged_port_start": "0", "net.ipv4.ping_group_range": "0 2147483647"}


def docker_configuration(root: Path, files: Path, command: Sequence[str]) -> dict[str, object]:
    """Return Docker's configuration for a command; the generated files of /etc are below `files`."""
    capabilities = [f"CAP_{name}" for name in DOCKER_CAPABILITIES]
    wanted: list[tuple[str, str, str, tuple[str, ...]]]
    wanted = [(target, kind, kind, options) for target, kind, options in DOCKER_MOUNTS]
    wanted += [(name, "bind", str(files / Path(name).name), ("rbind", "rprivate")) for name in DOCKER_FILES]
    mounts = [
        {"destination": target, "type": kind, "source": source, "options": options}
        for target, kind, source, options in wanted
    ]
    return {
        "ociVersion": "1.0.2",
        "root": {"path": str(root), "readonly": False},
        "hostname": "box",
        "process": {
            "user": {"uid": 0, "gid": 0, "umask": 0o22, "additionalGids": [0, 2000]},
            "args": list(command),
            "env": ["PATH=/bin"],
            "cwd": "/",
            "capabilities": dict.fromkeys(("bounding", "effective", "permitted"), capabilities),
            "noNewPrivileges": False,
        },
        "mounts": mounts,
        "linux": {
            "namespaces": [{"type": kind} for kind in DOCKER_NAMESPACES],
            "maskedPaths": list(DOCKER_MASKED),
            "readonlyPaths": list(DOCKER_READ_ONLY),
            "sysctl": DOCKER_SYSCTLS,
            "rootfsPropagation": "private",
            # That there is a filter is compared here; what it decides, in tests/integration/test_seccomp.py.
            "seccomp": {
                "defaultAction": "SCMP_ACT_ALLOW",
                "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_AARCH64"],
                "syscalls": [{"names": ["keyctl"], "action": "SCMP_ACT_ERRNO"}],
            },
        },
    }


# ── collecting ───────────────────────────────────────────────────────────────────────────────────


def in_pure_cgroup2(command: Sequence[str]) -> list[str]:
    """Return a command that sees nothing but cgroup v2, which is all that the others can be asked to work with here."""
    if not (CGROUP / "unified" / "cgroup.procs").exists():
        return list(command)
    bind = f'mount --bind {CGROUP}/unified {CGROUP} && exec "$@"'
    return ["unshare", "--mount", "--propagation", "private", "sh", "-c", bind, "sh", *command]


def output_of(command: Sequence[str], cwd: Path) -> str:
    """Run a program of the others."""
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=LIMIT, check=False)
    assert 0 == done.returncode, f"{command}: {done.stderr}"
    return done.stdout


def by_us(rig: Rig, security: ck.Security, paths: Sequence[str]) -> str:
    """Run it in a container of ours."""
    return rig.run("portrait", *paths, security=security, hostname="box").stdout


def by_runtime(runtime: str, root: Path, place: Path, paths: Sequence[str]) -> str:
    """Run it with an OCI runtime and Docker's configuration; its cgroups are switched off, we compare none."""
    bundle = place / runtime
    bundle.mkdir()
    for name in DOCKER_FILES:
        (bundle / Path(name).name).write_text("generated\n")
    configuration = docker_configuration(root, bundle, ["/bin/payload", "portrait", *paths])
    (bundle / "config.json").write_text(json.dumps(configuration))
    switches = ["--cgroup-manager=disabled"] if runtime == "crun" else []
    command = [runtime, *switches, "--root", str(bundle / "state"), "run", f"ck-parity-{os.getpid()}"]
    return output_of(in_pure_cgroup2(command), bundle)


def by_podman(root: Path, place: Path, paths: Sequence[str]) -> str:
    """Run it with Podman's own defaults, but for limits that take more privileges than tests may have."""
    storage = ["--root", str(place / "podman"), "--runroot", str(place / "podman-run"), "--cgroup-manager=cgroupfs"]
    options = ["--rm", "--network=none", "--cgroups=disabled", "--ulimit=nofile=1024:1024", "--ulimit=nproc=1000:1000"]
    command = ["podman", *storage, "run", *options, "--rootfs", f"{root}:O", "/bin/payload", "portrait", *paths]
    group = CGROUP / "unified" / "libpod_parent"
    existed = group.exists()
    try:
        return output_of(in_pure_cgroup2(command), place)
    finally:
        if group.exists() and not existed:
            group.rmdir()


def by_docker(root: Path, paths: Sequence[str]) -> str:
    """Run it with a Docker that answers, from an image made of the directory."""
    name = f"ck-parity:{os.getpid()}"
    tar = subprocess.run(["tar", "-C", str(root), "-c", "."], capture_output=True, check=True).stdout
    subprocess.run(["docker", "import", "-", name], input=tar, capture_output=True, check=True)
    try:
        return output_of(["docker", "run", "--rm", "--network=none", name, "/bin/payload", "portrait", *paths], root)
    finally:
        subprocess.run(["docker", "rmi", "--force", name], capture_output=True, check=False)


def has_docker() -> bool:
    """Say whether a Docker daemon answers."""
    if shutil.which("docker") is None:
        return False
    return subprocess.run(["docker", "version"], capture_output=True, timeout=LIMIT, check=False).returncode == 0


# ── what can be compared ─────────────────────────────────────────────────────────────────────────


def read_portrait(output: str, inherited: Mapping[str, str]) -> dict[str, str]:
    """Return name → value, without what is another at each run.

    Args:
        output: what `payload portrait` printed in a container.
        inherited: the same of this process: limits and namespaces are told relative to it.
    """
    found: dict[str, str] = {}
    for name, value in _lines(output):
        kind = name.split()[0]
        if kind in ("namespace", "limit") and inherited.get(name) == value:
            found[name] = "the caller's"
        else:
            found[name] = _READERS.get(kind if kind != "status" else name, str.strip)(value)
    return found


def raw_portrait(output: str) -> dict[str, str]:
    """Return name → value as printed."""
    return dict(_lines(output))


def _lines(output: str) -> list[tuple[str, str]]:
    pairs = (line.partition("=") for line in output.splitlines())
    return [(name, value) for name, _, value in pairs]


def _mount(value: str) -> str:
    """Return type and the options that matter; a hidden path is a mount of whatever kind."""
    kind, options, *_ = value.split(" ", 2)
    return " ".join([kind, *sorted(set(options.split(",")) - _NOISE)])


def _groups(value: str) -> str:
    return " ".join(sorted(value.split(), key=int))


def _own(_: str) -> str:
    return "its own"


_READERS: dict[str, Callable[[str], str]] = {"mount": _mount, "namespace": _own, "status Groups": _groups}


def is_cover(name: str) -> bool:
    """Say whether this is a mount that hides or protects a path: compared by what reading and writing give."""
    return re.match(r"mount /(proc|sys)/(?!fs/cgroup)", name) is not None
