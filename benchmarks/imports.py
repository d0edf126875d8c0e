"""What `import container_kit` costs above a bare interpreter."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

from benchmarks.lab import CHECKOUT
from benchmarks.table import Result, summarise


def _milliseconds(script: str) -> float:
    began = time.perf_counter_ns()
    subprocess.run([sys.executable, "-c", script], check=True, cwd=CHECKOUT, close_fds=False)
    return (time.perf_counter_ns() - began) / 1e6


def measure_import(n: int) -> Result:
    """Start bare interpreters and importing ones in turns; the difference of medians counts."""
    bare: list[float] = []
    importing: list[float] = []
    for _ in range(n):
        bare.append(_milliseconds("pass"))
        importing.append(_milliseconds("import container_kit; container_kit.run; container_kit.Container"))
    return Result(
        ours=max(statistics.median(importing) - statistics.median(bare), 0.0),
        detail={"bare": summarise(bare), "importing": summarise(importing), "min": min(importing) - min(bare)},
    )
