"""What it means that the kernel refused a container's cgroup or one of its limits, as a typed error."""

from __future__ import annotations

import errno

from container_kit._plan.cgroup_writes import OPTIONAL, ControlGroup, Writes
from container_kit._runtime.messages import Message
from container_kit.errors import CgroupError, ContainerKitError, UnsupportedHostError

_DEVICES = 2**32 - 1  # CK_DETAIL_DEVICES

_HINTS = {
    "hugetlb": "these sizes of huge pages are in /sys/kernel/mm/hugepages",
    "io.weight": "a kernel with CONFIG_BLK_CGROUP_IOCOST has it",
    "memory.swap.max": "the kernel counts no swap; leave memory_swap out",
    "cpuset": "the CPUs and memory nodes must be among those of the groups above (cpuset.cpus.effective)",
}


def cgroup_failure(message: Message, group: ControlGroup | None) -> ContainerKitError:
    """Return the error for a launch that failed at its cgroup."""
    if message.detail == _DEVICES:
        attempted, excluded = "cannot attach the device filter to the control group", message.error == errno.EPERM
        hint = "a filter further up excludes others: see `bpftool cgroup tree`, and cgroup_parent" if excluded else None
        return CgroupError(attempted=attempted, errno=message.error, hint=hint)
    if group is None or not message.detail:
        hint = "raise cgroup.max.descendants above it" if message.error == errno.EAGAIN else None
        return CgroupError(attempted="cannot make the container's control group", errno=message.error, hint=hint)
    return refused_write(message, group.writes)


def refused_write(message: Message, writes: Writes) -> ContainerKitError:
    """Return the error for a limit that could not be written; the message's detail counts them from 1."""
    file, value = writes[min(message.detail, len(writes)) - 1]
    file = file.lstrip(OPTIONAL)
    hint = next((text for beginning, text in _HINTS.items() if file.startswith(beginning)), None)
    if message.error == errno.ENOENT:
        return UnsupportedHostError(feature=file, reason="this kernel's control groups have no such file", hint=hint)
    return CgroupError(attempted=f"cannot set {file} to {value.strip()!r}", errno=message.error, hint=hint)
