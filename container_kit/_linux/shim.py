"""The door to the native half: typed functions over the compiled extension; its only importer.

Everything that fails raises `OSError`. The calls release the interpreter lock and may be made
from any thread; none forks or changes the caller (see `_native/spawn.c`). The extension is
loaded by the first call, so that the package imports where it cannot work.
"""

from __future__ import annotations

import errno
import fcntl
import functools
import importlib
import os
import signal
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, Protocol, cast

import attrs

from container_kit.errors import UnsupportedHostError

MONITOR_PROGRAM = Path(__file__).resolve().parent.parent / "ck-monitor"
FILES_PROGRAM = MONITOR_PROGRAM.with_name("ck-files")
MONITOR_FDS = 8

_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE


class _Spawned(Protocol):
    """A struct ck_spawned."""

    pid: int
    pidfd: int


class _Holder(Protocol):
    """A struct ck_userns_holder."""

    pid: int


class _Ffi(Protocol):
    def new(self, cdecl: str, init: object = ...) -> object: ...
    def from_buffer(self, data: bytes) -> object: ...
    def string(self, cdata: object) -> bytes: ...


class _Lib(Protocol):
    RESOLVE_NO_XDEV: int
    RESOLVE_NO_MAGICLINKS: int
    RESOLVE_NO_SYMLINKS: int
    RESOLVE_BENEATH: int
    RESOLVE_IN_ROOT: int
    F_SEAL_EXEC: int
    CK_SETTINGS_FORMAT_TEXT: object

    def ck_spawn(self, program: int, name: object, fds: object, spawned: object) -> int: ...
    def ck_spawn_begin(self, program: int, name: object, fds: object, spawned: object) -> int: ...
    def ck_spawn_end(self, spawned: object) -> int: ...
    def ck_hold_userns(self, holder: object) -> int: ...
    def ck_release_userns(self, holder: object) -> None: ...
    def ck_openat2(self, directory: int, path: bytes, flags: int, mode: int, resolve: int) -> int: ...
    def ck_memfd_create_exec(self, name: bytes) -> int: ...
    def ck_syncfs(self, fd: int) -> int: ...
    def ck_load_device_filter(self, program: object, count: int) -> int: ...
    def ck_check_plan_bytes(self, steps: object, size: int, count: int) -> int: ...
    def ck_check_request_bytes(self, request: object, size: int) -> int: ...
    def ck_op_format(self, code: int) -> object: ...


class _Shim(Protocol):
    ffi: _Ffi
    lib: _Lib


@functools.cache
def _load() -> _Shim:
    try:
        return cast("_Shim", importlib.import_module("container_kit._shim"))
    except ImportError as err:
        raise UnsupportedHostError(
            feature="containers",
            reason=f"the native part is missing or does not load: {err}",
            hint="container_kit runs on Linux (x86-64, arm64); a checkout needs `python _native/build.py` first",
        ) from err


def _checked(result: int, *names: str) -> int:
    """Return a result that is not -errno."""
    if result < 0:
        raise OSError(-result, os.strerror(-result), *names)
    return result


# ── our programs ─────────────────────────────────────────────────────────────────────────────────


@attrs.frozen
class _Program:
    """A descriptor of a program, and how to know that it still is one."""

    fd: int
    identity: tuple[int, int]

    def is_open(self) -> bool:
        """Say whether nobody closed it behind our back, as daemons do with all they inherit."""
        try:
            return _identify(self.fd) == self.identity
        except OSError:
            return False


# Per process, and valid in children too. No lock: a fork in another thread must not leave it taken.
_programs: dict[str, _Program] = {}


