"""Story: a host that cannot, or cannot any more, is named with what to change, and nothing is left behind."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import container_kit as ck
from container_kit import errors
from tests.e2e.worlds import AS_STRANGER, run_in

# ── the root directory ───────────────────────────────────────────────────────────────────────────


def refusal(tmp_path: Path, root: Path | str) -> errors.RootDirectoryError:
    """Return the error of an engine in this directory."""
    with pytest.raises(errors.RootDirectoryError) as caught:
        ck.Engine(root, runtime=str(tmp_path / "r"))
    assert caught.value.hint
    return caught.value


def test_a_root_that_is_a_file_is_refused(tmp_path: Path) -> None:
    """The file is not touched."""
    file = tmp_path / "file"
    file.write_text("mine")

    error = refusal(tmp_path, file)

    assert (str(file), "is not a directory") == (error.path, error.reason)
    assert "mine" == file.read_text()


@pytest.mark.parametrize("root", ["/proc/container_kit", "/sys/container_kit"])
def test_a_root_on_a_file_system_of_the_kernel_is_refused(tmp_path: Path, root: str) -> None:
    """Nobody can make a directory there."""
    error = refusal(tmp_path, root)

    assert (root, "cannot be made") == (error.path, error.reason)
    assert error.errno in (errno.ENOENT, errno.EPERM, errno.EACCES)


def test_a_root_that_others_may_write_to_is_refused(tmp_path: Path) -> None:
    """The hint is the command that closes it."""
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o777)

    error = refusal(tmp_path, shared)

    assert f"chmod 700 {shared}" == error.hint


@pytest.mark.needs_userns
def test_a_root_that_is_not_writable_is_refused(tmp_path: Path, payload_rootfs: Path) -> None:
    """A directory on a file system that is mounted read-only."""
    (tmp_path / "closed").mkdir()

    found = run_in(
        [*AS_STRANGER, "--mount"],
        'print(json.dumps(attempt(lambda: ck.Engine(place + "/closed/s", runtime=place + "/r"))))',
        tmp_path,
        payload_rootfs,
        setup=f"mount -t tmpfs -o ro closed {tmp_path}/closed",
    )

    assert ("RootDirectoryError", "cannot be made", errno.EROFS) == (found["type"], found["reason"], found["errno"])
    assert (f"{tmp_path}/closed/s", True) == (found["path"], "Engine(root=" in found["hint"])


@pytest.mark.parametrize("root", ["", "a\0b"], ids=repr)
def test_a_root_that_is_no_path_is_refused(root: str) -> None:
    """An empty one would be wherever the program happens to run."""
    with pytest.raises(errors.InvalidSpecError) as caught:
        ck.Engine(root)

    assert "root" == caught.value.field


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Give a file system of 600 KiB; needs root."""
    place = tmp_path / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=600k,mode=755", "small", place], check=True)

    yield place

    subprocess.run(["umount", place], check=True)


@pytest.fixture
def overlay(tmp_path: Path) -> Iterator[Path]:
    """Give an overlay, on which overlayfs refuses to put an upper directory; needs root."""
    for name in ("lower", "upper", "work", "merged"):
        (tmp_path / name).mkdir()
    options = f"lowerdir={tmp_path}/lower,upperdir={tmp_path}/upper,workdir={tmp_path}/work"
    subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, tmp_path / "merged"], check=True)

    yield tmp_path / "merged"

    subprocess.run(["umount", tmp_path / "merged"], check=True)


@pytest.mark.needs_root
@pytest.mark.needs_overlay
def test_a_root_that_overlayfs_refuses_says_which_file_systems_work(tmp_path: Path, overlay: Path) -> None:
    """An overlay cannot be the upper layer of another one."""
    error = refusal(tmp_path, overlay / "s")

    assert (str(overlay / "s"), errno.EINVAL) == (error.path, error.errno)
    assert "overlayfs refuses this file system (overlay)" == error.reason
    assert "ext4, xfs, btrfs or tmpfs" in (error.hint or "")
    assert [] == list((overlay / "s").glob(".probe*"))


# ── a full disk ──────────────────────────────────────────────────────────────────────────────────


def fill(disk: Path) -> Path:
    """Leave not a byte on a file system."""
    filler = disk / "filler"
    with pytest.raises(OSError, match="No space left"):
        filler.write_bytes(bytes(1 << 20))
    return filler


@pytest.mark.needs_root
def test_a_full_disk_is_a_typed_error_and_what_runs_goes_on(
    tmp_path: Path, small_disk: Path, payload_rootfs: Path
) -> None:
    """Nothing new can be made; exec, stop and list go on; with room again everything does."""
    image = ck.Image.from_directory(payload_rootfs)
    with ck.Engine(small_disk / "s", runtime=str(tmp_path / "r")) as engine:
        box = ck.start(image, ["payload", "sleep", "1000"], detach=True, engine=engine)
        filler = fill(small_disk)

        for attempt in (
            lambda: ck.run(image, ["payload", "true"], engine=engine),
            lambda: ck.Container.create(image, ["payload", "true"], engine=engine),
        ):
            with pytest.raises(errors.StorageFullError) as caught:
                attempt()
            assert errno.ENOSPC == caught.value.errno
            assert "free some space" in (caught.value.hint or "")
        assert 0 == box.exec(["payload", "true"]).returncode
        box.stop(timeout=0)
        assert ["exited"] == [one.status for one in ck.Container.list(all=True, engine=engine)]

        filler.unlink()
        assert 0 == ck.run(image, ["payload", "true"], engine=engine).returncode
        box.remove()
        assert [] == os.listdir(engine.site.home.containers)


