"""How much of the host a container may use: values that become files of its control group.

Docker's words, and what they are in cgroup v2 (cgroup-v2.rst); the formulas are in
`_plan/cgroup_writes.py`. None leaves a limit as it is: the kernel's default for a new
container, today's value for `Container.update`. -1 takes a limit away.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TypeAlias

import attrs

from container_kit._spec.sizes import parse_size
from container_kit._spec.text import check_line
from container_kit.errors import InvalidSpecError

UNLIMITED = -1
ENGINE_DEVICE = ""
"""Stands for the block device that holds the engine's directory, where containers write."""

Amounts: TypeAlias = tuple[tuple[str, int], ...]
Rate: TypeAlias = int | str | Mapping[str, int | str] | Amounts

_CPUS = re.compile(r"\d+(\.\d+)?", re.ASCII)
_CPU_LIST = re.compile(r"\d+(-\d+)?(,\d+(-\d+)?)*", re.ASCII)
_PAGE_SIZE = re.compile(r"\d+[KMG]B", re.ASCII)
_SMALLEST_MEMORY = 6 << 20  # as in Docker: below that nothing starts


def _size(value: int | str | None, field: str, smallest: int = 0) -> int | None:
    if value is None:
        return None
    if not isinstance(value, bool) and value in (UNLIMITED, "-1"):
        return UNLIMITED
    size = parse_size(value, field)
    if size < smallest:
        raise InvalidSpecError(field=field, value=value, reason=f"must be at least {smallest >> 20} MiB")
    return size


def _memory(value: int | str | None) -> int | None:
    return _size(value, "memory", _SMALLEST_MEMORY)


def _memory_reservation(value: int | str | None) -> int | None:
    return _size(value, "memory_reservation")


def _memory_swap(value: int | str | None) -> int | None:
    return _size(value, "memory_swap")


def _memory_high(value: int | str | None) -> int | None:
    return _size(value, "memory_high")


def _number(value: object, field: str, low: int, high: int) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise InvalidSpecError(field=field, value=value, reason=f"must be a number from {low} to {high}")
    return value


def _pids(value: int | None) -> int | None:
    if value == 0:
        raise InvalidSpecError(field="pids", value=0, reason="must be at least 1, or -1 for no limit")
    return _number(value, "pids", UNLIMITED, 2**22)


def _cpu_shares(value: int | None) -> int | None:
    return _number(value, "cpu_shares", 2, 262144)


def _io_weight(value: int | None) -> int | None:
    return _number(value, "io_weight", 10, 1000)


def _oom_score_adj(value: int | None) -> int | None:
    return _number(value, "oom_score_adj", -1000, 1000)


def _cpus(value: float | str | None) -> float | None:
    if value is None:
        return None
    if not isinstance(value, bool) and value in (UNLIMITED, "-1"):
        return float(UNLIMITED)
    number: object = float(value) if isinstance(value, str) and _CPUS.fullmatch(value) else value
    if isinstance(number, bool) or not isinstance(number, int | float) or not 0.01 <= number <= 100_000:
        raise InvalidSpecError(field="cpus", value=value, reason="must be a number of CPUs from 0.01 on, such as 1.5")
    return float(number)


def _cpu_list(value: str | None, field: str) -> str | None:
    if value is not None and not _CPU_LIST.fullmatch(check_line(value, field)):
        raise InvalidSpecError(field=field, value=value, reason="must be a list such as '0-2,7'")
    return value


def _cpuset_cpus(value: str | None) -> str | None:
    return _cpu_list(value, "cpuset_cpus")


def _cpuset_mems(value: str | None) -> str | None:
    return _cpu_list(value, "cpuset_mems")


def _rates(value: Rate, field: str) -> Amounts:
    if isinstance(value, int | str):
        value = {ENGINE_DEVICE: value}
    pairs = value.items() if isinstance(value, Mapping) else value
    return tuple((_device(device, field), _rate(rate, field)) for device, rate in pairs)


def _io_read_bps(value: Rate) -> Amounts:
    return _rates(value, "io_read_bps")


def _io_write_bps(value: Rate) -> Amounts:
    return _rates(value, "io_write_bps")


def _io_read_iops(value: Rate) -> Amounts:
    return _rates(value, "io_read_iops")


def _io_write_iops(value: Rate) -> Amounts:
    return _rates(value, "io_write_iops")


def _device(path: object, field: str) -> str:
    text = check_line(path, field)
    if text != ENGINE_DEVICE and not text.startswith("/dev/"):
        raise InvalidSpecError(field=field, value=path, reason="must be a block device below /dev")
    return text


def _rate(rate: int | str, field: str) -> int:
    if not isinstance(rate, bool) and rate in (UNLIMITED, "-1"):
        return UNLIMITED
    number = parse_size(rate, field)
    if number == 0:
        raise InvalidSpecError(field=field, value=rate, reason="must be at least 1 a second, or -1 for no limit")
    return number


