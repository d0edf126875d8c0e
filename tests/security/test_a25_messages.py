"""A25: a length in the data that sets a container up overflows (CVE-2021-43784).

The decoder itself is fuzzed under sanitizers (tests/unit/native, tests/unit/monitor); here the
longest and strangest values that a caller can give go all the way.
"""

from __future__ import annotations

import pytest

import container_kit as ck
from tests.security.rigs import Rig, error_of, is_refusal

LONG = 120_000  # one argument may be 128 KiB, execve(2)


def test_A25_values_of_every_length_arrive_as_they_are(rig: Rig) -> None:
    """Arguments and variables on both sides of every boundary."""
    for size in (0, 1, 3, 4, 5, 255, 256, 4095, 4096, 65_535, 65_536, LONG):
        argument = rig.run("echo", "x" * size).stdout
        variable = rig.run("env", "V", env={"V": "y" * size}).stdout

        assert "x" * size + "\n" == argument
        assert "y" * size + "\n" == variable


@pytest.mark.parametrize(
    "options",
    [
        {"env": {f"V{n}": "x" * 1000 for n in range(5000)}},
        {"extra_hosts": {f"h{n}": "127.0.0.1" for n in range(50_000)}},
        {"groups": list(range(65_537))},
        {"mounts": [ck.Mount.tmpfs(f"/m{n}") for n in range(2000)]},
    ],
    ids=["environment", "hosts", "groups", "mounts"],
)
def test_A25_too_much_of_anything_is_a_typed_error_or_works(rig: Rig, options: ck.ContainerOptions) -> None:
    """Neither truncated nor misread: what is too large for the request or the kernel is refused as a whole."""
    completed: list[int] = []

    error = error_of(lambda: completed.append(rig.run("true", **options).returncode))

    assert is_refusal(error), error
    assert ([0] if error is None else []) == completed