@pytest.mark.needs_root
def test_a_container_can_be_removed_from_a_full_disk(tmp_path: Path, small_disk: Path, payload_rootfs: Path) -> None:
    """What it wrote is what fills the disk; removing it makes room for saying so."""
    image = ck.Image.from_directory(payload_rootfs)
    with ck.Engine(small_disk / "s", runtime=str(tmp_path / "r")) as engine:
        box = ck.start(image, ["payload", "sleep", "1000"], detach=True, engine=engine)
        box.exec(["payload", "write", "/tmp/kept", "x" * 65_000], check=True)
        fill(small_disk)

        box.remove(force=True)

        assert [] == ck.Container.list(all=True, engine=engine)
        assert [] == os.listdir(engine.site.home.containers)


@pytest.mark.needs_root
def test_an_engine_cannot_be_opened_on_a_full_disk(tmp_path: Path, small_disk: Path) -> None:
    """The error says that it is the disk."""
    fill(small_disk)

    with pytest.raises(ck.ContainerKitError) as caught:
        ck.Engine(small_disk / "s", runtime=str(tmp_path / "r"))

    assert isinstance(caught.value, OSError)
    assert errno.ENOSPC == caught.value.errno


# ── limits of the caller ─────────────────────────────────────────────────────────────────────────

FEW_FILES = """
with open_engine() as engine:
    ck.run(image, ["payload", "true"], engine=engine)
    box = ck.start(image, ["payload", "sleep", "1000"], engine=engine)
    open_now = lambda: len(os.listdir("/proc/self/fd"))
    actions = {
        "run": lambda: ck.run(image, ["payload", "true"], engine=engine),
        "start": lambda: ck.start(image, ["payload", "true"], engine=engine).remove(force=True, missing_ok=True),
        "exec": lambda: box.exec(["payload", "true"]),
        "spawn": lambda: box.spawn(["payload", "true"], stdin=ck.PIPE).__exit__(None, None, None),
        "attach": lambda: box.attach().close(),
    }
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    before, found = open_now(), []
    for room in range(-2, 24):
        resource.setrlimit(resource.RLIMIT_NOFILE, (before + room, hard))
        found += [(name, error) for name, action in actions.items() if (error := attempt(action))]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    after = [name for name, action in actions.items() if attempt(action)]
    print(json.dumps({"found": found, "after": after, "leaked": open_now() - before}))
"""


def test_too_few_descriptors_are_a_typed_error_and_none_is_lost(tmp_path: Path, payload_rootfs: Path) -> None:
    """With room for each number of them: typed errors with EMFILE, then, with room enough, all works again."""
    answer = run_in([], FEW_FILES, tmp_path, payload_rootfs)

    found: list[tuple[str, dict[str, Any]]] = answer["found"]
    assert [] == [one for one in found if not one[1]["typed"]]
    assert {"run", "start", "exec", "spawn", "attach"} == {name for name, _ in found}
    assert all("open files" in (error["hint"] or "") for _, error in found if error["errno"] == errno.EMFILE)
    assert ([], 0) == (answer["after"], answer["leaked"])


FEW_PROCESSES = """
with open_engine() as engine:
    ck.run(image, ["payload", "true"], engine=engine)
    _, hard = resource.getrlimit(resource.RLIMIT_NPROC)
    resource.setrlimit(resource.RLIMIT_NPROC, (1, hard))
    refused = attempt(lambda: ck.run(image, ["payload", "true"], engine=engine))
    resource.setrlimit(resource.RLIMIT_NPROC, (hard, hard))
    after = attempt(lambda: ck.run(image, ["payload", "true"], engine=engine))
    print(json.dumps({"refused": refused, "after": after, "left": os.listdir(engine.site.home.containers)}))
"""


def test_too_few_processes_are_a_typed_error(tmp_path: Path, payload_rootfs: Path) -> None:
    """RLIMIT_NPROC does not bind the host's root (setrlimit(2)): there the run succeeds all the same."""
    answer = run_in([], FEW_PROCESSES, tmp_path, payload_rootfs)

    refused = answer["refused"]
    if os.geteuid() == 0:
        assert refused is None
    else:
        assert (True, errno.EAGAIN) == (refused["typed"], refused["errno"])
        assert "ulimit -u" in refused["hint"]
    assert (None, []) == (answer["after"], answer["left"])


# ── no user namespaces ───────────────────────────────────────────────────────────────────────────


@pytest.mark.needs_userns
def test_user_namespaces_that_are_switched_off_are_named_with_their_sysctl(
    tmp_path: Path, payload_rootfs: Path
) -> None:
    """A user without rights on a host with user.max_user_namespaces=0."""
    found = run_in(
        AS_STRANGER,
        "print(json.dumps(attempt(open_engine)))",
        tmp_path,
        payload_rootfs,
        setup="echo 0 > /proc/sys/user/max_user_namespaces",
    )

    assert ("UnsupportedHostError", "user namespaces") == (found["type"], found["feature"])
    assert "the sysctl user.max_user_namespaces is 0" == found["reason"]
    assert "sysctl -w user.max_user_namespaces=" in found["hint"]
    assert found["errno"] in (errno.ENOSPC, errno.EUSERS)
