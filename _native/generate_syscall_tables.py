"""Write seccomp_tables.py and seccomp_sibling_tables.py from the kernel's own headers.

Usage: python _native/generate_syscall_tables.py container_kit/_plan

The numbers come from the C preprocessor over <asm/unistd.h> (x86-64, i386, x32) and
<asm-generic/unistd.h> with the switches that arm64 sets; those of BPF, seccomp and audit
from <linux/…>. The headers of 32-bit arm are on no x86 machine: libseccomp knows its calls
(Debian: python3-seccomp). `NEWER` holds what Linux added up to 7.0 and the build machine's
headers may lack. A number that a source does know wins over `NEWER`, and must agree with it.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

# New calls have the same number on all architectures since 424 (Linux 5.1).
NEWER = {
    "cachestat": 451,  # 6.5
    "fchmodat2": 452,  # 6.6
    "map_shadow_stack": 453,  # 6.6
    "futex_wake": 454,  # 6.7
    "futex_wait": 455,
    "futex_requeue": 456,
    "statmount": 457,  # 6.8
    "listmount": 458,
    "lsm_get_self_attr": 459,
    "lsm_set_self_attr": 460,
    "lsm_list_modules": 461,
    "mseal": 462,  # 6.10
    "setxattrat": 463,  # 6.13
    "getxattrat": 464,
    "listxattrat": 465,
    "removexattrat": 466,
    "open_tree_attr": 467,  # 6.15
    "file_getattr": 468,  # 6.17
    "file_setattr": 469,
    "listns": 470,  # 6.19
    "rseq_slice_yield": 471,  # 7.0
}
NEWER_X86_64 = {
    "uretprobe": 335,  # 6.11
    "uprobe": 336,  # 6.18
}

# arch/arm64/include/uapi/asm/unistd.h
ARM64_SWITCHES = (
    "__ARCH_WANT_RENAMEAT",
    "__ARCH_WANT_NEW_STAT",
    "__ARCH_WANT_SET_GET_RLIMIT",
    "__ARCH_WANT_TIME32_SYSCALLS",
    "__ARCH_WANT_SYS_CLONE3",
    "__ARCH_WANT_MEMFD_SECRET",
)
ALL_ARM64 = "".join(f"#define {switch}\n" for switch in ARM64_SWITCHES) + "#include <asm-generic/unistd.h>\n"
ALL_X86_64 = "#define __x86_64__ 1\n#include <asm/unistd_64.h>\n"
ALL_I386 = "#include <asm/unistd_32.h>\n"
ALL_X32 = "#define __X32_SYSCALL_BIT 0x40000000\n#include <asm/unistd_x32.h>\n"
X32_BIT = 0x40000000

# The distribution's own interpreter has the bindings. Numbers from 0xf0000 on are arm's private calls.
PYTHON_WITH_SECCOMP = "/usr/bin/python3"
ASK_LIBSECCOMP = """
import seccomp
for number in (*range(512), *range(0xF0000, 0xF0010)):
    try:
        print(seccomp.resolve_syscall(seccomp.Arch.ARM, number).decode(), number)
    except ValueError:
        pass
