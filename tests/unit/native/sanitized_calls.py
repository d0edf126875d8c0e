"""A program for a Python with libasan preloaded: calls all that the extension exports, with sense and without.

Arguments: the extension, a file with a plan, the number of its steps, a file with a request; or the extension and
`lie` with the name of a call whose arguments lie about their size, which the sanitizer must see. Each buffer is one
allocation (PYTHONMALLOC=malloc) that ends with its last byte.
"""

from __future__ import annotations

import errno
import importlib.util
import os
import random
import resource
import struct
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[3]
MUTATIONS = 3000
INT_MIN, INT_MAX, U32, U64 = -(2**31), 2**31 - 1, 2**32 - 1, 2**64 - 1
WALL = 0x40000000  # wait(2): whatever signal the child's end sends
NO_NAMESPACES = (-errno.EPERM, -errno.ENOSPC)  # to users of many hosts; ENOSPC: max_user_namespaces
RETURN_ONE = struct.pack("=BBhiBBhi", 0xB7, 0, 0, 1, 0x95, 0, 0, 0)  # a device filter


def load_extension(path: str) -> Any:  # its functions come out of a C compiler
    """Put the extension in the place of the package's own."""
    name = "container_kit._shim"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    sys.modules[name] = extension = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(extension)
    return extension


EXTENSION = load_extension(sys.argv[1])
FFI = EXTENSION.ffi
NULL = FFI.NULL
called: set[str] = set()

sys.path.insert(0, str(REPOSITORY))
from container_kit._linux import shim  # noqa: E402  # with this extension


def call(name: str, *arguments: object) -> Any:
    """Call a function of the extension and remember that it was."""
    called.add(name)
    return getattr(EXTENSION.lib, name)(*arguments)


def exact(data: bytes, *, shift: int = 0) -> Any:
    """Return a pointer to these bytes, `shift` bytes from where they would be aligned, with nothing behind them."""
    buffer = FFI.new("char[]", shift + len(data))
    FFI.memmove(buffer + shift, data, len(data))
    kept.append(buffer)
    return buffer + shift


kept: list[object] = []  # what a pointer of this call points into


# ── the parser ───────────────────────────────────────────────────────────────────────────────────


def mutations(data: bytes) -> Iterator[bytes]:
    """Give the same bytes with something wrong: cut, and changed in one to four places."""
    generator = random.Random(11)
    yield from (data[:size] for size in range(0, len(data), 3))
    for _ in range(MUTATIONS):
        changed = bytearray(data)
        for _ in range(generator.randrange(1, 5)):
            place = generator.randrange(0, len(data) - 4, 4)
            word = generator.choice((0, 1, 4, 2**31, U32 - 3, U32, generator.randrange(256)))
            struct.pack_into("=I", changed, place, word)
        yield bytes(changed)


def check_plans(plan: bytes, count: int) -> None:
    """Let the parser look at plans, true ones and others."""
    shim.check_plan(plan, count)
    assert call("ck_check_plan_bytes", exact(plan), len(plan), count) == 0
    for changed in mutations(plan):
        assert call("ck_check_plan_bytes", exact(changed), len(changed), count) in (0, -errno.EBADMSG)
        kept.clear()
    for other in (0, count - 1, count + 1, U32):
        assert call("ck_check_plan_bytes", exact(plan), len(plan), other) == -errno.EBADMSG
    for shift in (1, 2, 3):
        assert call("ck_check_plan_bytes", exact(plan, shift=shift), len(plan), count) == -errno.EBADMSG
    for size in (U32 + 1, U32 + 1 + len(plan), U64):  # refused before anything is read
        assert call("ck_check_plan_bytes", exact(plan), size, count) == -errno.EBADMSG
    assert call("ck_check_plan_bytes", NULL, 0, 0) == 0
    assert call("ck_check_plan_bytes", NULL, 0, 1) == -errno.EBADMSG


def check_requests(request: bytes) -> None:
    """Let the parser look at requests; also where the header tells the size they are cut to."""
    shim.check_request(request)
    assert call("ck_check_request_bytes", exact(request), len(request)) == 0
    for changed in mutations(request):
        honest = changed[:8] + struct.pack("=I", len(changed)) + changed[12:] if len(changed) >= 12 else changed
        for data in (changed, honest):
            assert call("ck_check_request_bytes", exact(data), len(data)) in (0, -errno.EBADMSG)
        kept.clear()
    for shift in (1, 2, 4):
        assert call("ck_check_request_bytes", exact(request, shift=shift), len(request)) == -errno.EBADMSG
    for size in (U32 + 1, U32 + 1 + len(request), U64):
        assert call("ck_check_request_bytes", exact(request), size) == -errno.EBADMSG
    assert call("ck_check_request_bytes", NULL, 0) == -errno.EBADMSG


