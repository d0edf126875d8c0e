"""The monitor program and its payload, compiled once; a bench for each test, which must leave nothing behind."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from tests.unit.monitor.harness import Bench, payload_processes
from tests.unit.monitor.sanitized import build_sanitized_monitor

HERE = Path(__file__).parent
NATIVE = HERE.parents[2] / "_native"
CGROUPS = Path("/sys/fs/cgroup/unified")
REPORT = "CONTAINER_KIT_SANITIZER_REPORT"  # set by tests/soak/test_sanitized.py


def load_build() -> ModuleType:
    """Import _native/build.py, which is in no package."""
    spec = importlib.util.spec_from_file_location("ck_native_build", NATIVE / "build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def monitor_program(session_directory: Path) -> Path:
    """Give the monitor, compiled; with sanitizers when the environment names a file for their reports."""
    program = session_directory / "ck-monitor"
    if report := os.environ.get(REPORT):
        return build_sanitized_monitor(program, Path(report), load_build())
    load_build().compile_program("ck-monitor", program)
    return program


@pytest.fixture(scope="session")
def monitor_rootfs(session_directory: Path) -> Path:
    """Give a root directory with the payload in it; what a container writes there stays for the run."""
    root = session_directory / "monitor-root"
    for name in ("proc", "dev/pts", "tmp"):
        (root / name).mkdir(parents=True)
    source, program = HERE / "payload.c", root / "payload"
    subprocess.run(["cc", "-static", "-O1", "-Wall", "-Wextra", "-Werror", "-o", program, source], check=True)
    return root


def mounts() -> list[str]:
    """Return the mount table of this process."""
    return Path("/proc/self/mountinfo").read_text().splitlines()


@pytest.fixture
def bench(monitor_program: Path, monitor_rootfs: Path, tmp_path: Path) -> Iterator[Bench]:
    """Give a bench; afterwards no process and no mount of it may be left."""
    root = tmp_path / "root"
    shutil.copytree(monitor_rootfs, root)
    before = mounts()
    bench = Bench(monitor_program, root, tmp_path)

    yield bench

    bench.close()
    assert before == mounts()
    assert set() == payload_processes()


@pytest.fixture
def cgroup_bench(bench: Bench) -> Iterator[Bench]:
    """Give a bench whose containers have cgroups; none may be left."""
    if not (CGROUPS / "cgroup.procs").exists():
        pytest.skip("needs_cgroup2: no cgroup v2 tree at /sys/fs/cgroup/unified")
    bench.cgroup_parent = str(CGROUPS)

    yield bench

    bench.close()
    assert [] == list(CGROUPS.glob(bench.cgroup().name.removesuffix("0") + "*"))
