"""Seccomp profiles as files: the JSON of Docker, Podman and the OCI runtime-spec (config-linux.md, "Seccomp").

Strict: what is not understood is refused with its place in the file, for a rule that is
silently dropped is a hole. One thing is passed over, as runc does: the name of an unknown
call in a rule that is no more restrictive than the default; the call is refused as well
without it. Rules about other machines count as not there.

As runc does, a rule that compares one argument twice is as many rules.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Final, cast

from container_kit._plan import seccomp as s
from container_kit._plan import seccomp_tables as t
from container_kit._plan.flags import FilterFlag
from container_kit._plan.seccomp_program import ALL_BITS, Comparison, Condition
from container_kit._spec.security import CAPABILITIES
from container_kit._spec.strict_json import parse_json
from container_kit.errors import ImageError, InvalidSpecError

LARGEST: Final = 1 << 20
_DEEPEST = 16
_MAX_ERRNO = 4095  # of the kernel (linux/err.h)

_ACTIONS = {
    "SCMP_ACT_KILL": s.KILL_THREAD,
    "SCMP_ACT_KILL_THREAD": s.KILL_THREAD,
    "SCMP_ACT_KILL_PROCESS": s.KILL_PROCESS,
    "SCMP_ACT_TRAP": s.TRAP,
    "SCMP_ACT_ERRNO": t.SECCOMP_RET_ERRNO,
    "SCMP_ACT_TRACE": s.TRACE,
    "SCMP_ACT_LOG": s.LOG,
    "SCMP_ACT_ALLOW": s.ALLOW,
}
_FLAGS = {
    "SECCOMP_FILTER_FLAG_TSYNC": FilterFlag.NONE,  # a container begins with one thread
    "SECCOMP_FILTER_FLAG_LOG": FilterFlag.LOG,
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW": FilterFlag.SPEC_ALLOW,
}
_SIBLINGS_OF = {
    "SCMP_ARCH_X86_64": {"SCMP_ARCH_X86": "i386", "SCMP_ARCH_X32": "x32"},
    "SCMP_ARCH_AARCH64": {"SCMP_ARCH_ARM": "arm"},
}
_ARCHITECTURES = frozenset(
    f"SCMP_ARCH_{name}"
    for name in """
        X86 X86_64 X32 ARM AARCH64 MIPS MIPS64 MIPS64N32 MIPSEL MIPSEL64 MIPSEL64N32 PPC PPC64 PPC64LE S390 S390X
        PARISC PARISC64 RISCV64 LOONGARCH64 M68K SH SHEB
    """.split()
)
# Docker's names of machines (uname(2)) in `includes` and `excludes`; those of ours first.
_MACHINES = {"amd64": "x86_64", "arm64": "aarch64"} | {
    name: f"not ours: {name}"
    for name in """
        x86 x32 arm loong64 loongarch64 mips mipsel mipsle mips64 mips64le mips64n32 mipsel64 mipsel64n32 mips3l64n32
        ppc ppc64 ppc64le riscv64 s390 s390x
    """.split()
}
# Calls that only machines have which this library does not run on.
_ELSEWHERE = frozenset(
    """
    atomic_barrier atomic_cmpxchg_32 cachectl getpagesize multiplexer riscv_flush_icache riscv_hwprobe rtas
    s390_guarded_storage s390_pci_mmio_read s390_pci_mmio_write s390_runtime_instr s390_sthyi spu_create spu_run
    subpage_prot swapcontext switch_endian sync_file_range2 sys_debug_setcontext syscall sysmips timerfd
    """.split()
)
_KERNEL = re.compile(r"(?a:(\d{1,3})\.(\d{1,3}))")


@lru_cache(maxsize=16)
def parse_seccomp(text: str, path: str) -> s.SeccompProfile:
    """Return the profile that a file holds.

    Args:
        text: what is in the file.
        path: its name, for errors.

    Raises:
        InvalidSpecError: it is no profile, or asks for what cannot be done here; names the field.
    """
    try:
        document = parse_json(text.encode("utf-8", "surrogateescape"), what=path, limit=LARGEST, depth=_DEEPEST,
                              unsigned=True)  # fmt: skip
    except ImageError as error:
        raise InvalidSpecError(field="seccomp", value=path, reason=error.reason) from error
    return _profile(_Place(path, "", document))


class _Place:
    """An object of the document, its fields taken one by one; what nobody takes is an error."""

    def __init__(self, path: str, where: str, value: object) -> None:
        self.path = path
        self.where = where
        if not isinstance(value, dict):
            raise self.refusal("", "must be an object")
        self._left = {key: field for key, field in cast("dict[str, Any]", value).items() if field is not None}

    def refusal(self, field: str, reason: str, hint: str = "") -> InvalidSpecError:
        """Return the error about a field."""
        where = f"{self.where}.{field}".strip(".")
        return InvalidSpecError(field="seccomp", value=self.path, reason=f"{where or 'it'} {reason}", hint=hint)

    def text(self, field: str) -> str:
        """Take a field of text; empty if it is not there."""
        value = self._left.pop(field, "")
        if not isinstance(value, str):
            raise self.refusal(field, "must be text")
        return value

    def number(self, field: str, largest: int) -> int | None:
        """Take a field that is a number from 0 on."""
        value = self._left.pop(field, None)
        if value is None:
            return None
        if not isinstance(value, int) or isinstance(value, bool) or value > largest:
            raise self.refusal(field, f"must be a number from 0 to {largest}")
        return value

    def texts(self, field: str) -> tuple[str, ...]:
        """Take a list of texts."""
        values = self._list(field)
        if not all(isinstance(value, str) for value in values):
            raise self.refusal(field, "must be a list of texts")
        return tuple(cast("list[str]", values))

    def inner(self, field: str) -> _Place:
        """Take an object; an empty one if it is not there."""
        return _Place(self.path, f"{self.where}.{field}".strip("."), self._left.pop(field, {}))

    def each(self, field: str) -> list[_Place]:
        """Take a list of objects."""
        where = f"{self.where}.{field}".strip(".")
        return [_Place(self.path, f"{where}[{index}]", value) for index, value in enumerate(self._list(field))]

    def choose(self, field: str, given: str, known: Mapping[str, Any]) -> Any:
        """Return what a word stands for."""
        if given not in known:
            shown = f"is {given[:80]!r}" if given else "is missing"
            raise self.refusal(field, f"{shown}, must be one of {', '.join(known)}")
        return known[given]

    def end(self) -> None:
        """Refuse what is left.

        Raises:
            InvalidSpecError: names the first field that nobody has taken.
        """
        for field in self._left:
            raise self.refusal(field[:80], "is not a field of a seccomp profile")

    def _list(self, field: str) -> list[object]:
        values = self._left.pop(field, [])
        if not isinstance(values, list):
            raise self.refusal(field, "must be a list")
        return cast("list[object]", values)


def _profile(top: _Place) -> s.SeccompProfile:
    if top.text("listenerPath") or top.text("listenerMetadata"):
        raise top.refusal("listenerPath", "cannot be used: nobody is asked about system calls here")
    default = _action(top, "defaultAction", "defaultErrno", "defaultErrnoRet")
    siblings = _siblings(top)
    flags = FilterFlag.NONE
    for flag in top.texts("flags"):
        flags |= top.choose("flags", flag, _FLAGS)
    rules = tuple(rule for place in top.each("syscalls") for rule in _rules(place, default))
    top.end()
    return s.SeccompProfile(rules=rules, default=default, siblings=siblings, foreign=s.KILL_THREAD, flags=flags)


def _siblings(top: _Place) -> frozenset[str]:
    """Return the ABIs that have the rules besides the machine's own, for every machine."""
    listed = top.texts("architectures")
    maps = {place: (place.text("architecture"), place.texts("subArchitectures")) for place in top.each("archMap")}
    for place in maps:
        place.end()
    if listed and maps:
        raise top.refusal("archMap", "is there together with architectures; have one of them")
    pairs = [*maps.values(), *((native, listed) for native in _SIBLINGS_OF if listed)]
    found: set[str] = set()
    for native, others in pairs:
        for name in (native, *others):
            if name not in _ARCHITECTURES:
                raise top.refusal("archMap" if maps else "architectures", f"names {name[:80]!r}: not an architecture")
            if name in _SIBLINGS_OF.get(native, {}):
                found.add(_SIBLINGS_OF[native][name])
    return frozenset(found)


