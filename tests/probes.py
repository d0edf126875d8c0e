"""What this host offers the tests, found by trying. An empty string means yes, anything else is the reason why not.

The only place where skips come from. Independent of container_kit, so that a fault there cannot hide as a skip.
"""

from __future__ import annotations

import ctypes
import functools
import importlib.util
import os
import platform
import pwd
import shutil
import struct
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.ledger_processes import cgroup2_mount

CAP_NET_ADMIN = 12
_OPEN_TREE, _MOUNT_SETATTR = 428, 442  # the same on every architecture
_BPF_PROG_LOAD, _BPF_PROG_TYPE_CGROUP_DEVICE = 5, 15
_OPEN_TREE_CLONE, _AT_EMPTY_PATH, _MOUNT_ATTR_IDMAP = 1, 0x1000, 0x100000


def _try(*command: str) -> str:
    """Run a command; return its complaint when it fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    except OSError as err:
        return f"{command[0]}: {err.strerror}"
    return "" if done.returncode == 0 else done.stderr.strip() or f"{command[0]} failed"


@functools.cache
def probe_linux() -> str:
    """Say whether this is Linux at all."""
    return "" if platform.system() == "Linux" else "not Linux"


@functools.cache
def probe_root() -> str:
    """Say whether this is the host's root, not that of a user namespace."""
    if os.geteuid() != 0:
        return "not the root user"
    everything = Path("/proc/self/uid_map").read_text(encoding="ascii").split() == ["0", "0", "4294967295"]
    return "" if everything else "root of a user namespace only"


@functools.cache
def probe_userns() -> str:
    """Say whether this user can make user namespaces."""
    complaint = _try("unshare", "--user", "--map-root-user", "true")
    return complaint and f"no user namespaces: {complaint}"


@functools.cache
def probe_subids() -> str:
    """Say whether a user namespace can have more than one id."""
    if not probe_root():
        return probe_userns()
    if not (shutil.which("newuidmap") and shutil.which("newgidmap")):
        return "no newuidmap (package uidmap)"
    user = pwd.getpwuid(os.geteuid())
    for table in ("/etc/subuid", "/etc/subgid"):
        owners = [line.split(":")[0] for line in _read_lines(table)]
        if user.pw_name not in owners and str(user.pw_uid) not in owners:
            return f"no subordinate ids for {user.pw_name} in {table}"
    return probe_userns()


def _read_lines(path: str | Path) -> list[str]:
    try:
        return Path(path).read_text(encoding="utf-8").splitlines()
    except OSError:
        return []


def own_cgroup() -> Path | None:
    """Return the directory of this process's cgroup v2."""
    top = cgroup2_mount()
    for line in _read_lines("/proc/self/cgroup"):
        if top is not None and line.startswith("0::"):
            return top / line[3:].lstrip("/")
    return None


@functools.cache
def probe_cgroup2() -> str:
    """Say whether this process can make cgroups beside or below its own and put processes there."""
    group = own_cgroup()
    if group is None:
        return "no cgroup v2 tree"
    if not os.access(group / "cgroup.procs", os.W_OK):
        return f"cgroup {group} is not delegated to this user"
    trial = group / f"probe-{os.getpid()}"
    try:
        trial.mkdir()
        trial.rmdir()
    except OSError as err:
        return f"no group can be made in {group}: {err.strerror}"
    return ""


def probe_controllers(*names: str) -> str:
    """Say whether these controllers can be enabled for groups below this process's own."""
    group = own_cgroup()
    if group is None or probe_cgroup2():
        return probe_cgroup2()
    offered = " ".join(_read_lines(group / "cgroup.controllers")).split()
    missing = [name for name in names if name not in offered]
    return f"cgroup v2 has no {', '.join(missing)} controller here" if missing else ""


