"""A3: a directory of the host stays open in the container, or is entered by its number (CVE-2024-21626)."""

from __future__ import annotations

import os
import resource
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

import container_kit as ck
from container_kit import errors
from tests.security.rigs import Rig

DECOYS = 64
MANY_DECOYS = 4096


@contextmanager
def decoys(count: int, place: Path) -> Generator[list[int]]:
    """Keep files and directories of the host open, the way careless programs do: inherited by what is executed."""
    flags = (os.O_RDONLY, os.O_RDONLY | os.O_DIRECTORY, os.O_PATH | os.O_DIRECTORY)
    fds = [os.open("/dev/null" if n % 3 == 0 else place, flags[n % 3]) for n in range(count)]
    for fd in fds:
        os.set_inheritable(fd, True)
    try:
        yield fds
    finally:
        for fd in fds:
            os.close(fd)


def numbers(output: str) -> list[int]:
    """Return the descriptors that `payload fds` printed."""
    return sorted(int(line.split()[0]) for line in output.splitlines())


def assert_only_three(rig: Rig) -> None:
    """Look from inside and from outside, at each kind of process."""
    run = rig.run("fds").stdout
    with_init = rig.run("fds", init=True).stdout
    box = rig.start()
    executed = box.exec(["payload", "fds"], text=True).stdout
    of_init = Path(f"/proc/{box.pid}/fd")

    assert [0, 1, 2] == numbers(run)
    assert [0, 1, 2] == numbers(with_init)
    assert [0, 1, 2] == numbers(executed)
    assert not os.access(of_init, os.R_OK) or ["0", "1", "2"] == sorted(os.listdir(of_init))


def test_A3_only_the_three_standard_descriptors_are_inside(rig: Rig, tmp_path: Path) -> None:
    """Nothing of what the caller has open reaches a container: not by run, start, init or exec."""
    with decoys(DECOYS, tmp_path):
        assert_only_three(rig)


@pytest.mark.soak
def test_A3_thousands_of_descriptors_stay_outside(rig: Rig, tmp_path: Path) -> None:
    """However many there are."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        with decoys(MANY_DECOYS, tmp_path):
            for _ in range(100):
                assert_only_three(rig)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("way", ["run", "exec"])
def test_A3_a_working_directory_behind_a_descriptor_is_refused(rig: Rig, tmp_path: Path, way: str) -> None:
    """The caller holds open directories of the host; none can be entered by its number."""
    box = rig.start()
    with decoys(16, tmp_path) as held:
        for number in (3, *held, 63):
            for process in ("self", "thread-self", "1"):
                path = f"/proc/{process}/fd/{number}"
                with pytest.raises(errors.InvalidSpecError) as caught:
                    enter(rig, box, path, way)
                assert "working_dir" == caught.value.field


@pytest.mark.parametrize("way", ["run", "exec"])
@pytest.mark.parametrize("process", ["self", "thread-self", "1"])
def test_A3_a_symlink_to_a_descriptor_is_no_way_out_either(
    rig: Rig, own_rootfs: Path, own_image: ck.Image, tmp_path: Path, process: str, way: str
) -> None:
    """The image brings the link, and the caller names the link only."""
    with decoys(8, tmp_path) as held:
        for number in (*held, 63):
            link = own_rootfs / f"to-{number}"
            link.symlink_to(f"/proc/{process}/fd/{number}")
        box = rig.start(image=own_image)
        for number in (*held, 63):
            with pytest.raises(errors.InvalidSpecError) as caught:
                enter(rig, box, f"/to-{number}", way, own_image)
            assert "working_dir" == caught.value.field


def enter(rig: Rig, box: ck.Container, path: str, way: str, image: ck.Image | None = None) -> None:
    """Start a process in a directory."""
    if way == "run":
        rig.run("pwd", image=image, working_dir=path)
    else:
        box.exec(["payload", "pwd"], working_dir=path)


@pytest.mark.parametrize("way", ["run", "exec"])
def test_A3_the_working_directory_is_inside(rig: Rig, way: str) -> None:
    """getcwd(2) says a path of the container: the directory can be reached from its root."""
    assert "/\n" == rig.output(way, "pwd")