def _action(place: _Place, field: str, errno_name: str, errno_number: str) -> int:
    name = place.text(field)
    if name == "SCMP_ACT_NOTIFY":
        raise place.refusal(field, "is SCMP_ACT_NOTIFY: nobody is asked about system calls here", "SCMP_ACT_ERRNO")
    action: int = place.choose(field, name, _ACTIONS)
    number = place.number(errno_number, _MAX_ERRNO if action == t.SECCOMP_RET_ERRNO else t.SECCOMP_RET_DATA)
    spelled = place.text(errno_name)
    if spelled:
        named: int = place.choose(errno_name, spelled, _ERRNOS)
        if number not in (None, named):
            raise place.refusal(errno_number, f"is {number}, but {errno_name} is {spelled}")
        number = named
    if action not in (t.SECCOMP_RET_ERRNO, s.TRACE):
        if number is not None:
            raise place.refusal(errno_number, f"makes no sense with {name}")
        return action
    return action | (errno.EPERM if number is None else number)


_ERRNOS = {name: number for number, name in errno.errorcode.items()}


def _rules(place: _Place, default: int) -> list[s.Rule]:
    """Return the rules of one entry of `syscalls`."""
    name, names = place.text("name"), place.texts("names")
    if name and names:
        raise place.refusal("name", "is there together with names; have one of them")
    if not (name or names):
        raise place.refusal("names", "is missing")
    action = _action(place, "action", "errno", "errnoRet")
    place.text("comment")
    conditions = [_condition(argument) for argument in place.each("args")]
    clauses = _clauses(place)
    place.end()
    known = _known(place, (name,) if name else names, strict=s.severity(action) < s.severity(default))
    return [s.Rule(names=known, action=action, when=when, **clauses) for when in _alternatives(conditions)]


