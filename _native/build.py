"""Compiles what is native: the extension that Python calls, and the programs `ck-monitor` and `ck-files`.

`ffibuilder` is for setuptools' `cffi_modules`; `compile_program` for the build command.
Run as a program it builds all in place, for work on a checkout. Not a build system: see setup.py.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from cffi import FFI  # type: ignore[import-untyped]  # it ships no types

NATIVE = Path(os.path.relpath(Path(__file__).resolve().parent))
# What only clang warns of, and gcc ignores: a cmsghdr with its descriptors behind it; "-static -no-pie".
NO_WARNINGS = ("-Wno-gnu-variable-sized-type-not-at-end", "-Wno-unused-command-line-argument")
WARNINGS = ("-std=gnu11", "-Wall", "-Wextra", "-Werror", *NO_WARNINGS)

# The extension checks plans and starts processes; it never runs a plan.
EXTENSION_SOURCES = ("shim.c", "spawn.c", "decode.c")
EXECUTOR_SOURCES = (
    "decode.c",
    "resolve.c",
    "execute.c",
    "ops_attach.c",
    "ops_confine.c",
    "ops_gather.c",
    "ops_overlay.c",
    "ops_process.c",
    "ops_terminal.c",
    "ops_userns.c",
    "reaper.c",
)
SHARED_SOURCES = (*EXECUTOR_SOURCES, "freestanding.c", "monitor_format.c", "removal.c", "start.c")

# The programs: their own sources, and how they are optimised: a monitor stays in memory, ck-files moves data.
PROGRAMS = {
    "ck-monitor": ("monitor*.c", "-Os"),
    "ck-files": ("files*.c", "-O2"),
}

PROGRAM_FLAGS = (
    "-D_GNU_SOURCE",
    "-ffreestanding",
    "-fno-stack-protector",
    "-fno-asynchronous-unwind-tables",
    "-fno-unwind-tables",
    "-ffunction-sections",
    "-fdata-sections",
    "-fno-pie",
    "-U_FORTIFY_SOURCE",
)
LINK_FLAGS = (
    "-static",
    "-no-pie",
    "-nostdlib",
    "-s",
    "-Wl,--build-id=none",
    "-Wl,--gc-sections",
    "-Wl,-z,noexecstack",
    "-Wl,-z,norelro",
    "-Wl,-z,noseparate-code",
)

PREAMBLE = """
#include <linux/fcntl.h>
#include <linux/openat2.h>
#ifndef F_SEAL_EXEC
#define F_SEAL_EXEC 0x20
#endif
#include "decode.h"
#include "files.h"
#include "shim.h"
#include "spawn.h"
static const char CK_SETTINGS_FORMAT_TEXT[] = CK_SETTINGS_FORMAT;
static const unsigned CK_SIZE_OF_REQUEST = sizeof(struct ck_request);
static const unsigned CK_SIZE_OF_SECTION = sizeof(struct ck_section);
static const unsigned CK_SIZE_OF_MESSAGE = sizeof(struct ck_message);
static const unsigned CK_SIZE_OF_FILE_REQUEST = sizeof(struct ck_file_request);
static const unsigned CK_SIZE_OF_FILE_REPLY = sizeof(struct ck_file_reply);
static const unsigned CK_SIZE_OF_FILE_STATUS = sizeof(struct ck_file_status);
"""


def make_builder(native: Path = NATIVE) -> FFI:
    """Return the cffi builder of container_kit._shim; setuptools wants its paths relative."""
    builder = FFI()
    builder.cdef((native / "ckit.cdef").read_text(encoding="utf-8"))
    builder.set_source(
        "container_kit._shim",
        PREAMBLE,
        sources=[str(native / name) for name in EXTENSION_SOURCES],
        include_dirs=[str(native)],
        depends=[str(path) for path in sorted(native.glob("*.h"))],
        extra_compile_args=["-std=gnu11", "-fno-stack-protector"],
        py_limited_api=True,
    )
    return builder


ffibuilder = make_builder()


def find_compiler() -> list[str]:
    """Return the C compiler as a command: $CC, else the first there is of cc, gcc and clang."""
    chosen = os.environ.get("CC")
    if chosen:
        return shlex.split(chosen)
    for name in ("cc", "gcc", "clang"):
        path = shutil.which(name)
        if path:
            return [path]
    raise FileNotFoundError("no C compiler: set CC, or install gcc or clang")


def program_sources(name: str) -> list[Path]:
    """Return the sources of a program: the executor, its own files, and what a libc would have given."""
    pattern, _ = PROGRAMS[name]
    own = sorted(path for path in NATIVE.glob(pattern) if path.name not in SHARED_SOURCES)
    return [*(NATIVE / source for source in SHARED_SOURCES), *own]


def compile_program(name: str, output_path: str | Path, cc: str | None = None, extra_flags: Sequence[str] = ()) -> None:
    """Compile one of PROGRAMS: static, stripped, without a libc.

    Args:
        name: which one.
        output_path: where the program goes.
        cc: the compiler command; found when missing.
        extra_flags: come last on the command line.

    Raises:
        subprocess.CalledProcessError: the compiler said no.
    """
    compiler = shlex.split(cc) if cc else find_compiler()
    _, optimisation = PROGRAMS[name]
    flags = [*WARNINGS, optimisation, *PROGRAM_FLAGS, f"-I{NATIVE}", *LINK_FLAGS]
    sources = [str(path) for path in program_sources(name)]
    subprocess.run([*compiler, *flags, "-o", str(output_path), *sources, *extra_flags], check=True)


def build_in_place() -> None:
    """Build everything beside the package's modules."""
    package = NATIVE.resolve().parent / "container_kit"
    with tempfile.TemporaryDirectory(prefix=".build-", dir=package) as place:
        built = Path(make_builder(NATIVE.resolve()).compile(tmpdir=place))
        for name in PROGRAMS:
            compile_program(name, f"{place}/{name}")
        # A program that has the old files mapped keeps them; writing into them would crash it.
        built.replace(package / built.name)
        for name in PROGRAMS:
            Path(place, name).replace(package / name)


if __name__ == "__main__":
    build_in_place()
