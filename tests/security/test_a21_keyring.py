"""A21: a container sees the keys of its caller: keyrings have no namespace of their own (keyrings(7))."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

import container_kit as ck
from tests.e2e.patience import eventually
from tests.security.rigs import Rig

RUNS = 30
SOAKED_RUNS = 10_000


@pytest.mark.parametrize("way", ["run", "exec"])
def test_A21_the_keyring_calls_are_forbidden(rig: Rig, way: str) -> None:
    """keyctl(2), add_key(2) and request_key(2) fail before they reach any key."""
    box = rig.start()

    completed = box.exec(["payload", "keyctl"], text=True) if way == "exec" else rig.run("keyctl")

    assert (1, "keyctl: EPERM\n") == (completed.returncode, completed.stderr)


@pytest.mark.parametrize("way", ["run", "exec"])
def test_A21_the_hosts_keys_are_not_listed(rig: Rig, way: str) -> None:
    """/proc/keys is hidden, also where every system call is allowed."""
    security = ck.Security(seccomp=ck.SeccompMode.UNCONFINED)

    assert "" == rig.output(way, "cat", "/proc/keys", security=security)


@pytest.mark.parametrize("way", ["run", "exec"])
def test_A21_where_the_calls_are_allowed_the_session_keyring_is_a_new_one(
    rig: Rig, payload_rootfs: Path, way: str
) -> None:
    """Neither the caller's session keyring nor its user's is what the container finds."""
    own = subprocess.run([payload_rootfs / "bin" / "payload", "keyctl"], capture_output=True, text=True, check=True)
    security = ck.Security(seccomp=ck.SeccompMode.UNCONFINED)

    inside = rig.output(way, "keyctl", security=security)

    assert int(inside) > 0
    assert int(own.stdout) != int(inside)


def keys_of_mine() -> int:
    """Return how many keys this user has (proc(5), /proc/key-users)."""
    return sum(int(line.split()[1]) for line in Path("/proc/key-users").read_text().splitlines())


def run_and_count(rig: Rig, runs: int) -> None:
    """Run containers that make session keyrings; the kernel must get rid of them all."""
    security = ck.Security(seccomp=ck.SeccompMode.UNCONFINED)
    rig.run("true", security=security)
    before = keys_of_mine()

    for _ in range(runs):
        rig.run("true", security=security)

    eventually(lambda: keys_of_mine() < before + runs // 2, "the session keyrings are gone")


def test_A21_no_key_is_left_behind(rig: Rig) -> None:
    """A session keyring goes with its last process; the kernel collects it a little later."""
    run_and_count(rig, RUNS)


@pytest.mark.soak
def test_A21_no_key_is_left_behind_by_ten_thousand_runs(rig: Rig) -> None:
    """The same for longer."""
    run_and_count(rig, SOAKED_RUNS)
