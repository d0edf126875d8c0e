"""Rules of the C sources that a compiler does not check (see _native/README.md)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

from tests.unit.native.harness import NATIVE

SOURCES = sorted([*NATIVE.glob("*.c"), *NATIVE.glob("*.h")])
# What runs with the container's tree in reach, or finds the way in it.
IN_THE_CONTAINER = ("ops_attach.c", "ops_confine.c", "ops_terminal.c", "ops_process.c", "resolve.c", "reaper.c")
# What runs between clone and exec, perhaps in somebody else's memory.
IN_A_CHILD = (*IN_THE_CONTAINER, "ops_gather.c", "ops_overlay.c", "execute.c", "decode.c", "spawn.c")

MAX_FILE, MAX_FUNCTION = 400, 60
COMMENT_OR_STRING = re.compile(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\])*"', re.DOTALL)


@attrs.frozen
class Function:
    """A function definition: kernel brace style puts its name at the margin and its end alone on a line."""

    name: str
    lines: int


def code_of(path: Path) -> str:
    """Return a source without comments and strings; line numbers stay."""
    return COMMENT_OR_STRING.sub(lambda match: "\n" * match[0].count("\n"), path.read_text(encoding="utf-8"))


def functions_of(code: str) -> Iterator[Function]:
    """Find the function definitions of a source."""
    lines = code.splitlines()
    start = 0
    for number, line in enumerate(lines):
        if re.match(r"[A-Za-z_].*\(", line):
            start = number
        elif line == "}":
            name = re.search(r"(\w+)\(", lines[start])
            yield Function(name[1] if name else lines[start], number - start + 1)


def word_in(word: str, names: tuple[str, ...]) -> list[str]:
    """Return the places where a word is used."""
    found: list[str] = []
    for name in names:
        for number, line in enumerate(code_of(NATIVE / name).splitlines(), 1):
            if re.search(rf"\b{word}\b", line):
                found.append(f"{name}:{number}: {line.strip()}")
    return found


def test_the_rules_look_at_something() -> None:
    """The finder of functions finds them."""
    found = {function.name for function in functions_of(code_of(NATIVE / "decode.c"))}

    assert {"ck_take_u32", "ck_check_plan", "ck_open_request"} <= found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_functions_and_files_stay_short(path: Path) -> None:
    """A function fits a screen, a file has one idea."""
    code = code_of(path)

    assert [function for function in functions_of(code) if function.lines > MAX_FUNCTION] == []
    assert len(code.splitlines()) <= MAX_FILE


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_nothing_jumps(path: Path) -> None:
    """Ownership is in cleanup attributes, not in labels."""
    assert re.findall(r"\bgoto\b", code_of(path)) == []


@pytest.mark.parametrize("name", IN_A_CHILD)
def test_nothing_static_changes(name: str) -> None:
    """Memory that is shared with a running process holds no state of ours: every static object is const."""
    statics = re.findall(r"^\s*static (?!inline)(?![^\n;={]*\()[^\n;]*", code_of(NATIVE / name), re.MULTILINE)

    assert [line for line in statics if "const" not in line] == []


@pytest.mark.parametrize(
    "word", [r"errno(?!\.h)", "malloc", "calloc", "free", "printf", "memcpy", "memset", "strlen", "abort"]
)
def test_no_libc_between_clone_and_exec(word: str) -> None:
    """No libc call and no errno, which is thread-local storage of somebody else."""
    assert word_in(word, IN_A_CHILD) == []


def test_no_path_is_followed_from_outside_in_the_container() -> None:
    """In a container's tree there is openat2 only; openat is for its root directory itself (resolve.h)."""
    plain = "|".join(
        f"__NR_{name}"
        for name in ("open", "openat", "mount", "open_by_handle_at", "stat", "newfstatat", "mknod", "mkdir", "readlink")
    )

    found = word_in(f"(?:{plain})", IN_THE_CONTAINER)

    assert ["ops_attach.c"] == [place.split(":")[0] for place in found]
    assert "run->root = (int)CK_SYS4(__NR_openat, CK_AT_FDCWD, , O_PATH" in found[0]


def test_mount_by_path_is_for_one_thing_only() -> None:
    """mount(2) is used for overlays on old kernels, on our own directory, and nowhere else."""
    users = [path.name for path in SOURCES if re.search(r"__NR_mount\b", code_of(path))]

    assert users == ["ops_overlay.c"]


def test_every_descriptor_is_born_close_on_exec() -> None:
    """Each call that makes a descriptor says CLOEXEC, in itself or in the wrapper (ck_open_at, CK_CLONE…)."""
    makers = re.compile(r"__NR_(openat|fsopen|fsmount|open_tree|socket|pipe2|memfd_create)\b[^;]*;", re.DOTALL)
    calls = [f"{path.name}: {match[0]}" for path in SOURCES for match in makers.finditer(code_of(path))]

    assert [call for call in calls if "CLOEXEC" not in call and "flags" not in call] == []
