"""Row F35: whatever memory a container asks for, it gets no more than its limit, and the reason of its end is told."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import container_kit as ck
from container_kit import wait
from tests.e2e.patience import PATIENCE, eventually

pytestmark = [pytest.mark.guest, pytest.mark.needs_root, pytest.mark.needs_controllers("memory")]

ROUNDS = 100
MIB = 1 << 20
LIMIT = 16 * MIB
AT_MOST = LIMIT + MIB  # for a moment it may be more: packets are taken before it is known who pays (cgroup-v2.rst)
TINY = ck.Resources(memory="8m")
TIGHT = ck.Resources(memory=LIMIT, memory_swap=LIMIT)


@pytest.fixture
def box(engine: ck.Engine, image: ck.Image) -> ck.Container:
    """Give a container that sleeps, has little memory, and a tmpfs."""
    return ck.start(
        image, ["payload", "sleep", "1000"], resources=TIGHT, tmpfs={"/scratch": ""}, detach=True, engine=engine
    )


@pytest.fixture
def swap() -> Iterator[None]:
    """Give the machine some swap space."""
    file = Path(os.environ.get("CGROUP2_VM_SCRATCH", "/var/tmp")) / f"swap-{os.getpid()}"
    file.write_bytes(bytes(64 * MIB))
    file.chmod(0o600)
    subprocess.run(["mkswap", str(file)], check=True, capture_output=True)
    subprocess.run(["swapon", str(file)], check=True)

    yield

    subprocess.run(["swapoff", str(file)], check=True)
    file.unlink()


def available_bytes() -> int:
    """Return how much memory the host has left."""
    line = next(line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemAvailable:"))
    return int(line.split()[1]) << 10


def test_f35_every_memory_bomb_is_held_and_told(engine: ck.Engine, image: ck.Image) -> None:
    """A hundred of a hundred: 137, and `oom_killed`; a neighbour answers; the host gets its memory back."""
    neighbour = ck.start(image, ["payload", "sleep", "1000"], detach=True, engine=engine)
    before = available_bytes()

    for number in range(ROUNDS):
        bomb = ck.run(image, ["payload", "memory", "64"], resources=TINY, timeout=PATIENCE, engine=engine)
        answer = neighbour.exec(["payload", "echo", "here"], text=True, timeout=PATIENCE).stdout
        assert (number, 137, True, "here\n") == (number, bomb.returncode, bomb.oom_killed, answer)

    assert available_bytes() > before - 64 * MIB


def test_f35_an_end_by_other_means_is_no_lack_of_memory(engine: ck.Engine, image: ck.Image) -> None:
    """Neither SIGKILL from outside, nor an exit code of 137, nor a time-out, limit or not."""
    killed = ck.start(image, ["payload", "memory", "8"], resources=TIGHT, detach=True, engine=engine)
    killed.kill()
    said = ck.run(image, ["payload", "exit", "137"], resources=TIGHT, engine=engine)
    late = ck.run(image, ["payload", "sleep", "1000"], resources=TIGHT, timeout=0.2, engine=engine)

    assert (137, False) == (killed.wait(timeout=PATIENCE), killed.inspect().oom_killed)
    assert (137, False) == (said.returncode, said.oom_killed)
    assert (137, False, True) == (late.returncode, late.oom_killed, late.timed_out)


def test_f35_anonymous_memory_of_an_exec(engine: ck.Engine, box: ck.Container) -> None:
    """What asked for too much is ended and told so; the container, and what else runs in it, goes on."""
    with box.spawn(["payload", "cat"], stdin=ck.PIPE) as bystander:
        bomb = box.exec(["payload", "memory", "64"], timeout=PATIENCE)
        spoken = bystander.communicate(b"still here")[0]

    seen = box.stats()
    assert (137, True, False) == (bomb.returncode, bomb.oom_killed, bomb.timed_out)
    assert b"still here" == spoken
    assert (1, LIMIT) == (seen.oom_kills, seen.memory_limit_bytes)
    assert seen.memory_peak_bytes is not None
    assert 8 * MIB < seen.memory_peak_bytes <= AT_MOST


@pytest.mark.parametrize("file", ["/scratch/big", "/dev/shm/big"])
def test_f35_files_in_memory_count(box: ck.Container, file: str) -> None:
    """They stay when their writer is ended, and so does the charge for them."""
    bomb = box.exec(["payload", "fill", file, "60"], timeout=PATIENCE)

    seen = box.stats()
    assert (137, True) == (bomb.returncode, bomb.oom_killed)
    assert seen.memory_file_bytes is not None
    assert 8 * MIB < seen.memory_file_bytes <= seen.memory_bytes <= LIMIT


def test_f35_the_page_cache_counts_and_gives_way(box: ck.Container) -> None:
    """A file larger than the limit can be written: what is on the disk is dropped from memory."""
    done = box.exec(["payload", "fill", "/big", "48", "--sync"], text=True, timeout=PATIENCE)

    seen = box.stats()
    assert (0, "48\n", False) == (done.returncode, done.stdout, done.oom_killed)
    assert seen.memory_peak_bytes is not None
    assert seen.memory_file_bytes is not None
    assert 4 * MIB < seen.memory_file_bytes <= seen.memory_peak_bytes <= AT_MOST


def test_f35_buffers_of_sockets_count(engine: ck.Engine, image: ck.Image, box: ck.Container) -> None:
    """Connections that nobody reads from: what one takes is told; a hundred get no more than there is."""
    ready, limit = wait.log("ready").within(PATIENCE), ck.Resources(memory="64m")

    one = ck.start(image, ["payload", "fill-sockets", "1"], resources=limit, wait=ready, engine=engine).stats()
    with box.spawn(["payload", "fill-sockets", "100"]) as filling:
        eventually(lambda: (box.stats().memory_peak_bytes or 0) > 8 * MIB, "half of it is taken")
        with contextlib.suppress(TimeoutError):  # is ended, or waits for room that never comes
            filling.wait(timeout=2)
    hundred = box.stats()

    assert one.memory_socket_bytes is not None
    assert 1 * MIB < one.memory_socket_bytes <= one.memory_bytes
    assert hundred.memory_peak_bytes is not None
    assert 8 * MIB < hundred.memory_peak_bytes <= AT_MOST


@pytest.mark.usefixtures("swap")
def test_f35_swap_is_limited_too(engine: ck.Engine, image: ck.Image) -> None:
    """`memory_swap` is both together, as in Docker: with room in swap it goes on, with none it is ended."""
    roomy = ck.Resources(memory=LIMIT, memory_swap="64m")
    command = ["payload", "memory", "32"]

    ended = ck.run(image, command, resources=TIGHT, timeout=PATIENCE, engine=engine)
    box = ck.start(image, command, resources=roomy, wait=wait.log("ready").within(PATIENCE), engine=engine)
    seen = box.stats()

    assert (137, True) == (ended.returncode, ended.oom_killed)
    assert seen.memory_swap_bytes is not None
    assert (seen.memory_bytes <= LIMIT, seen.memory_swap_bytes > 8 * MIB) == (True, True)
