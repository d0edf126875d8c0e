"""Limits in the kernel's words: the files of a container's cgroup and what is written into them. Pure.

Docker's units become those of cgroup v2 by the formulas that its runtimes use (runc's cgroups library,
`fs2` and `utils.go`; crun's `cgroup-resources.c`); the files are those of cgroup-v2.rst. A cgroup that was
just made has no limits, so what says "no limit" is written only where it takes an earlier one away.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Final, TypeAlias, TypeVar

import attrs

from container_kit._plan import wire
from container_kit._spec.resources import UNLIMITED, Amounts, Resources
from container_kit.errors import InvalidSpecError

_T = TypeVar("_T")

Writes: TypeAlias = tuple[tuple[str, str], ...]
"""Pairs of a file of the cgroup and the text to write. A file whose name begins with `?` need not be there."""

CPU_PERIOD_US: Final = 100_000
OPTIONAL: Final = "?"
RATES: Final = (
    ("io_read_bps", "rbps"),
    ("io_write_bps", "wbps"),
    ("io_read_iops", "riops"),
    ("io_write_iops", "wiops"),
)
# What a cgroup has that nobody has limited. A cpuset is emptied by an empty line: nothing at all is no write(2).
_UNLIMITED_VALUES: Final = {
    "memory.low": "0",
    "memory.oom.group": "0",
    "cpu.max": f"max {CPU_PERIOD_US}",
    "cpu.weight": "100",
    "cpuset.cpus": "\n",
    "cpuset.mems": "\n",
    "io.weight": "default 100",
}
# Keys are files; of io.max "io.max 8:0 rbps", for each of its values is set by itself.
_Limits: TypeAlias = dict[str, str]


@attrs.frozen(kw_only=True)
class ControlGroup:
    """A container's cgroup: the directory it is made in, its name there, and what is written into it."""

    parent: str
    name: str
    writes: Writes = ()

    @property
    def path(self) -> str:
        """The cgroup's own directory."""
        return f"{self.parent}/{self.name}"


@attrs.frozen(kw_only=True)
class CgroupUpdate:
    """What changes the limits of a running container.

    Attributes:
        now: to be written at once.
        undo: what each of `now` replaces, in the same order.
        later: all that further runs begin with.
    """

    now: Writes = attrs.field(metadata=wire.on_wire(wire.STRINGS))
    undo: Writes = attrs.field(metadata=wire.on_wire(wire.STRINGS))
    later: Writes = attrs.field(metadata=wire.on_wire(wire.STRINGS))

    def encode(self) -> bytes:
        """Return the three lists as CK_LIMITS_FORMAT in ckit.h has them."""
        return b"".join(wire.pack_strings(flat(writes)) for writes in (self.now, self.undo, self.later))


def compile_cgroup_writes(resources: Resources, devices: Mapping[str, str]) -> Writes:
    """Return what is written into a new cgroup, in this order.

    Args:
        resources: the limits.
        devices: `major:minor` of the disk that each of `device_paths` is, or is a part of.

    Raises:
        InvalidSpecError: two paths are the same disk and have different limits.
    """
    limits = _limits(resources, devices)
    return tuple(_write(key, value, resources) for key, value in limits.items() if value != _unlimited(key))


def compile_cgroup_update(before: Resources, after: Resources, devices: Mapping[str, str]) -> CgroupUpdate:
    """Return what leads from one set of limits to another.

    Args:
        before: what holds now.
        after: what shall hold.
        devices: as in `compile_cgroup_writes`, for both.
    """
    old, new = _limits(before, devices), _limits(after, devices)
    keys = [key for key in {**new, **old} if _at(new, key) != _at(old, key)]
    return CgroupUpdate(
        now=tuple(_write(key, _at(new, key), after) for key in keys),
        undo=tuple(_write(key, _at(old, key), before) for key in keys),
        later=compile_cgroup_writes(after, devices),
    )


def controllers_of(resources: Resources) -> frozenset[str]:
    """Return the controllers that these limits need; taking a limit away needs none."""
    writes = compile_cgroup_writes(resources, {path: path for path in device_paths(resources)})
    return frozenset(file.lstrip(OPTIONAL).partition(".")[0] for file, _ in writes)


def device_paths(resources: Resources) -> tuple[str, ...]:
    """Return the block devices that the limits name; `ENGINE_DEVICE` stands for the engine's own."""
    pairs = [pair for field, _ in RATES for pair in _rates(resources, field)]
    return tuple(dict.fromkeys(path for path, _ in pairs))