@functools.cache
def probe_overlay() -> str:
    """Say whether this user can mount an overlay whose upper directory is where the tests keep theirs."""
    with tempfile.TemporaryDirectory(dir=temporary_base()) as place:
        for name in ("lower", "upper", "work", "merged"):
            Path(place, name).mkdir()
        own = ["--user", "--map-root-user"] if probe_root() else []
        options = f"lowerdir={place}/lower,upperdir={place}/upper,workdir={place}/work" + (",userxattr" if own else "")
        mount = ["mount", "-t", "overlay", "overlay", "-o", options, f"{place}/merged"]
        complaint = _try("unshare", *own, "--mount", *mount)
        _empty_work(Path(place, "work", "work"))
    return complaint and f"no overlay mounts: {complaint}"


def _empty_work(directory: Path) -> None:
    if directory.exists():  # overlayfs leaves it with mode 000
        directory.chmod(0o700)


@functools.cache
def probe_net_admin() -> str:
    """Say whether this process may administer its network."""
    for line in _read_lines("/proc/self/status"):
        if line.startswith("CapEff:"):
            return "" if int(line.split()[1], 16) & (1 << CAP_NET_ADMIN) else "no CAP_NET_ADMIN"
    return "no CAP_NET_ADMIN"


def probe_tools(*names: str) -> str:
    """Say whether these programs are installed."""
    missing = [name for name in names if not shutil.which(name)]
    return f"not installed: {', '.join(missing)}" if missing else ""


def probe_machine(name: str) -> str:
    """Say whether this is such a machine."""
    return "" if platform.machine() == name else f"this is {platform.machine()}"


@functools.cache
def probe_libfuzzer() -> str:
    """Say whether there is a clang that can link libFuzzer and the sanitizers (packages clang, libclang-rt-dev)."""
    target = "int LLVMFuzzerTestOneInput(const char *data, unsigned long size) { return !data && size; }"
    link = "clang -fsanitize=fuzzer,address,undefined -x c -o /dev/null -"
    return _try("sh", "-c", f"echo '{target}' | {link}")


