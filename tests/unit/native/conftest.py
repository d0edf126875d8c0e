"""The driver, and directories for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.native.harness import EXECUTOR, HERE, Driver, compile_program


@pytest.fixture(scope="session")
def driver_program(session_directory: Path) -> Path:
    """Compile drive.c and the executor with sanitizers."""
    return compile_program(session_directory / "drive", (HERE / "drive.c", *EXECUTOR))


@pytest.fixture
def driver(driver_program: Path, tmp_path: Path) -> Driver:
    """Give a driver whose container directory is new."""
    directory = tmp_path / "container"
    directory.mkdir()
    return Driver(driver_program, directory)
