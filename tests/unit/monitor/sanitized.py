"""Builds the monitor with AddressSanitizer and UndefinedBehaviorSanitizer, hosted by a C library.

The executor runs in children on stacks of their own that the monitor unmaps by raw system calls, and never returns:
the address sanitizer would go on to believe what it knew about such a stack. So only undefined behaviour is watched
in it here; the rest is in tests/unit/native, where a program launches one plan and ends.
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from types import ModuleType

from tests.unit.native.harness import WARNINGS, compiler, sanitizer_flags

HERE = Path(__file__).parent
NATIVE = HERE.parents[2] / "_native"
WITH_LIBC = ("start.c", "freestanding.c")  # the C library's part
PARSER = "decode.c"  # the monitor's as well


def build_sanitized_monitor(output: Path, report: Path, build: ModuleType) -> Path:
    """Compile the monitor with sanitizers that write what they find to `report`.<pid>; `build` is _native/build.py."""
    sources: list[Path] = [path for path in build.program_sources("ck-monitor") if path.name not in WITH_LIBC]
    executor = [path for path in sources if path.name in build.EXECUTOR_SOURCES and path.name != PARSER]
    others = [path for path in sources if path not in executor]
    objects = output.with_name(output.name + "-objects")
    objects.mkdir()
    flags = [*WARNINGS, *sanitizer_flags(), "-D_GNU_SOURCE", f"-I{NATIVE}"]
    _compile(executor, objects, [*flags, "-fno-sanitize=address"])
    _compile([*others, HERE / "sanitized.c"], objects, [*flags, f'-DREPORT="{report}"'])
    command = [compiler(), *sanitizer_flags(), "-o", str(output), *map(str, sorted(objects.glob("*.o")))]
    subprocess.run(command, check=True)
    return output


def read_reports(report: Path) -> str:
    """Return what the sanitizers complained about, with the stacks; empty when they had nothing to say."""
    return "\n".join(path.read_text(errors="replace") for path in sorted(report.parent.glob(report.name + ".*")))


def _compile(sources: list[Path], objects: Path, flags: list[str]) -> None:
    command = [compiler(), *flags, "-c", *(str(path.resolve()) for path in sources)]
    subprocess.run(command, check=True, cwd=objects)