def _hugetlb(value: Mapping[str, int | str] | Amounts) -> Amounts:
    pairs = value.items() if isinstance(value, Mapping) else value
    found = [(check_line(page, "hugetlb"), _size(size, "hugetlb") or 0) for page, size in pairs]
    for page, _ in found:
        if not _PAGE_SIZE.fullmatch(page):
            raise InvalidSpecError(field="hugetlb", value=page, reason="must be a page size such as '2MB'")
    return tuple(found)


@attrs.frozen(kw_only=True)
class Resources:
    """Limits of a container, all of its processes together. Sizes are bytes or text such as `512m`.

    Attributes:
        memory: the most it may use; beyond that the kernel ends a process of it. At least 6 MiB.
        memory_reservation: what is left to it when the host is short of memory.
        memory_swap: memory and swap together, as in Docker; without it, as much swap as memory.
        memory_high: from here on it is slowed down and its memory reclaimed.
        cpus: how many CPUs' time it may use, e.g. 1.5.
        cpu_shares: its weight when CPUs are scarce, 2 to 262144; 1024 is what everybody has.
        cpuset_cpus: the CPUs it may run on, e.g. `0-2,7`. cpuset_mems: the memory nodes.
        pids: the most processes and threads.
        io_read_bps, io_write_bps: bytes a second, for each device: `{"/dev/sda": "10m"}`. A plain number is about the
            device that holds the engine's directory; a partition stands for the whole disk that it is on.
        io_read_iops, io_write_iops: operations a second, in the same way.
        io_weight: its weight when a device is busy, 10 to 1000; 100 is what everybody has.
        oom_group: when memory runs out, all of its processes are ended and not just one.
        hugetlb: the most memory in huge pages, for each page size: `{"2MB": "64m"}`.
        oom_score_adj: -1000 to 1000; the higher, the sooner its processes are ended when the host has no memory left
            (proc(5)). Lowering it takes privileges.
    """

    memory: int | None = attrs.field(default=None, converter=_memory)
    memory_reservation: int | None = attrs.field(default=None, converter=_memory_reservation)
    memory_swap: int | None = attrs.field(default=None, converter=_memory_swap)
    memory_high: int | None = attrs.field(default=None, converter=_memory_high)
    cpus: float | None = attrs.field(default=None, converter=_cpus)
    cpu_shares: int | None = attrs.field(default=None, converter=_cpu_shares)
    cpuset_cpus: str | None = attrs.field(default=None, converter=_cpuset_cpus)
    cpuset_mems: str | None = attrs.field(default=None, converter=_cpuset_mems)
    pids: int | None = attrs.field(default=None, converter=_pids)
    io_read_bps: Amounts = attrs.field(default=(), converter=_io_read_bps)
    io_write_bps: Amounts = attrs.field(default=(), converter=_io_write_bps)
    io_read_iops: Amounts = attrs.field(default=(), converter=_io_read_iops)
    io_write_iops: Amounts = attrs.field(default=(), converter=_io_write_iops)
    io_weight: int | None = attrs.field(default=None, converter=_io_weight)
    oom_group: bool | None = None
    hugetlb: Amounts = attrs.field(default=(), converter=_hugetlb)
    oom_score_adj: int | None = attrs.field(default=None, converter=_oom_score_adj)

    def __attrs_post_init__(self) -> None:
        if self.oom_group not in (None, True, False):
            raise InvalidSpecError(field="oom_group", value=self.oom_group, reason="must be True or False")
        self._check_swap()
        self._check_reservation()

    def _check_swap(self) -> None:
        if self.memory_swap is None or self.memory_swap == UNLIMITED:
            return
        if self.memory is None or self.memory == UNLIMITED:
            raise InvalidSpecError(field="memory_swap", reason="is memory and swap together", hint="set memory as well")
        if self.memory_swap < self.memory:
            reason = "is memory and swap together, so it cannot be less than memory"
            hint = "raise memory_swap together with memory"
            raise InvalidSpecError(field="memory_swap", value=self.memory_swap, reason=reason, hint=hint)

    def _check_reservation(self) -> None:
        low, top = self.memory_reservation, self.memory
        if low is not None and top is not None and UNLIMITED not in (low, top) and low > top:
            raise InvalidSpecError(field="memory_reservation", value=low, reason="must not be above memory")

    def overlaid(self, other: Resources) -> Resources:
        """Return these limits with those that `other` sets in their place."""
        changes = {
            field.name: value
            for field in attrs.fields(Resources)
            if (value := getattr(other, field.name)) not in (None, ())
        }
        return attrs.evolve(self, **changes)
