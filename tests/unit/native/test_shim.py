"""User namespaces and openat2 by the compiled shim (spawn.c, shim.c)."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

import pytest

from container_kit._linux import shim


def own_namespace() -> str:
    """Return the name of this process's user namespace."""
    return os.readlink("/proc/self/ns/user")


@pytest.mark.needs_userns
def test_held_namespace_is_new_and_can_be_mapped_and_opened() -> None:
    """Inside the block its maps can be written and it can be opened; the descriptor outlives the block."""
    uid = os.geteuid()
    with shim.hold_user_namespace() as pid:
        name = os.readlink(f"/proc/{pid}/ns/user")
        Path(f"/proc/{pid}/uid_map").write_text(f"0 {uid} 1\n")
        fd = os.open(f"/proc/{pid}/ns/user", os.O_RDONLY)

    with pytest.raises(FileNotFoundError):
        os.stat(f"/proc/{pid}")
    assert os.readlink(f"/proc/self/fd/{fd}") == name != own_namespace()
    os.close(fd)


@pytest.mark.needs_userns
def test_holder_changes_nothing_in_the_caller() -> None:
    """The caller stays in its namespace, keeps its descriptors, has no child and can read its own /proc."""
    before = own_namespace(), set(os.listdir("/proc/self/fd"))

    with shim.hold_user_namespace():
        Path("/proc/self/environ").read_bytes()

    assert (own_namespace(), set(os.listdir("/proc/self/fd"))) == before
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


@pytest.mark.needs_userns
def test_holder_is_gone_although_somebody_forked_meanwhile() -> None:
    """A child that inherited the pipe does not keep the holder alive."""
    with shim.hold_user_namespace() as pid:
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(writer)
            os.read(reader, 1)
            os._exit(0)
    gone = not os.path.exists(f"/proc/{pid}")
    os.close(writer)
    os.close(reader)
    os.waitpid(child, 0)

    assert gone


@pytest.mark.needs_userns
def test_holder_closes_what_it_inherited() -> None:
    """A pipe of the caller reads its end although a holder is alive."""
    reader, writer = os.pipe()
    with shim.hold_user_namespace():
        os.close(writer)
        assert os.read(reader, 1) == b""
    os.close(reader)


@pytest.mark.needs_userns
def test_threads_may_hold_namespaces_at_once() -> None:
    """Eight at a time, all different."""
    names: list[str] = []
    barrier = threading.Barrier(8)

    def work() -> None:
        with shim.hold_user_namespace() as pid:
            barrier.wait(timeout=30)
            names.append(os.readlink(f"/proc/{pid}/ns/user"))
            barrier.wait(timeout=30)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len({*names, own_namespace()}) == 9


@pytest.fixture
def root(tmp_path: Path) -> int:
    """Give a descriptor of a tree with links in and out of it."""
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "name").write_text("inside")
    (tmp_path / "absolute").symlink_to("/etc/name")
    (tmp_path / "climbing").symlink_to("../../../../../etc/name")
    (tmp_path / "magic").symlink_to("/proc/self/root")
    return os.open(tmp_path, os.O_PATH | os.O_DIRECTORY)


@pytest.mark.parametrize("path", ["etc/name", "/etc/name", "absolute", "climbing", "../../etc/name"])
def test_paths_resolve_inside_the_given_root(root: int, path: str) -> None:
    """Absolute paths, absolute symlinks and .. stay inside."""
    with open(shim.openat2(root, path, os.O_RDONLY, in_root=True), encoding="utf-8") as file:
        assert file.read() == "inside"
    os.close(root)


@pytest.mark.parametrize(
    ("path", "options", "error"),
    [
        ("absolute", {"beneath": True}, errno.EXDEV),
        ("../x", {"beneath": True}, errno.EXDEV),
        ("absolute", {"in_root": True, "no_symlinks": True}, errno.ELOOP),
        ("magic/etc/passwd", {}, errno.ELOOP),
        ("/dev/null", {"no_xdev": True}, errno.EXDEV),
        ("missing", {"in_root": True}, errno.ENOENT),
    ],
)
def test_refusals_are_os_errors_with_the_path(root: int, path: str, options: dict[str, bool], error: int) -> None:
    """Every limit is enforced by the kernel and named by its errno."""
    with pytest.raises(OSError, match=os.strerror(error)) as caught:
        shim.openat2(root, path, os.O_RDONLY, **options)

    assert (caught.value.errno, caught.value.filename) == (error, path)
    os.close(root)


def test_files_can_be_made_and_are_close_on_exec(tmp_path: Path) -> None:
    """O_CREAT takes the mode; descriptors never leak into programs."""
    root = os.open(tmp_path, os.O_PATH)

    fd = shim.openat2(root, "new", os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode=0o600, beneath=True)

    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o600
    assert not os.get_inheritable(fd)
    os.close(fd)
    os.close(root)


def test_nul_in_a_path_is_refused(tmp_path: Path) -> None:
    """A path that C would read as another one is no path."""
    with pytest.raises(ValueError, match="NUL"):
        shim.openat2(0, f"{tmp_path}\0x", os.O_RDONLY)
