"""The extension under AddressSanitizer and UndefinedBehaviorSanitizer, loaded into a Python that has libasan preloaded.

The children of spawn.c share the memory of their parent, and its shadow, and leave by execve or are gone with their
stacks unmapped by a raw system call: what the address sanitizer knew about variables on such a stack stays, and is
wrong for whatever is mapped there next. So in spawn.c it does not guard variables on stacks; it checks every access
there all the same, in parent and child, and undefined behaviour is watched everywhere.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from container_kit._plan.encode import encode_steps
from tests.probes import libasan
from tests.unit.monitor.conftest import load_build
from tests.unit.monitor.sanitized import read_reports
from tests.unit.native.harness import HERE, NATIVE, SANITIZERS, TIMEOUT
from tests.unit.native.test_decode import request as full_request
from tests.unit.native.test_decode import samples

pytestmark = pytest.mark.needs_libasan

UNGUARDED_STACK = {"spawn.c": ("--param=asan-stack=0",)}


@pytest.fixture(scope="module")
def extension(session_directory: Path) -> Path:
    """Give the extension, compiled with sanitizers, by gcc: the library it needs is gcc's."""
    place = session_directory / "sanitized-shim"
    place.mkdir()
    build = load_build()
    glue = place / "_shim.c"
    build.make_builder(NATIVE).emit_c_code(str(glue))
    sources = [glue, *(NATIVE / name for name in build.EXTENSION_SOURCES)]
    flags = ("-std=gnu11", "-g", "-O1", "-fPIC", *SANITIZERS, f"-I{NATIVE}", f"-I{sysconfig.get_path('include')}")
    for number, source in enumerate(sources):
        extra = UNGUARDED_STACK.get(source.name, ())
        command = ["gcc", *flags, *extra, "-c", "-o", place / f"{number}.o", source]
        subprocess.run(command, check=True)
    program = place / "_shim.abi3.so"
    subprocess.run(["gcc", *SANITIZERS, "-shared", "-o", program, *sorted(place.glob("*.o"))], check=True)
    return program


def run_sanitized(extension: Path, report: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run sanitized_calls.py. A child has no stderr: the address sanitizer writes to files, the other ends it."""
    environment = {
        **os.environ,
        "LD_PRELOAD": libasan(),
        "ASAN_OPTIONS": f"exitcode=99:log_path={report}:detect_leaks=0",  # the interpreter frees little at its end
        "UBSAN_OPTIONS": "exitcode=99:print_stacktrace=1",
        "PYTHONMALLOC": "malloc",
    }
    command = [sys.executable, "-B", str(HERE / "sanitized_calls.py"), str(extension), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=TIMEOUT)


def test_no_call_of_the_extension_goes_out_of_bounds(extension: Path, tmp_path: Path) -> None:
    """Every function of ckit.cdef, with arguments that make sense, extreme ones and malformed ones, is in order."""
    plan, request, report = tmp_path / "plan", tmp_path / "request", tmp_path / "report"
    plan.write_bytes(encode_steps(samples()))
    request.write_bytes(full_request())

    done = run_sanitized(extension, report, str(plan), str(len(samples())), str(request))

    assert "" == read_reports(report)
    assert (0, "") == (done.returncode, done.stderr)
    exported = re.findall(r"^\w.*?\b(ck_\w+)\(", (NATIVE / "ckit.cdef").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(exported) == done.stdout.split()


@pytest.mark.parametrize("about", ["plan", "descriptors"])
def test_call_that_lies_about_a_buffer_is_reported(extension: Path, tmp_path: Path, about: str) -> None:
    """The sanitizer does watch: a plan shorter than its size, and seven descriptors where eight are read."""
    report = tmp_path / "report"

    done = run_sanitized(extension, report, "lie", about)

    assert 99 == done.returncode
    assert "heap-buffer-overflow" in read_reports(report)
