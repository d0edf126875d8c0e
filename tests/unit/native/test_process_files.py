"""What a process writes about itself in the host's /proc (PROCESS_FILE), and the keys it leaves behind."""

from __future__ import annotations

import errno
import subprocess
from pathlib import Path

import pytest

from container_kit._plan.ops import ProcessFile, SessionKeyring
from tests.unit.native.harness import Driver, container, run_payload

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_overlay]

SCORE = ProcessFile(path="oom_score_adj", contents=b"999")
OWN_MEMORY = "m"


def test_a_file_of_its_own_is_written_before_the_root_changes(driver: Driver, payload_rootfs: Path) -> None:
    """It holds after the exec."""
    end = run_payload("cat", "/proc/self/oom_score_adj")

    assert ["999"] == driver.run(container(payload_rootfs, gather=(SCORE,), end=end), flags=OWN_MEMORY).lines


def test_with_shared_memory_nothing_is_written(driver: Driver, payload_rootfs: Path) -> None:
    """The kernel would give the score to all processes with the same memory, and so to the monitor."""
    launch = driver.run(container(payload_rootfs, gather=(SCORE,)))

    assert (2, errno.EINVAL) == launch.failure


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("cwd/upper", errno.ELOOP),
        ("../self/oom_score_adj", errno.EXDEV),
        ("/proc/self/oom_score_adj", errno.EXDEV),
        ("no/such/file", errno.ENOENT),
    ],
)
def test_a_path_leads_to_files_of_its_own_only(driver: Driver, payload_rootfs: Path, path: str, error: int) -> None:
    """Links, absolute paths and .. never lead to another file, nor is one made."""
    step = ProcessFile(path=path, contents=b"1")

    launch = driver.run(container(payload_rootfs, gather=(step,)), flags=OWN_MEMORY)

    assert (2, error) == launch.failure


def test_a_value_that_the_kernel_refuses_is_an_error(driver: Driver, payload_rootfs: Path) -> None:
    """Nothing goes on without what was asked for."""
    step = ProcessFile(path="oom_score_adj", contents=b"1001")

    launch = driver.run(container(payload_rootfs, gather=(step,)), flags=OWN_MEMORY)

    assert (2, errno.EINVAL) == launch.failure


def test_a_session_keyring_is_a_new_one(driver: Driver, payload_rootfs: Path) -> None:
    """Without the step the caller's is shared."""
    program = str(payload_rootfs / "bin" / "payload")
    callers = subprocess.run([program, "keyctl"], capture_output=True, text=True, check=True).stdout.splitlines()

    shared = driver.run(container(payload_rootfs, end=run_payload("keyctl"))).lines
    own = driver.run(container(payload_rootfs, SessionKeyring(), end=run_payload("keyctl"))).lines

    assert callers == shared
    assert callers != own