def libasan() -> str:
    """Return the path of gcc's address sanitizer, for LD_PRELOAD; a mere name where there is none."""
    command = ["gcc", "-print-file-name=libasan.so"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@functools.cache
def probe_libasan() -> str:
    """Say whether gcc can build an extension with the sanitizers (libasan, libubsan), and this Python can load it."""
    include = sysconfig.get_path("include")
    build = f"gcc -fsanitize=address,undefined -shared -fPIC -I{include} -x c -o /dev/null -"
    load = f"{sys.executable} -c 'import ctypes; ctypes.CDLL(None).__asan_init'"
    preload = "ASAN_OPTIONS=detect_leaks=0 LD_PRELOAD=$(gcc -print-file-name=libasan.so)"
    return _try("sh", "-c", f"echo '#include <Python.h>' | {build} && {preload} {load}")


@functools.cache
def probe_libseccomp() -> str:
    """Say whether the distribution's own Python has the bindings of libseccomp (package python3-seccomp)."""
    return _try("/usr/bin/python3", "-c", "import seccomp")


@functools.cache
def temporary_base() -> Path:
    """Return a directory on a file system that can hold the upper directory of an overlay.

    Names below it are short: a container's control socket must fit into sun_path, 108 bytes (unix(7)).
    """
    wanted = [os.environ.get("CKIT_TEST_DIR", ""), os.environ.get("CGROUP2_VM_SCRATCH", ""), "/var/tmp", "/tmp"]
    for place in wanted:
        if place and os.access(place, os.W_OK | os.X_OK) and _filesystem(place) not in {"overlay", "overlayfs"}:
            return Path(place)
    return Path("/dev/shm")


def _filesystem(path: str) -> str:
    done = subprocess.run(["stat", "-f", "-c", "%T", path], capture_output=True, text=True, check=False)
    return done.stdout.strip()


@functools.cache
def probe_user_xattrs() -> str:
    """Say whether files of the tests can have user.* attributes (xattr(7)); tmpfs has them since Linux 6.6."""
    with tempfile.NamedTemporaryFile(dir=temporary_base()) as file:
        try:
            os.setxattr(file.name, "user.probe", b"")
        except OSError as err:
            return f"no user attributes below {temporary_base()}: {err.strerror}"
    return ""


@functools.cache
def probe_idmapped_mounts() -> str:
    """Say whether a mount of the directory that the tests use can show other ids (mount_setattr(2)); takes root."""
    if probe_root():
        return probe_root()
    command = ["unshare", "--user", "--map-root-user", "sh", "-c", "echo mapped; exec cat"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        if not holder.stdout.readline():
            return "no user namespaces"
        error = _try_to_map_ids(f"/proc/{holder.pid}/ns/user")
    return f"no id-mapped mounts below {temporary_base()}: {os.strerror(error)}" if error else ""


def _try_to_map_ids(namespace: str) -> int:
    """Make a detached mount with the ids of a user namespace; return the errno."""
    libc = ctypes.CDLL(None, use_errno=True)
    with open(namespace, "rb") as user:
        mount = libc.syscall(_OPEN_TREE, -100, os.fsencode(temporary_base()), _OPEN_TREE_CLONE | os.O_CLOEXEC)
        if mount < 0:
            return ctypes.get_errno()
        attributes = struct.pack("=4Q", _MOUNT_ATTR_IDMAP, 0, 0, user.fileno())
        done = libc.syscall(_MOUNT_SETATTR, mount, b"", _AT_EMPTY_PATH, attributes, len(attributes))
        error = ctypes.get_errno()
        os.close(mount)
        return error if done < 0 else 0


@functools.cache
def probe_device_filters() -> str:
    """Say whether this process may give the kernel a device filter (bpf(2)): here one that refuses everything."""
    number = {"x86_64": 321, "aarch64": 280}.get(platform.machine(), 280)
    program = ctypes.create_string_buffer(struct.pack("=BBhiBBhi", 0xB7, 0, 0, 0, 0x95, 0, 0, 0))
    license_text = ctypes.create_string_buffer(b"Apache-2.0")
    pointers = ctypes.addressof(program), ctypes.addressof(license_text)
    attribute = struct.pack("=IIQQ48x", _BPF_PROG_TYPE_CGROUP_DEVICE, 2, *pointers)
    libc = ctypes.CDLL(None, use_errno=True)
    fd = libc.syscall(number, _BPF_PROG_LOAD, attribute, len(attribute))
    if fd < 0:
        return f"no device filters: {os.strerror(ctypes.get_errno())}"
    os.close(fd)
    return ""


@functools.cache
def probe_apparmor() -> str:
    """Say whether the running kernel labels processes with AppArmor's profiles, and we may load some."""
    try:
        Path("/proc/self/attr/apparmor/current").read_text()
    except OSError:
        return "the running kernel does not use AppArmor"
    return probe_root()


PROBES: dict[str, Callable[..., str]] = {
    "needs_root": probe_root,
    "needs_userns": probe_userns,
    "needs_subids": probe_subids,
    "needs_cgroup2": probe_cgroup2,
    "needs_controllers": probe_controllers,
    "needs_overlay": probe_overlay,
    "needs_net_admin": probe_net_admin,
    "needs_tools": probe_tools,
    "needs_user_xattrs": probe_user_xattrs,
    "needs_libfuzzer": probe_libfuzzer,
    "needs_libasan": probe_libasan,
    "needs_libseccomp": probe_libseccomp,
    "needs_machine": probe_machine,
    "needs_apparmor": probe_apparmor,
    "needs_idmapped_mounts": probe_idmapped_mounts,
    "needs_yaml": lambda: "" if importlib.util.find_spec("yaml") else "PyYAML is not installed",
    "needs_user": lambda: "" if os.geteuid() else "for a user that is not root",
    "needs_device_filters": probe_device_filters,
}
