"""Write container_kit/_plan/seccomp_tables.py from the kernel's own headers.

Usage: python _native/generate_syscall_tables.py > container_kit/_plan/seccomp_tables.py

The numbers come from the C preprocessor over <asm/unistd.h> (x86-64) and
<asm-generic/unistd.h> with the switches that arm64 sets; those of BPF, seccomp and audit
from <linux/…>. `NEWER` holds what Linux added up to 6.18 and the build machine's headers
may lack. A number that a header does know wins over `NEWER`, and must agree with it.
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

CONSTANTS = {
    "linux/bpf_common.h": (
        "BPF_LD", "BPF_W", "BPF_ABS", "BPF_ALU", "BPF_AND", "BPF_JMP", "BPF_JA", "BPF_JEQ", "BPF_JGT", "BPF_JGE",
        "BPF_JSET", "BPF_K", "BPF_RET", "BPF_MAXINSNS",
    ),
    "linux/seccomp.h": (
        "SECCOMP_RET_KILL_PROCESS", "SECCOMP_RET_ERRNO", "SECCOMP_RET_ALLOW", "SECCOMP_RET_ACTION_FULL",
        "SECCOMP_RET_DATA",
    ),
    "linux/audit.h": ("AUDIT_ARCH_X86_64", "AUDIT_ARCH_I386", "AUDIT_ARCH_AARCH64"),
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


def module_text() -> str:
    """Return the whole generated module."""
    head = '''"""System call numbers, and the numbers of BPF, seccomp and audit: generated, do not edit.

Written by `_native/generate_syscall_tables.py` from the kernel's headers; up to Linux 6.18.
"""

from __future__ import annotations

from typing import Final
'''
    plain = "\n".join(
        f"{name}: Final = 0x{number:X}" if number > 0xFFFF else f"{name}: Final = {number}"
        for name, number in constants().items()
    )
    x86_64 = syscalls(ALL_X86_64, NEWER | NEWER_X86_64)
    arm64 = syscalls(ALL_ARM64, NEWER)
    return "\n".join([head, plain, "", table_text("X86_64", x86_64), "", table_text("AARCH64", arm64), ""])


if __name__ == "__main__":
    if len(sys.argv) > 1:
        Path(sys.argv[1]).write_text(module_text(), encoding="utf-8")
    else:
        sys.stdout.write(module_text())