class Starting:
    """A program that was cloned from this process and is about to be executed; safe to use from many threads.

    Until its exec it lives in memory of ours. Whoever heard of the program, or saw its process end, calls `end`.
    """

    def __init__(self, spawned: object) -> None:
        self.pid = cast("_Spawned", spawned).pid
        self.pidfd = cast("_Spawned", spawned).pidfd
        self._spawned = [spawned]

    def end(self) -> None:
        """Give the memory back; the exec has happened, or has failed and the process ended. Idempotent.

        Raises:
            OSError: the program could not be executed.
        """
        try:
            spawned = self._spawned.pop()  # one thread gets it
        except IndexError:
            return
        _checked(_load().lib.ck_spawn_end(spawned))

    def give_up(self) -> None:
        """End the program and reap it, in place of its owner: it has begun nothing. Not after `end`."""
        _give_up(self._spawned.pop())


def begin_monitor(fds: Sequence[int]) -> Starting:
    """Start a monitor process without waiting for its exec; see `spawn_program`.

    Args:
        fds: request, owner channel, user namespace, stdin, stdout, stderr, device filter, ids (CK_FD_* in ckit.h).

    Returns:
        The process, to be waited for by the caller, and its pidfd, to be closed by the caller.
    """
    spawned = _new_spawned()
    try:
        _checked(_load().lib.ck_spawn_begin(*_spawn_arguments("ck-monitor", fds), spawned))
        return Starting(spawned)
    except BaseException:
        _give_up(spawned)  # an interrupt: nobody will hear of the program
        raise


def spawn_program(name: Literal["ck-monitor", "ck-files"], fds: Sequence[int]) -> tuple[int, int]:
    """Start one of our programs and wait for its exec.

    Args:
        name: which one.
        fds: the descriptors it gets as 3, 4, …; -1, or none at the end, for one that is absent. Borrowed.

    Returns:
        Its pid, to be waited for, and a pidfd, to be closed, both by the caller.
    """
    spawned = _new_spawned()
    _checked(_load().lib.ck_spawn(*_spawn_arguments(name, fds), spawned))
    return cast("_Spawned", spawned).pid, cast("_Spawned", spawned).pidfd


def _give_up(spawned: object) -> None:
    pid, pidfd = cast("_Spawned", spawned).pid, cast("_Spawned", spawned).pidfd
    if pid <= 0:
        return  # it was not started
    signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    os.waitpid(pid, 0)
    os.close(pidfd)
    _load().lib.ck_spawn_end(spawned)


def _new_spawned() -> object:
    return _load().ffi.new("struct ck_spawned *")


def _spawn_arguments(name: str, fds: Sequence[int]) -> tuple[int, object, object]:
    if len(fds) > MONITOR_FDS:
        raise ValueError(f"{MONITOR_FDS} descriptors at most, {len(fds)} given")
    given = [*fds, *(-1,) * (MONITOR_FDS - len(fds))]
    ffi = _load().ffi
    return _open_program(name), ffi.new("char[]", name.encode("ascii")), ffi.new("int[]", given)


def _open_program(name: str) -> int:
    program = _programs.get(name)
    if program is not None and program.is_open():
        return program.fd
    if program is not None:
        _programs.pop(name, None)
    made = _seal_program(name)
    kept = _programs.setdefault(name, made)
    if kept is not made:  # another thread was faster
        os.close(made.fd)
    return kept.fd


def _seal_program(name: str) -> _Program:
    """Copy the program to memory where nobody, root in a container included, can change it (CVE-2019-5736)."""
    lib = _load().lib
    path = MONITOR_PROGRAM if name == "ck-monitor" else FILES_PROGRAM
    fd = _checked(lib.ck_memfd_create_exec(name.encode("ascii")), name)
    try:
        data = memoryview(path.read_bytes())
        while data:
            data = data[os.write(fd, data) :]
        os.fchmod(fd, 0o511)
        try:
            fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _SEALS | lib.F_SEAL_EXEC)
        except OSError as err:
            if err.errno != errno.EINVAL:
                raise
            fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _SEALS)  # before Linux 6.3
        return _Program(fd, _identify(fd))
    except BaseException:
        os.close(fd)
        raise


def _identify(fd: int) -> tuple[int, int]:
    info = os.fstat(fd)
    return info.st_dev, info.st_ino


# ── user namespaces ──────────────────────────────────────────────────────────────────────────────


