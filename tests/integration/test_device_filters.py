"""The kernel's own answers to what a device filter lets through (bpf(2), cgroup-v2.rst)."""

from __future__ import annotations

import errno
import itertools
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

from container_kit._linux import shim
from container_kit._plan.device_filter import DEFAULT_RULES, DeviceRule, compile_device_filter
from container_kit._runtime.device_filters import DeviceFilters, open_filter
from container_kit._spec.container_config import ContainerConfig
from container_kit._spec.devices import Device
from container_kit._spec.security import Security
from container_kit.errors import UnsupportedHostError
from tests.device_programs import attach, is_allowed
from tests.ledger_processes import cgroup2_mount

# devices.txt: 60 to 63 are for local and experimental use: nobody is there, so what may be opened gives ENXIO.
NUMBERS = (60, 61)
MINORS = (0, 1, 2, 3, 4)
RULES = (
    DeviceRule("c", 60, 0, "rwm"),
    DeviceRule("c", 60, 1, "r"),
    DeviceRule("c", 60, 2, "w"),
    DeviceRule("c", 60, 2, "m"),
    DeviceRule("c", 60, 3, "r"),
    DeviceRule("c", 60, 3, "w"),
    DeviceRule("c", 61, None, "rw"),
    DeviceRule("b", None, None, "m"),
    DeviceRule("b", 60, 4, "rw"),
)

# In a cgroup, on a file system of its own: make a node of each number before the filter comes, then ask.
PROBER = """
import errno, itertools, json, os, stat, sys
place, cgroup, numbers, minors = sys.argv[1], sys.argv[2], *map(json.loads, sys.argv[3:])
kinds = {"b": stat.S_IFBLK, "c": stat.S_IFCHR}
flags = {"r": os.O_RDONLY, "w": os.O_WRONLY, "rw": os.O_RDWR}
every = list(itertools.product(kinds, numbers, minors))
for kind, major, minor in every:
    os.mknod(f"{place}/{kind}{major}.{minor}", kinds[kind] | 0o666, os.makedev(major, minor))
with open(f"{cgroup}/cgroup.procs", "w") as procs:
    procs.write("0")
answers = []
for (kind, major, minor), access in itertools.product(every, ("m", "r", "w", "rw")):
    try:
        if access == "m":
            os.mknod(f"{place}/new", kinds[kind] | 0o666, os.makedev(major, minor))
            os.unlink(f"{place}/new")
        else:
            os.close(os.open(f"{place}/{kind}{major}.{minor}", flags[access] | os.O_NONBLOCK))
        answers.append("")
    except OSError as err:
        answers.append(errno.errorcode[err.errno])
print(json.dumps(answers))
"""


@pytest.fixture
def cgroup() -> Iterator[Path]:
    """Give an empty cgroup."""
    mount = cgroup2_mount()
    assert mount is not None
    place = Path(mount) / f"ckt-devices-{os.getpid()}"
    place.mkdir()

    yield place

    place.rmdir()


def probe(place: Path, cgroup: Path) -> list[str]:
    """Return the errors that the prober meets in a cgroup."""
    arguments = [str(place), str(cgroup), json.dumps(NUMBERS), json.dumps(MINORS)]
    script = 'mount -t tmpfs none "$2" && python=$0 text=$1 && shift && exec "$python" -c "$text" "$@"'
    words = ["unshare", "--mount", "sh", "-c", script, sys.executable, PROBER, *arguments]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    answers: list[str] = json.loads(done.stdout)
    return answers


def expected(rules: tuple[DeviceRule, ...]) -> list[str]:
    """Return what it should meet: EPERM where a rule is missing, ENXIO where there is none to open it."""
    requests = itertools.product("bc", NUMBERS, MINORS, ("m", "r", "w", "rw"))
    return [
        "EPERM" if not is_allowed(rules, kind, major, minor, access) else "" if access == "m" else "ENXIO"
        for kind, major, minor, access in requests
    ]


@pytest.mark.needs_root
@pytest.mark.needs_cgroup2
@pytest.mark.needs_device_filters
def test_the_kernel_allows_exactly_what_the_rules_do(tmp_path: Path, cgroup: Path) -> None:
    """For opening and making nodes: char and block, one number and all, each access and both at once."""
    program = shim.load_device_filter(compile_device_filter(RULES))
    attach(program, cgroup)
    os.close(program)

    answers = probe(tmp_path, cgroup)

    assert expected(RULES) == answers


@pytest.mark.needs_root
@pytest.mark.needs_cgroup2
@pytest.mark.needs_device_filters
def test_the_kernel_takes_every_program() -> None:
    """None has an instruction that cannot be reached, whichever rules make others superfluous."""
    numbers = (None, 7)
    rules = [DeviceRule("c", *pair, access) for pair in itertools.product(numbers, numbers) for access in ("rwm", "r")]
    sets = [(), *itertools.combinations(rules, 1), *itertools.combinations(rules, 2), tuple(rules), (*rules[2:],)]

    for one in sets:
        os.close(shim.load_device_filter(compile_device_filter(one)))


