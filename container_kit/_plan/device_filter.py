"""Which device nodes a container may open: rules → the eBPF program that its cgroup gets.

An allow-list: what no rule allows is refused with EPERM, whoever asks and wherever the node
is, a node made with mknod(2) included. One rule has to allow all that is asked at once, as
in the first version of the controller. Follows cgroup-v2.rst ("Device controller"),
linux/bpf.h (struct bpf_cgroup_dev_ctx) and the default rules that runc gives.

The numbers are the kernel's: unlike a plan, a program goes to it as it is.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from functools import lru_cache
from typing import Final, TypeAlias

import attrs

from container_kit._spec.devices import Device, DeviceKind

# linux/bpf.h and linux/bpf_common.h
BPF_LDX_W: Final = 0x61  # BPF_LDX | BPF_MEM | BPF_W
BPF_AND32_K: Final = 0x54
BPF_RSH32_K: Final = 0x74
BPF_MOV32_X: Final = 0xBC
BPF_MOV64_K: Final = 0xB7
BPF_JNE_K: Final = 0x55
BPF_EXIT: Final = 0x95
BPF_DEVCG_DEV: Final[dict[DeviceKind, int]] = {"b": 1, "c": 2}
BPF_DEVCG_ACC: Final = {"m": 1, "r": 2, "w": 4}
_ALL_ACCESS: Final = 7

# struct bpf_cgroup_dev_ctx: access << 16 | type, major, minor
_ACCESS_TYPE, _MAJOR, _MINOR = 0, 4, 8
_ANSWER, _CONTEXT, _KIND, _ACCESS, _MAJOR_REGISTER, _MINOR_REGISTER, _REST = 0, 1, 2, 3, 4, 5, 6

_Minors: TypeAlias = dict[int | None, int]  # the access to each, None for every number
_Majors: TypeAlias = dict[int | None, _Minors]

_INSTRUCTION = struct.Struct("=BBhi")


@attrs.frozen
class DeviceRule:
    """`access` (some of r, w, m) is allowed for devices of this kind and number; None stands for every number."""

    kind: DeviceKind
    major: int | None
    minor: int | None
    access: str


# Making a node is harmless: what counts is opening it. Overlayfs makes them when it copies a file up.
DEFAULT_RULES: Final = (
    DeviceRule("c", None, None, "m"),
    DeviceRule("b", None, None, "m"),
    DeviceRule("c", 1, 3, "rwm"),  # null
    DeviceRule("c", 1, 5, "rwm"),  # zero
    DeviceRule("c", 1, 7, "rwm"),  # full
    DeviceRule("c", 1, 8, "rwm"),  # random
    DeviceRule("c", 1, 9, "rwm"),  # urandom
    DeviceRule("c", 5, 0, "rwm"),  # tty
    DeviceRule("c", 5, 2, "rwm"),  # ptmx
    DeviceRule("c", 136, None, "rwm"),  # the terminals of devpts
)


@lru_cache(maxsize=64)
def device_filter_of(devices: tuple[Device, ...]) -> bytes:
    """Return the program for a container with these devices: the default rules, and one for each of them."""
    return compile_device_filter(
        (*DEFAULT_RULES, *(DeviceRule(one.kind, one.major, one.minor, one.access) for one in devices))
    )


def compile_device_filter(rules: Iterable[DeviceRule]) -> bytes:
    """Return an array of `struct bpf_insn` that answers 1 to what some rule allows and 0 to the rest.

    Rules about the same devices are one: `r` and `w` together allow what asks for both at once. The program is a tree,
    kind, then major, then minor: the kernel's verifier follows every path through it, and in a list of rules there
    are many more of them.
    """
    code = [
        _instruction(BPF_LDX_W, _KIND, _CONTEXT, _ACCESS_TYPE),
        _instruction(BPF_MOV32_X, _ACCESS, _KIND),
        _instruction(BPF_AND32_K, _KIND, immediate=0xFFFF),
        _instruction(BPF_RSH32_K, _ACCESS, immediate=16),
        _instruction(BPF_LDX_W, _MAJOR_REGISTER, _CONTEXT, _MAJOR),
        _instruction(BPF_LDX_W, _MINOR_REGISTER, _CONTEXT, _MINOR),
    ]
    for kind, majors in _sorted_out(rules).items():
        code += _if(_KIND, BPF_DEVCG_DEV[kind], _of_one_kind(majors))
    return b"".join([*code, *_answer(0)])


def _sorted_out(rules: Iterable[DeviceRule]) -> dict[DeviceKind, _Majors]:
    kinds: dict[DeviceKind, _Majors] = {}
    for rule in rules:
        minors = kinds.setdefault(rule.kind, {}).setdefault(rule.major, {})
        minors[rule.minor] = minors.get(rule.minor, 0) | sum(BPF_DEVCG_ACC[letter] for letter in set(rule.access))
    return kinds


def _of_one_kind(majors: _Majors) -> list[bytes]:
    code, is_final = _of_one_major(majors.get(None, {}))
    for major, minors in majors.items():
        if major is not None and not is_final:
            inner, is_over = _of_one_major(minors)
            code += _if(_MAJOR_REGISTER, major, inner if is_over else [*inner, *_answer(0)])
    return code if is_final else [*code, *_answer(0)]


def _of_one_major(minors: _Minors) -> tuple[list[bytes], bool]:
    """Return what answers 1 by the rules of a major number, and whether it always answers: nothing may follow then."""
    code: list[bytes] = []
    for minor, access in minors.items():
        forbidden = _ALL_ACCESS & ~access
        allow = _unless_asked(forbidden, _answer(1)) if forbidden else _answer(1)
        code += allow if minor is None else _if(_MINOR_REGISTER, minor, allow)
        if minor is None and not forbidden:
            return code, True
    return code, False


def _if(register: int, value: int, code: list[bytes]) -> list[bytes]:
    return [_instruction(BPF_JNE_K, register, offset=len(code), immediate=value), *code]


def _unless_asked(access: int, code: list[bytes]) -> list[bytes]:
    return [
        _instruction(BPF_MOV32_X, _REST, _ACCESS),
        _instruction(BPF_AND32_K, _REST, immediate=access),
        *_if(_REST, 0, code),
    ]


def _answer(value: int) -> list[bytes]:
    return [_instruction(BPF_MOV64_K, _ANSWER, immediate=value), _instruction(BPF_EXIT)]


def _instruction(code: int, target: int = 0, source: int = 0, offset: int = 0, *, immediate: int = 0) -> bytes:
    # Two registers in one byte; which half is whose depends on the machine's byte order, and ours are little-endian.
    return _INSTRUCTION.pack(code, source << 4 | target, offset, immediate)
