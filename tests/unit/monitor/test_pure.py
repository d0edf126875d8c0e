"""The monitor's pure functions, hosted: text, log records, restart decisions, under ASan and UBSan where there are."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent
NATIVE = HERE.parents[2] / "_native"
SOURCES = [NATIVE / name for name in ("monitor_format.c", "monitor_cri.c", "monitor_restart.c")]
SANITIZERS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]


def compile_hosted(program: Path, *flags: str) -> bool:
    """Compile pure.c with what it tests; tell whether that worked."""
    command = ["cc", "-std=gnu11", "-g", "-O1", "-Wall", "-Wextra", *flags, f"-I{NATIVE}", "-o", str(program)]
    return subprocess.run([*command, str(HERE / "pure.c"), *map(str, SOURCES)], check=False).returncode == 0


@pytest.mark.parametrize("flags", [[], SANITIZERS], ids=["plain", "sanitized"])
def test_pure_functions_hold_their_laws(tmp_path: Path, flags: list[str]) -> None:
    """Stamps agree with gmtime, joined records are the input, cut-off text is never overrun, back-off doubles."""
    program = tmp_path / "pure"
    if not compile_hosted(program, *flags):
        assert flags, "pure.c does not compile"
        pytest.skip("needs_tools: the compiler has no sanitizers")

    result = subprocess.run([program], capture_output=True, text=True, check=False)

    assert ("ok\n", 0) == (result.stdout, result.returncode), result.stderr