def _known(place: _Place, names: tuple[str, ...], *, strict: bool) -> tuple[str, ...]:
    if strict:
        for name in names:
            if name not in _ELSEWHERE and not any(name in s.call_numbers(abi) for abi in s.ALL_ABIS):
                reason = f"has {name[:80]!r}, a system call that is not known here and would not be restricted"
                raise place.refusal("names", reason)
    return names


def _condition(place: _Place) -> Condition:
    argument = place.number("index", 5)
    value = place.number("value", ALL_BITS) or 0
    second = place.number("valueTwo", ALL_BITS) or 0
    compare = place.choose("op", place.text("op"), {one.value: one for one in Comparison})
    place.end()
    if argument is None:
        raise place.refusal("index", "is missing")
    if compare is Comparison.MASKED_EQ:
        return Condition(argument, compare, second, mask=value)
    return Condition(argument, compare, value)


def _alternatives(conditions: list[Condition]) -> list[tuple[Condition, ...]]:
    if len({condition.argument for condition in conditions}) < len(conditions):
        return [(condition,) for condition in conditions]
    return [tuple(conditions)]


def _clauses(place: _Place) -> dict[str, Any]:
    includes, excludes = place.inner("includes"), place.inner("excludes")
    clauses = {
        "capabilities": _each(includes, "caps", _capability),
        "without_capabilities": _each(excludes, "caps", _capability),
        "machines": _each(includes, "arches", _machine),
        "not_machines": _each(excludes, "arches", _machine),
        "since": _kernel(includes),
        "before": _kernel(excludes),
    }
    includes.end()
    excludes.end()
    return clauses


def _each(place: _Place, field: str, read: Callable[[_Place, str], str]) -> tuple[str, ...]:
    return tuple(read(place, given) for given in place.texts(field))


def _capability(place: _Place, given: str) -> str:
    if given not in CAPABILITIES:
        raise place.refusal("caps", f"has {given[:80]!r}, which is not a capability (CAP_SYS_ADMIN, for example)")
    return given


def _machine(place: _Place, given: str) -> str:
    machine: str = place.choose("arches", given, _MACHINES)
    return machine


def _kernel(place: _Place) -> tuple[int, int]:
    given = place.text("minKernel")
    match = _KERNEL.fullmatch(given or "0.0")
    if match is None or (given and not (int(match[1]) or int(match[2]))):
        raise place.refusal("minKernel", f"is {given[:40]!r}, must be like 4.8")
    return int(match[1]), int(match[2])