def flat(writes: Writes) -> tuple[str, ...]:
    """Return the pairs one after another, as they travel."""
    return tuple(word for write in writes for word in write)


def cpu_weight(shares: int) -> int:
    """Return cpu.weight (1 … 10000) for Docker's CPU shares (2 … 262144): 1024, what all have, becomes 100.

    The formula of crun 1.23 and runc 1.3.2 on; the linear one before made 39 of 1024.
    """
    power = math.log2(shares)
    exponent = (power * power + 125 * power) / 612 - 7 / 34
    return math.ceil(round(10**exponent, 6))  # 10 ** 2.0000000000000004 must not become 101


def io_weight(weight: int) -> int:
    """Return io.weight (1 … 10000) for Docker's weight (10 … 1000), linear as in runc."""
    return 1 + (weight - 10) * 9999 // 990


def _limits(resources: Resources, devices: Mapping[str, str]) -> _Limits:
    found: _Limits = {}
    for file, value in (
        *_memory(resources),
        *_cpu(resources),
        ("pids.max", _amount(resources.pids)),
        *_io(resources, devices),
        *((f"hugetlb.{size}.max", _amount(amount)) for size, amount in resources.hugetlb),
        *((f"hugetlb.{size}.rsvd.max", _amount(amount)) for size, amount in resources.hugetlb),
    ):
        if value is None:
            continue
        if found.setdefault(file, value) != value:
            disk = file.split(" ")[1] if " " in file else file
            reason = f"has two different limits for {disk}"
            raise InvalidSpecError(field="resources", reason=reason, hint="name each disk once")
    return found


def _memory(resources: Resources) -> Iterator[tuple[str, str | None]]:
    yield "memory.swap.max", _swap(resources)
    yield "memory.max", _amount(resources.memory)
    yield "memory.high", _amount(resources.memory_high)
    yield "memory.low", _map(resources.memory_reservation, lambda low: "0" if low == UNLIMITED else str(low))
    yield "memory.oom.group", _map(resources.oom_group, lambda group: str(int(group)))


def _swap(resources: Resources) -> str | None:
    # Docker counts memory and swap together, the kernel swap alone.
    memory, both = resources.memory, resources.memory_swap
    if both == UNLIMITED or (both is None and memory == UNLIMITED):
        return "max"
    if both is None or memory is None:
        return _amount(memory)
    return str(both - memory)


def _cpu(resources: Resources) -> Iterator[tuple[str, str | None]]:
    yield "cpu.max", _map(resources.cpus, _cpu_max)
    yield "cpu.weight", _map(resources.cpu_shares, lambda shares: str(cpu_weight(shares)))
    yield "cpuset.cpus", resources.cpuset_cpus
    yield "cpuset.mems", resources.cpuset_mems


def _cpu_max(cpus: float) -> str:
    quota = "max" if cpus == UNLIMITED else str(round(cpus * CPU_PERIOD_US))
    return f"{quota} {CPU_PERIOD_US}"


def _io(resources: Resources, devices: Mapping[str, str]) -> Iterator[tuple[str, str | None]]:
    for field, name in RATES:
        for path, rate in _rates(resources, field):
            yield f"io.max {devices[path]} {name}", _amount(rate)
    yield "io.weight", _map(resources.io_weight, lambda weight: f"default {io_weight(weight)}")


def _rates(resources: Resources, field: str) -> Amounts:
    rates: Amounts = getattr(resources, field)
    return rates


def _amount(amount: int | None) -> str | None:
    return None if amount is None else "max" if amount == UNLIMITED else str(amount)


def _map(value: _T | None, to_text: Callable[[_T], str]) -> str | None:
    return None if value is None else to_text(value)


def _at(limits: _Limits, key: str) -> str:
    return limits.get(key, _unlimited(key))


def _unlimited(key: str) -> str:
    return _UNLIMITED_VALUES.get(key, "max")


def _write(key: str, value: str, resources: Resources) -> tuple[str, str]:
    file, _, part = key.partition(" ")
    if part:
        value = f"{part}={value}"
    return (f"{OPTIONAL}{file}" if _is_optional(file, resources) else file), value


def _is_optional(file: str, resources: Resources) -> bool:
    # Without swap there is no file for it, and nothing to limit; reservations of huge pages came with Linux 5.7.
    return (file == "memory.swap.max" and resources.memory_swap is None) or file.endswith(".rsvd.max")