@contextmanager
def hold_user_namespace() -> Generator[int]:
    """Make a user namespace without maps and give the pid of a process that keeps it open meanwhile.

    Write its maps and open `/proc/<pid>/ns/user` inside the block; the process is gone after it.
    """
    shim = _load()
    holder = shim.ffi.new("struct ck_userns_holder *")
    _checked(shim.lib.ck_hold_userns(holder))
    try:
        yield cast("_Holder", holder).pid
    finally:
        shim.lib.ck_release_userns(holder)


# ── files ────────────────────────────────────────────────────────────────────────────────────────


def openat2(
    dir_fd: int,
    path: str,
    flags: int,
    *,
    mode: int = 0,
    in_root: bool = False,
    beneath: bool = False,
    no_symlinks: bool = False,
    no_xdev: bool = False,
) -> int:
    """Open a file relative to a directory with limits to where its path may lead (openat2(2)).

    Magic links of /proc are never followed. The descriptor is close-on-exec and the caller's.

    Args:
        dir_fd: where the path starts.
        path: relative, or absolute with `in_root`.
        flags: as in open(2).
        mode: of a file that is created.
        in_root: treat `dir_fd` as the root directory.
        beneath: refuse paths that leave `dir_fd` (EXDEV).
        no_symlinks: refuse symlinks (ELOOP).
        no_xdev: refuse mount points (EXDEV).
    """
    lib = _load().lib
    chosen = (
        (True, lib.RESOLVE_NO_MAGICLINKS),
        (in_root, lib.RESOLVE_IN_ROOT),
        (beneath, lib.RESOLVE_BENEATH),
        (no_symlinks, lib.RESOLVE_NO_SYMLINKS),
        (no_xdev, lib.RESOLVE_NO_XDEV),
    )
    resolve = sum(bit for wanted, bit in chosen if wanted)
    name = os.fsencode(path)
    if b"\0" in name:
        raise ValueError(f"NUL in {path!r}")
    return _checked(lib.ck_openat2(dir_fd, name, flags, mode, resolve), path)


def sync_file_system(path: str) -> None:
    """Write everything of the file system that holds a directory to its disk; blocks until it is there (syncfs(2))."""
    lib = _load().lib
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _checked(lib.ck_syncfs(fd), path)
    finally:
        os.close(fd)


# ── device filters ───────────────────────────────────────────────────────────────────────────────


def load_device_filter(program: bytes) -> int:
    """Give the kernel a program for cgroups' device controller and return its descriptor, the caller's.

    Takes CAP_BPF and CAP_NET_ADMIN, or CAP_SYS_ADMIN, of the host (bpf(2), BPF_PROG_TYPE_CGROUP_DEVICE).

    Args:
        program: an array of `struct bpf_insn`.
    """
    shim = _load()
    return _checked(shim.lib.ck_load_device_filter(shim.ffi.from_buffer(program), len(program) // 8))


# ── the contract ─────────────────────────────────────────────────────────────────────────────────


def check_plan(steps: bytes, count: int) -> None:
    """Let the executor's parser look at a plan: EBADMSG when it would refuse it."""
    shim = _load()
    _checked(shim.lib.ck_check_plan_bytes(shim.ffi.from_buffer(steps), len(steps), count))


def check_request(request: bytes) -> None:
    """Let the monitor's parser look at a whole request: EBADMSG when it would refuse it."""
    shim = _load()
    _checked(shim.lib.ck_check_request_bytes(shim.ffi.from_buffer(request), len(request)))


def op_format(code: int) -> str | None:
    """Return the fields of an op as ckit.h has them, or None when there is no such op."""
    shim = _load()
    text = shim.lib.ck_op_format(code)
    return shim.ffi.string(text).decode("ascii") if text else None


def settings_format() -> str:
    """Return the fields of the settings record as ckit.h has them."""
    shim = _load()
    return shim.ffi.string(shim.lib.CK_SETTINGS_FORMAT_TEXT).decode("ascii")


def constant(name: str) -> int:
    """Return a constant of ckit.h by its name; those of ckit.cdef are there."""
    return int(getattr(_load().lib, name))