def read_formats() -> None:
    """Ask for the format of every op, and of what is none."""
    codes = (*range(EXTENSION.lib.CK_OP_LIMIT + 64), 2**31, U32)
    texts = {code: call("ck_op_format", code) for code in codes}
    assert 0 < sum(bool(FFI.string(text)) for text in texts.values() if text) < len(codes)
    assert not texts[U32]
    assert all(shim.constant(name) > 0 for name in dir(EXTENSION.lib) if name.startswith(("CK_SIZE", "CK_MAX")))
    assert shim.settings_format()


# ── doors to system calls ────────────────────────────────────────────────────────────────────────


def open_files() -> None:
    """openat2 with what the kernel takes, and with what it does not."""
    root = os.open("/", os.O_PATH | os.O_DIRECTORY)
    cases: dict[int, list[tuple[object, ...]]] = {
        0: [(root, b"/dev/null", os.O_RDWR, 0, 16), (-100, b"/", os.O_PATH, 0, 0), (root, b"..", os.O_PATH, 0, 16)],
        errno.ENOENT: [(root, b"", 0, 0, 0), (root, b"missing/x", 0, 0, 8)],
        errno.EFAULT: [(root, NULL, 0, 0, 0)],
        errno.EBADF: [(fd, b"x", 0, 0, 0) for fd in (-1, INT_MIN, INT_MAX)],
        errno.EINVAL: [(root, b"x", U64, 0, 0), (root, b"x", os.O_CREAT, U64, 0), (root, b"x", 0, 0, U64)],
        errno.ENAMETOOLONG: [(root, b"x" * size, 0, 0, 0) for size in (256, 4096, 1 << 20)],
        errno.EXDEV: [(root, b"../" * 1300, os.O_PATH, 0, 8)],
    }
    for error, wrong in cases.items():
        for arguments in wrong:
            result = call("ck_openat2", *arguments)
            assert min(result, 0) == -error, (arguments, result)
            close(result)
    close(shim.openat2(root, "/dev/null", os.O_RDONLY, in_root=True), root)


def make_memory_files() -> None:
    """memfd_create and syncfs: names to the limit and beyond, descriptors that are none."""
    for name, error in ((b"", 0), (b"x" * 249, 0), (b"x" * 250, errno.EINVAL), (NULL, errno.EFAULT)):
        fd = call("ck_memfd_create_exec", name)
        assert min(fd, 0) == -error, (name, fd)
        assert error or call("ck_syncfs", fd) == 0
        close(fd)
    assert {call("ck_syncfs", fd) for fd in (-1, INT_MIN, INT_MAX)} == {-errno.EBADF}


def load_device_filters() -> None:
    """Programs that are right, wrong, empty, missing and too long; only some users may load even the right one."""
    fd = call("ck_load_device_filter", exact(RETURN_ONE), 2)
    assert fd >= 0 or fd == -errno.EPERM, fd
    close(fd)
    garbage = random.Random(3).randbytes(4096)
    wrong = [(exact(garbage), 512), (exact(RETURN_ONE), 1), (exact(RETURN_ONE), 0), (exact(bytes(8)), 1)]
    for program, count in [*wrong, (NULL, 0), (NULL, 1), (NULL, U32), (exact(RETURN_ONE), U32)]:
        assert call("ck_load_device_filter", program, count) < 0


# ── processes ────────────────────────────────────────────────────────────────────────────────────


def close(*fds: int) -> None:
    """Close what was opened."""
    for fd in fds:
        if fd >= 0:
            os.close(fd)


def reap(spawned: Any) -> int:
    """Wait for the end of what was spawned."""
    _, status = os.waitpid(spawned.pid, 0)
    os.close(spawned.pidfd)
    return os.waitstatus_to_exitcode(status)


def start_at_once(program: int, name: bytes, fds: list[int]) -> tuple[int, int]:
    """Spawn; return the error and, where there is none, the exit status."""
    spawned = FFI.new("struct ck_spawned *")
    error = call("ck_spawn", program, exact(name + b"\0"), FFI.new("int[8]", fds), spawned)
    if error:
        return (error, 0)
    assert call("ck_spawn_end", spawned) == 0  # done already
    return (0, reap(spawned))


def start_meanwhile(program: int, name: bytes, fds: list[int]) -> tuple[int, int]:
    """The same in two halves."""
    spawned = FFI.new("struct ck_spawned *")
    error = call("ck_spawn_begin", program, exact(name + b"\0"), FFI.new("int[8]", fds), spawned)
    if error:
        return (error, 0)
    status = reap(spawned)
    error = call("ck_spawn_end", spawned)
    assert call("ck_spawn_end", spawned) == 0
    return (error, 0 if error else status)


