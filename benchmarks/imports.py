"""What `import container_kit` costs above a bare interpreter."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time

from benchmarks.lab import CHECKOUT
from benchmarks.table import Result, summarise

BARE = "pass"
IMPORT = "import container_kit"
READY = "import container_kit; container_kit.run; container_kit.Container"  # what the first call loads


def _milliseconds(script: str, env: dict[str, str]) -> float:
    began = time.perf_counter_ns()
    subprocess.run([sys.executable, "-c", script], check=True, cwd=CHECKOUT, env=env, close_fds=False)
    return (time.perf_counter_ns() - began) / 1e6


def measure_import(n: int) -> Result:
    """Start bare interpreters and importing ones in turns; the difference of medians counts."""
    scripts = {"bare": BARE, "import": IMPORT, "ready": READY}
    samples: dict[str, list[float]] = {name: [] for name in scripts}
    with tempfile.TemporaryDirectory() as cache:  # compiled once, as in an installation
        env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        env["PYTHONPYCACHEPREFIX"] = cache
        _milliseconds(READY, env)
        for _ in range(n):
            for name, script in scripts.items():
                samples[name].append(_milliseconds(script, env))
    median = {name: statistics.median(values) for name, values in samples.items()}
    detail = {name: summarise(values) for name, values in samples.items()}
    return Result(
        ours=max(median["import"] - median["bare"], 0.0),
        detail={**detail, "until_the_first_call": median["ready"] - median["bare"]},
    )
