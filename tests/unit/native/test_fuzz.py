"""libFuzzer on what reads foreign bytes: requests, archives, messages; briefly here, at length in `make soak`.

Where there is no clang the same targets get mutations and random bytes under gcc's sanitizers: test_decode.py,
test_tar.py, and below.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs
import pytest

from container_kit._plan.encode import encode_exec_request, encode_request
from tests.unit.native.archives import READER
from tests.unit.native.harness import HERE, NATIVE, WARNINGS, Steps, compile_program
from tests.unit.native.test_decode import request, samples, settings
from tests.unit.native.test_tar import AGREED
from tests.unit.plan import cases

LIBFUZZER = ("-fsanitize=fuzzer,address,undefined", "-fno-sanitize-recover=all", "-D_GNU_SOURCE", "-DCK_LIBFUZZER")
RANDOM_SCRIPTS = 5_000
SOAK = 100  # times as many


def monitor_sources() -> Iterator[str]:
    """Give what fuzz_messages.c is about, but for what it includes and for what it replaces."""
    yield from ("fuzz_messages.c", "decode.c", "removal.c")
    given = ("monitor_log.c", "monitor_setup.c")
    yield from sorted(path.name for path in NATIVE.glob("monitor_*.c") if path.name not in given)


def requests() -> Iterator[bytes]:
    """Give requests that Python makes: every golden plan, one step of each op, and all sections."""
    yield request()
    for step in samples():
        yield encode_exec_request(Steps((step,)))
    for make in cases.GOLDEN.values():
        yield encode_request(settings(), make(), None)


def scripts() -> Iterator[bytes]:
    """Give scripts of fuzz_messages.c: none that matters, and one for each act."""
    yield bytes(16)
    yield from (bytes((0, 0, 0, act, *range(40))) for act in range(10))


@attrs.frozen(kw_only=True)
class Target:
    """A fuzz target, where it begins, and how far it goes."""

    sources: tuple[str | Path, ...]
    seeds: Callable[[], Iterator[bytes]]
    runs: int
    longest: int


TARGETS = {
    "decode": Target(sources=("fuzz_decode.c", "decode.c"), seeds=requests, runs=300_000, longest=16384),
    "tar": Target(sources=("fuzz_tar.c", *READER), seeds=lambda: iter(AGREED.values()), runs=20_000, longest=65536),
    "messages": Target(sources=tuple(monitor_sources()), seeds=scripts, runs=3_000, longest=800),
}


def fuzz(name: str, place: Path, runs: int) -> str:
    """Compile a target and run it; return what it said about coverage. What it finds fails the test."""
    target, program, corpus = TARGETS[name], place / name, place / "corpus"
    corpus.mkdir()
    for number, seed in enumerate(target.seeds()):
        (corpus / f"{number}").write_bytes(seed)
    files = [str(NATIVE / source) for source in target.sources]
    subprocess.run(["clang", *WARNINGS, *LIBFUZZER, f"-I{NATIVE}", "-o", program, *files], check=True)
    limits = (f"-runs={runs}", f"-max_len={target.longest}", "-timeout=5", "-rss_limit_mb=1024", "-seed=1")
    command = [str(program), *limits, "-print_final_stats=1", f"-artifact_prefix={place}/", str(corpus)]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    assert done.returncode == 0, done.stderr[-6000:]
    lines = [line for line in done.stderr.splitlines() if "cov:" in line]
    return lines[-1]


def covered(line: str) -> int:
    """Return the number of edges that libFuzzer says it has seen."""
    words = line.split()
    return int(words[words.index("cov:") + 1])


@pytest.mark.needs_libfuzzer
@pytest.mark.parametrize("name", TARGETS)
def test_A25_any_bytes_are_read_without_a_fault(name: str, tmp_path: Path) -> None:
    """libFuzzer finds no crash, no wrong access, no undefined behaviour, no leak and nothing slow."""
    line = fuzz(name, tmp_path, TARGETS[name].runs)

    assert covered(line) > 100, line  # it got beyond the first check


@pytest.mark.soak
@pytest.mark.needs_libfuzzer
@pytest.mark.parametrize("name", TARGETS)
def test_A25_any_bytes_are_read_without_a_fault_for_long(name: str, tmp_path: Path) -> None:
    """The same with many more."""
    print(name, fuzz(name, tmp_path, TARGETS[name].runs * SOAK))


def test_A25_random_scripts_of_clients_leave_the_monitor_in_order(session_directory: Path) -> None:
    """fuzz_messages.c under gcc's sanitizers: its books agree after each of many random scripts."""
    sources: tuple[str | Path, ...] = (HERE / "random_messages.c", *monitor_sources())
    program = compile_program(
        session_directory / "random_messages", sources, ["-D_GNU_SOURCE", "-DCK_LIBFUZZER", "-Wno-unused-function"]
    )

    done = subprocess.run([program, str(RANDOM_SCRIPTS), "1"], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (0, "")