"""

CONSTANTS = {
    "linux/bpf_common.h": (
        "BPF_LD", "BPF_W", "BPF_ABS", "BPF_ALU", "BPF_AND", "BPF_JMP", "BPF_JA", "BPF_JEQ", "BPF_JGT", "BPF_JGE",
        "BPF_JSET", "BPF_K", "BPF_RET", "BPF_MAXINSNS",
    ),
    "linux/seccomp.h": (
        "SECCOMP_RET_KILL_PROCESS", "SECCOMP_RET_KILL_THREAD", "SECCOMP_RET_TRAP", "SECCOMP_RET_ERRNO",
        "SECCOMP_RET_TRACE", "SECCOMP_RET_LOG", "SECCOMP_RET_ALLOW", "SECCOMP_RET_ACTION_FULL", "SECCOMP_RET_DATA",
    ),
    "linux/audit.h": (
        "AUDIT_ARCH_X86_64", "AUDIT_ARCH_I386", "AUDIT_ARCH_AARCH64", "AUDIT_ARCH_ARM",
    ),
}  # fmt: skip

MAX_LINE = 120


def preprocess(source: str, *flags: str) -> str:
    """Run text through the C preprocessor."""
    compiler = shutil.which("cc") or "gcc"
    done = subprocess.run([compiler, "-E", "-P", *flags, "-"], input=source, capture_output=True, text=True, check=True)
    return done.stdout


def macro_values(include: str, names: Iterable[str]) -> dict[str, int]:
    """Return what macros stand for, where that is an integer constant expression."""
    wanted = sorted(set(names))
    marked = "".join(f'\n"@" "{name}" {name}' for name in wanted)
    values: dict[str, int] = {}
    for name, text in re.findall(r'^"@" "(\w+)" (.*)$', preprocess(include + marked), re.MULTILINE):
        expression = re.sub(r"\b(0x[0-9a-fA-F]+|\d+)[uUlL]+\b", r"\1", text)
        if not re.fullmatch(r"[\d\sxXa-fA-F()|+<~&-]+", expression):
            raise SystemExit(f"{name} is not a constant here: {text}")
        values[name] = int(eval(expression, {"__builtins__": {}})) & 0xFFFFFFFF  # noqa: S307  # digits and operators
    return values


def syscalls(include: str, newer: dict[str, int]) -> dict[str, int]:
    """Return name → number of one architecture."""
    names = re.findall(r"^#define __NR_(\w+) ", preprocess(include, "-dD"), re.MULTILINE)
    found = {
        name.removeprefix("__NR_"): number
        for name, number in macro_values(include, (f"__NR_{name}" for name in names if name != "syscalls")).items()
        if name != "__NR_arch_specific_syscall"
    }
    return completed(found, newer)


def arm_syscalls(newer: dict[str, int]) -> dict[str, int]:
    """Return name → number of 32-bit arm, as libseccomp has them."""
    done = subprocess.run([PYTHON_WITH_SECCOMP, "-c", ASK_LIBSECCOMP], capture_output=True, text=True, check=True)
    found = {name: int(number) for name, number in (line.split() for line in done.stdout.splitlines())}
    return completed(found, newer)


def completed(found: dict[str, int], newer: dict[str, int]) -> dict[str, int]:
    """Return a table with what is newer than its source, by number."""
    for name, number in newer.items():
        if found.setdefault(name, number) != number:
            raise SystemExit(f"{name} is {found[name]} in the headers, not {number}")
    return dict(sorted(found.items(), key=lambda item: item[1]))


def constants() -> dict[str, int]:
    """Return the numbers of BPF programs, seccomp and audit that the compiler needs."""
    return {
        name: number
        for header, names in CONSTANTS.items()
        for name, number in macro_values(f"#include <{header}>\n", names).items()
    }


def table_text(name: str, table: dict[str, int]) -> str:
    """Return a dict as source text, in as few lines as fit."""
    lines, line = [], "   "
    for key, value in table.items():
        item = f' "{key}": {value},'
        if len(line) + len(item) > MAX_LINE:
            lines.append(line)
            line = "   "
        line += item
    return "\n".join([f"{name}: Final[dict[str, int]] = {{", *lines, line, "}  # fmt: skip"])


HEAD = '''"""{what}: generated, do not edit.

Written by `_native/generate_syscall_tables.py` from {source}; up to Linux 7.0.
"""

from __future__ import annotations

from typing import Final
'''


def native_module() -> str:
    """Return the module that every filter needs."""
    head = HEAD.format(
        what="System call numbers, and the numbers of BPF, seccomp and audit", source="the kernel's headers"
    )
    plain = "\n".join(
        f"{name}: Final = 0x{number:X}" if number > 0xFFFF else f"{name}: Final = {number}"
        for name, number in constants().items()
    )
    tables = {"X86_64": syscalls(ALL_X86_64, NEWER | NEWER_X86_64), "AARCH64": syscalls(ALL_ARM64, NEWER)}
    return "\n".join([head, plain, tables_text(tables)])


def siblings_module() -> str:
    """Return the module about the ABIs that 64-bit machines run besides their own."""
    head = HEAD.format(
        what="System call numbers of 32-bit programs on 64-bit machines", source="the kernel's headers and libseccomp"
    )
    x32 = {name: X32_BIT | number for name, number in (NEWER | NEWER_X86_64).items()}
    tables = {"X32": syscalls(ALL_X32, x32), "I386": syscalls(ALL_I386, NEWER), "ARM": arm_syscalls(NEWER)}
    return head + tables_text(tables)


def tables_text(tables: dict[str, dict[str, int]]) -> str:
    """Return several tables as source text."""
    return "".join(f"\n{table_text(name, table)}\n" for name, table in tables.items())


if __name__ == "__main__":
    directory = Path(sys.argv[1])
    (directory / "seccomp_tables.py").write_text(native_module(), encoding="utf-8")
    (directory / "seccomp_sibling_tables.py").write_text(siblings_module(), encoding="utf-8")
