"""The driver, and directories for it."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from container_kit._linux import shim
from container_kit._plan.ops import Hostname
from tests.unit.native.archives import Unpacker, build_unpacker
from tests.unit.native.harness import (
    EXECUTOR,
    HERE,
    NATIVE,
    Driver,
    Running,
    compile_program,
    compiler,
    container,
    run_payload,
)
from tests.unit.native.unpacked import Place, snapshot


@pytest.fixture(scope="session")
def driver_program(session_directory: Path) -> Path:
    """Compile drive.c and the executor with sanitizers."""
    return compile_program(session_directory / "drive", (HERE / "drive.c", *EXECUTOR))


@pytest.fixture(scope="session")
def old_kernel_program(session_directory: Path) -> Path:
    """Compile the same for a kernel before 6.15, where a mount cannot be cloned out of a detached one."""
    source = (NATIVE / "ops_gather.c").read_text(encoding="utf-8")
    clone = "int direct = ck_clone_mount(entry, false);"
    assert clone in source
    old = session_directory / "ops_gather_old.c"
    old.write_text(source.replace(clone, "int direct = -EINVAL;"), encoding="utf-8")
    others = [name for name in EXECUTOR if name != "ops_gather.c"]
    return compile_program(session_directory / "drive_old", (HERE / "drive.c", old, *others))


@pytest.fixture(params=["driver_program", "old_kernel_program"])
def any_kernel(request: pytest.FixtureRequest, driver: Driver) -> Driver:
    """Give a driver for this kernel, and one for kernels before 6.15."""
    return Driver(request.getfixturevalue(request.param), driver.directory)


@pytest.fixture
def driver(driver_program: Path, tmp_path: Path) -> Driver:
    """Give a driver whose container directory is new."""
    directory = tmp_path / "container"
    directory.mkdir()
    return Driver(driver_program, directory)


@pytest.fixture
def inhabited(driver_program: Path, payload_rootfs: Path, tmp_path: Path) -> Iterator[Running]:
    """Give a running container: the payload's cat, whose stdin we hold."""
    directory = tmp_path / "inhabited"
    directory.mkdir()
    steps = container(payload_rootfs, Hostname(hostname="home"), end=run_payload("cat"))
    running = Driver(driver_program, directory).start(steps)
    running.read_until("outcome")

    yield running

    assert running.finish().status in {0, signal.SIGKILL}


@pytest.fixture(scope="session")
def spawned(session_directory: Path) -> Path:
    """Compile spawned.c, static: it is executed with an empty environment from a memfd."""
    program = session_directory / "spawned"
    command = [compiler(), "-static", "-Wall", "-Wextra", "-Werror", f"-I{NATIVE}", "-o", str(program)]
    subprocess.run([*command, str(HERE / "spawned.c")], check=True)
    return program


@pytest.fixture
def stand_in(spawned: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Put spawned.c in the monitor's place for one test."""
    monkeypatch.setattr(shim, "MONITOR_PROGRAM", spawned)
    monkeypatch.setattr(shim, "_programs", {})

    yield

    for program in shim._programs.values():
        os.close(program.fd)


@pytest.fixture(scope="session")
def unpacker(session_directory: Path) -> Unpacker:
    """Compile the tar reader and unpacker with sanitizers."""
    return build_unpacker(session_directory / "unpack")


@pytest.fixture
def place(unpacker: Unpacker, tmp_path: Path) -> Iterator[Place]:
    """Give a place, and compare its neighbour afterwards."""
    tree, canary = tmp_path / "tree", tmp_path / "canary"
    tree.mkdir()
    canary.mkdir()
    (canary / "victim").write_text("untouched")
    (canary / "victim").chmod(0o600)
    before = snapshot(canary)

    yield Place(unpacker, tree, canary)

    assert before == snapshot(canary)
