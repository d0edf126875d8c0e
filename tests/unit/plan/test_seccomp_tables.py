"""The generated tables agree with this machine's kernel headers."""

from __future__ import annotations

import errno

import pytest

from _native import generate_syscall_tables as generator
from container_kit._plan import seccomp_sibling_tables as siblings
from container_kit._plan import seccomp_tables as t

pytestmark = pytest.mark.needs_tools("cc")


@pytest.mark.parametrize(
    ("include", "table"),
    [
        (generator.ALL_X86_64, t.X86_64),
        (generator.ALL_ARM64, t.AARCH64),
        (generator.ALL_X32, siblings.X32),
        (generator.ALL_I386, siblings.I386),
    ],
    ids=["x86_64", "arm64", "x32", "i386"],
)
def test_numbers_are_those_of_the_headers(include: str, table: dict[str, int]) -> None:
    """Newer headers may know more calls; none may be numbered otherwise."""
    headers = generator.syscalls(include, {})

    assert len(headers) > 300
    assert {name: number for name, number in headers.items() if table.get(name, number) != number} == {}


def test_constants_are_those_of_the_headers() -> None:
    """BPF, seccomp and audit."""
    for name, number in generator.constants().items():
        assert getattr(t, name) == number, name


@pytest.mark.parametrize("table", [t.X86_64, t.AARCH64, siblings.X32, siblings.I386, siblings.ARM])
def test_tables_are_complete_and_unambiguous(table: dict[str, int]) -> None:
    """One name for a number; calls of 2025 are there; errno values are Linux's."""
    assert len(set(table.values())) == len(table)
    assert {"listmount", "mseal", "open_tree_attr", "file_setattr"} <= table.keys()
    assert (errno.EPERM, errno.ENOSYS) == (1, 38)
