"""All tests of the monitor with one that sanitizers watch, and gcc's analyzer on all that is native."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.monitor.conftest import REPORT
from tests.unit.monitor.sanitized import read_reports
from tests.unit.native.harness import NATIVE

pytestmark = pytest.mark.soak

CHECKOUT = Path(__file__).parents[2]
SMALL = "test_an_idle_monitor_is_small"  # with a C library and what the sanitizers remember it is not


@pytest.mark.needs_root
def test_nothing_the_monitor_is_tested_with_upsets_the_sanitizers(tmp_path: Path) -> None:
    """Its whole suite passes, and no report is written."""
    tmp_path.chmod(0o1777)  # children with other ids write reports, too
    pytest_command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]

    done = subprocess.run(
        [*pytest_command, "tests/unit/monitor", "-k", f"not {SMALL}"],
        cwd=CHECKOUT,
        env={**os.environ, REPORT: str(tmp_path / "report")},
        capture_output=True,
        text=True,
        check=False,
    )

    assert "" == read_reports(tmp_path / "report")
    assert 0 == done.returncode, done.stdout


@pytest.mark.needs_tools("gcc")
@pytest.mark.parametrize("path", sorted(NATIVE.glob("*.c")), ids=lambda path: path.name)
def test_the_analyzer_finds_nothing(path: Path) -> None:
    """gcc -fanalyzer follows every path through a source."""
    command = ["gcc", "-std=gnu11", "-Wall", "-Wextra", "-O2", "-fanalyzer", "-D_GNU_SOURCE", f"-I{NATIVE}"]

    done = subprocess.run([*command, "-c", "-o", "/dev/null", path], capture_output=True, text=True, check=False)

    assert "" == done.stderr
