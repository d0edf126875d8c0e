"""Oracles for device filters: what rules mean, and what a program answers when it is executed by hand."""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterable
from pathlib import Path

from container_kit._plan.device_filter import DeviceRule

ACCESS = {"m": 1, "r": 2, "w": 4}
KINDS = {"b": 1, "c": 2}

_BPF = {"x86_64": 321, "aarch64": 280}.get(os.uname().machine, 280)
_PROG_ATTACH, _CGROUP_DEVICE, _ALLOW_MULTI = 8, 6, 2


def is_allowed(rules: Iterable[DeviceRule], kind: str, major: int, minor: int, access: str) -> bool:
    """Say whether some rule, or the rules about exactly the same devices together, allow all that is asked."""
    granted: dict[tuple[str, int | None, int | None], set[str]] = {}
    for rule in rules:
        if rule.kind == kind and rule.major in (None, major) and rule.minor in (None, minor):
            granted.setdefault((rule.kind, rule.major, rule.minor), set()).update(rule.access)
    return any(set(access) <= letters for letters in granted.values())


def execute(program: bytes, kind: str, major: int, minor: int, access: str) -> int:
    """Return what a program answers; an instruction or a jump that the kernel would refuse is an error."""
    asked = sum(ACCESS[letter] for letter in access)
    context = struct.pack("=III", asked << 16 | KINDS[kind], major, minor)
    instructions = list(struct.iter_unpack("=BBhi", program))
    registers: dict[int, int] = {}
    position = 0
    while position < len(instructions):
        code, pair, offset, immediate = instructions[position]
        target, source = pair & 15, pair >> 4
        position += 1
        match code:
            case 0x61 if source == 1 and offset in (0, 4, 8):  # from the context
                registers[target] = struct.unpack_from("=I", context, offset)[0]
            case 0xBC:
                registers[target] = registers[source]
            case 0x54:
                registers[target] &= immediate & 0xFFFFFFFF
            case 0x74:
                registers[target] >>= immediate
            case 0xB7:
                registers[target] = immediate
            case 0x55:
                assert offset >= 0
                position += offset if registers[target] != immediate else 0
            case 0x95:
                return registers[0]
            case _:
                raise AssertionError(f"instruction {code:#x} at {position - 1}")
    raise AssertionError("the program runs off its end")


def attach(program: int, cgroup: Path) -> None:
    """Attach a loaded filter to a cgroup; its descriptor stays the caller's."""
    fd = os.open(cgroup, os.O_RDONLY | os.O_DIRECTORY)
    try:
        attribute = struct.pack("=IIII", fd, program, _CGROUP_DEVICE, _ALLOW_MULTI)
        if ctypes.CDLL(None, use_errno=True).syscall(_BPF, _PROG_ATTACH, attribute, len(attribute)):
            raise OSError(ctypes.get_errno(), "BPF_PROG_ATTACH")
    finally:
        os.close(fd)