def start_programs() -> None:
    """Programs that run, and what is none; names to the limit and beyond; descriptors of all sorts."""
    true, text, directory = os.open("/bin/true", os.O_RDONLY), os.open(__file__, os.O_RDONLY), os.open("/", os.O_RDONLY)
    for start in (start_at_once, start_meanwhile):
        for size in (0, 1, 30, 31, 32, 33, 5000):
            assert start(true, b"x" * size, [-1] * 8) == (0, 0)
        for fds in ([INT_MIN] * 8, [true] * 8, [3, 4, 5, 6, 7, 8, 9, 10], [10, 9, 8, 7, 6, 5, 4, 3], [0, 1, 2, -1] * 2):
            there = [fd if fd < 0 or is_open(fd) else true for fd in fds]
            assert start(true, b"program", there) == (0, 0)
        for program, error in ((-1, errno.EBADF), (INT_MIN, errno.EBADF), (INT_MAX, errno.EBADF)):
            assert start(program, b"program", [-1] * 8) == (-error, 0)
        assert start(text, b"program", [-1] * 8)[0] in (-errno.EACCES, -errno.ENOEXEC)
        assert start(directory, b"program", [-1] * 8) == (-errno.EACCES, 0)
        assert start(true, b"program", [INT_MAX] * 8) == (-errno.EBADF, 0)
        with_little_room(partial(start, true, b"program", [-1] * 8))
    at_once_in_threads(lambda: [start_meanwhile(true, b"thread", [-1] * 8) for _ in range(10)])
    close(true, text, directory)


def start_our_programs() -> None:
    """The monitor and the file worker, which get nothing to do."""
    for _ in range(5):
        pid, pidfd = shim.spawn_program("ck-files", [])
        assert os.waitpid(pid, 0)[0] == pid
        os.close(pidfd)
        starting = shim.begin_monitor([])
        assert os.waitpid(starting.pid, 0)[0] == starting.pid
        starting.end()
        starting.end()
        os.close(starting.pidfd)
        shim.begin_monitor([]).give_up()


def is_open(fd: int) -> bool:
    """Say whether there is such a descriptor."""
    return os.path.exists(f"/proc/self/fd/{fd}")


def with_little_room(act: Callable[[], tuple[int, int]]) -> None:
    """Do something that needs descriptors with room for none, one, two and three of them; each may fail by EMFILE."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.dup(0)
    os.close(lowest)
    results: list[int] = []
    for room in range(4):
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + room, limits[1]))
        results.append(act()[0])
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert -errno.EMFILE == results[0]
    assert set(results) <= {0, -errno.EMFILE, *NO_NAMESPACES}, results


def at_once_in_threads(act: Callable[[], object]) -> None:
    """Do something in four threads."""
    done: list[object] = []
    threads = [threading.Thread(target=lambda: done.append(act())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(done) == 4


def hold_namespace() -> int:
    """Make a user namespace and give it up."""
    holder = FFI.new("struct ck_userns_holder *")
    error: int = call("ck_hold_userns", holder)
    if error == 0:
        os.write(holder.release, b"x")  # it ends by itself; a sanitizer would make that another status
        assert os.waitpid(holder.pid, WALL) == (holder.pid, 0)
        call("ck_release_userns", holder)
        assert (holder.pid, holder.stack) == (-1, NULL)
    return error


def hold_namespaces() -> None:
    """One after the other, several at once, in threads, and without room; where the user may have none, refused."""
    assert hold_namespace() in (0, *NO_NAMESPACES)
    holders = [FFI.new("struct ck_userns_holder *") for _ in range(8)]
    held = [holder for holder in holders if call("ck_hold_userns", holder) == 0]
    assert all(os.path.exists(f"/proc/{holder.pid}/ns/user") for holder in held)
    for holder in held:
        call("ck_release_userns", holder)
    if not held:
        called.add("ck_release_userns")  # nothing to release
    with_little_room(lambda: (hold_namespace(), 0))
    at_once_in_threads(lambda: [hold_namespace() for _ in range(5)])


# ── the program ──────────────────────────────────────────────────────────────────────────────────


def lie(about: str) -> None:
    """Make a call that reads what it must not."""
    if about == "plan":
        call("ck_check_plan_bytes", exact(struct.pack("=II", 50, 64)), 64, 1)
    else:
        spawned = FFI.new("struct ck_spawned *")
        call("ck_spawn_begin", -1, exact(b"name\0"), FFI.new("int[7]"), spawned)


def main() -> None:
    """Call everything; say what was called."""
    if sys.argv[2] == "lie":
        lie(sys.argv[3])
        return
    check_plans(Path(sys.argv[2]).read_bytes(), int(sys.argv[3]))
    check_requests(Path(sys.argv[4]).read_bytes())
    read_formats()
    open_files()
    make_memory_files()
    load_device_filters()
    start_programs()
    start_our_programs()
    hold_namespaces()
    print(*sorted(called))


main()