@pytest.mark.needs_root
@pytest.mark.needs_cgroup2
@pytest.mark.needs_device_filters
def test_a_cgroup_below_cannot_widen_what_is_allowed(tmp_path: Path, cgroup: Path) -> None:
    """A filter that allows everything, attached to a child: all filters on the way up have to agree."""
    everything = (DeviceRule("c", None, None, "rwm"), DeviceRule("b", None, None, "rwm"))
    below = cgroup / "below"
    below.mkdir()
    for place, rules in ((cgroup, DEFAULT_RULES), (below, everything)):
        program = shim.load_device_filter(compile_device_filter(rules))
        attach(program, place)
        os.close(program)

    answers = probe(tmp_path, below)
    below.rmdir()

    assert expected(DEFAULT_RULES) == answers


@pytest.mark.needs_root
@pytest.mark.needs_cgroup2
@pytest.mark.needs_device_filters
def test_a_program_is_loaded_once_and_not_kept_for_ever(tmp_path: Path) -> None:
    """As the kernel numbers programs; with many sets of rules the ones not used lately are given up."""
    filters = DeviceFilters()
    programs = [compile_device_filter((DeviceRule("c", 60, minor, "rw"),)) for minor in range(40)]

    numbers = [number_of(filters, program) for program in (programs[0], programs[1], programs[0])]
    held = len(os.listdir("/proc/self/fd"))
    for program in programs:
        number_of(filters, program)
    more = len(os.listdir("/proc/self/fd")) - held
    after = number_of(filters, programs[0])
    filters.close()
    left = len(os.listdir("/proc/self/fd")) - held

    assert numbers[0] == numbers[2] != numbers[1]
    assert 14 == more
    assert numbers[0] != after
    assert -2 == left


@pytest.mark.needs_root
@pytest.mark.needs_device_filters
def test_a_child_of_a_fork_loads_its_own(tmp_path: Path) -> None:
    """It may have closed everything that it inherited; and what it closes is not the parent's."""
    filters, program = DeviceFilters(), compile_device_filter(RULES)
    ours = number_of(filters, program)

    child = os.fork()
    if child == 0:
        try:
            os.closerange(3, 1024)
            (tmp_path / "theirs").write_text(str(number_of(filters, program)))
            filters.close()
        finally:
            os._exit(0)  # it must not go on with the tests
    os.waitpid(child, 0)

    assert ours != int((tmp_path / "theirs").read_text())
    assert ours == number_of(filters, program)
    filters.close()


def number_of(filters: DeviceFilters, program: bytes) -> int:
    """Return the kernel's number of a filter's program (proc(5), fdinfo)."""
    fd = filters.open(program)
    try:
        lines = Path(f"/proc/self/fdinfo/{fd}").read_text().splitlines()
    finally:
        os.close(fd)
    return int(next(line for line in lines if line.startswith("prog_id:")).split()[1])


POWERFUL = ContainerConfig(security=Security(cap_add=("SYS_ADMIN",)))
READ_ONLY = ContainerConfig(devices=(attrs.evolve(Device(source="/dev/zero", access="r"), major=1, minor=5),))


def test_without_a_cgroup_a_container_has_no_filter_and_what_needs_one_is_refused() -> None:
    """The mounts keep devices out, but they cannot hold access that is narrower, nor one who may mount."""
    filters = DeviceFilters()

    plain = open_filter(filters, ContainerConfig(), in_cgroup=False)
    refusals: list[tuple[str, str]] = []
    for config in (POWERFUL, READ_ONLY):
        with pytest.raises(UnsupportedHostError) as refusal:
            open_filter(filters, config, in_cgroup=False)
        refusals.append((refusal.value.feature, refusal.value.reason))

    assert plain is None
    assert ("CAP_SYS_ADMIN without access to all devices", "there are no control groups") == refusals[0]
    assert ("access 'r' to a device", "there are no control groups") == refusals[1]


def test_a_privileged_container_has_no_filter() -> None:
    """With or without a cgroup."""
    config = ContainerConfig(security=Security.privileged())

    assert [None, None] == [open_filter(DeviceFilters(), config, in_cgroup=there) for there in (True, False)]


@pytest.mark.needs_user
def test_where_the_kernel_refuses_filters_it_is_the_same() -> None:
    """As it does to whoever has no privileges of the host."""
    plain = open_filter(DeviceFilters(), ContainerConfig(), in_cgroup=True)
    with pytest.raises(UnsupportedHostError, match="the kernel refuses device filters") as refusal:
        open_filter(DeviceFilters(), READ_ONLY, in_cgroup=True)

    assert plain is None
    assert errno.EPERM == refusal.value.errno
