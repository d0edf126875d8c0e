"""Story: CPU time and the disk's bandwidth are shared out, and what a container lost is told."""

from __future__ import annotations

import os
import time

import pytest

import container_kit as ck
from tests.e2e.patience import PATIENCE, eventually

pytestmark = [pytest.mark.guest, pytest.mark.needs_root, pytest.mark.needs_controllers("cpu", "io")]

ROUNDS = 100
MIB = 1 << 20
SPIN = ["payload", "spin"]


def is_throttled(box: ck.Container) -> bool:
    """Say whether the container was stopped for having used up its share."""
    return bool(box.stats().cpu_throttled_periods)


def test_every_cpu_hog_is_held_and_told(engine: ck.Engine, image: ck.Image) -> None:
    """A hundred of a hundred are stopped in their first period and told so; a neighbour answers."""
    neighbour = ck.start(image, ["payload", "sleep", "1000"], detach=True, engine=engine)

    for number in range(ROUNDS):
        with ck.start(image, SPIN, resources=ck.Resources(cpus=0.4), engine=engine) as hog:
            eventually(lambda hog=hog: is_throttled(hog), "a throttled hog")  # type: ignore[misc]
            answer = neighbour.exec(["payload", "echo", "here"], text=True, timeout=PATIENCE).stdout
            assert (number, "here\n") == (number, answer)


def test_a_share_of_a_cpu_is_all_that_a_hog_gets(engine: ck.Engine, image: ck.Image) -> None:
    """A fifth of a CPU is a fifth of the time, measured in the kernel's own periods of a tenth of a second."""
    hog = ck.start(image, SPIN, resources=ck.Resources(cpus=0.2), detach=True, engine=engine)

    seen = hog.stats()

    def is_held() -> bool:
        nonlocal seen
        seen = hog.stats()
        periods, throttled = seen.cpu_periods or 0, seen.cpu_throttled_periods or 0
        return periods >= 15 and throttled > periods / 2

    eventually(is_held, "fifteen periods, in most of which it was held")

    assert seen.cpu_periods is not None
    assert seen.cpu_throttled_seconds is not None
    assert seen.cpu_seconds < 0.02 * (seen.cpu_periods + 1) * 1.5
    assert seen.cpu_throttled_seconds > 0


def test_what_is_written_to_a_disk_is_told_and_held(engine: ck.Engine, image: ck.Image) -> None:
    """A plain rate is about the disk with the engine's directory: 3 MiB at 1 MiB a second take their time."""
    slow = ck.Resources(io_write_bps="1m")
    box = ck.start(image, ["payload", "sleep", "1000"], resources=slow, detach=True, engine=engine)

    began = time.monotonic()
    done = box.exec(["payload", "fill", "/big", "3", "--sync"], text=True, timeout=PATIENCE)
    took = time.monotonic() - began

    devices = box.stats().devices
    assert ("3\n", False) == (done.stdout, done.timed_out)
    assert took > 1.5
    assert devices is not None
    assert [os.environ["CGROUP2_VM_DISK"]] == [device.path for device in devices]
    assert devices[0].write_bytes >= 3 * MIB
    assert devices[0].write_operations > 0
