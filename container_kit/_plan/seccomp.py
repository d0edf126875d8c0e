"""A seccomp profile, and what it decides for each system call (seccomp(2), OCI runtime-spec config-linux.md).

What becomes of a call, as libseccomp and runc answer it:

* A rule without conditions decides alone, the first one if there are several.
* Else a rule decides all of whose conditions hold. If there are several with different
  actions, the most restrictive one does (libseccomp: whichever its sorting puts first).
* Else, and for numbers between the calls of the table: the default action.
* A number beyond the last call that the profile names: ENOSYS, as an older kernel would
  answer, so that a C library falls back (runc's rule). Not if the default is to let calls
  pass.

A machine has several ABIs: x86-64 runs programs of i386 and x32 as well, arm64 those of
arm. The profile says which of these siblings have its rules; a call of any other ABI gets
the action `foreign`. Arguments of siblings have 32 bits. On i386 a rule about `socket` is
also one about `socketcall` with the number of socket, likewise for `ipc`; what it says of
the first argument is lost there, and all others are those of the multiplexer.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Final

import attrs

from container_kit._plan import seccomp_tables as t
from container_kit._plan.flags import FilterFlag
from container_kit._plan.seccomp_program import Case, Comparison, Condition, Decision, assemble
from container_kit.errors import InvalidSpecError

ALLOW: Final = t.SECCOMP_RET_ALLOW
KILL_PROCESS: Final = t.SECCOMP_RET_KILL_PROCESS
KILL_THREAD: Final = t.SECCOMP_RET_KILL_THREAD
LOG: Final = t.SECCOMP_RET_LOG
TRACE: Final = t.SECCOMP_RET_TRACE
TRAP: Final = t.SECCOMP_RET_TRAP

# The most restrictive first, as the kernel orders them (seccomp(2)).
_SEVERITY = (KILL_PROCESS, KILL_THREAD, TRAP, t.SECCOMP_RET_ERRNO, TRACE, LOG, ALLOW)
_PASSING = (ALLOW, LOG, TRACE)
_X32_BIT: Final = 0x40000000
_SKIPPED: Final = 2**32 - 1  # the number that a tracer gives a call to have none (seccomp(2))
_LOW: Final = 2**32 - 1


@attrs.frozen(kw_only=True)
class _Abi:
    """A numbering of system calls: the architecture the kernel reports, and from which number on it is for."""

    arch: int
    first: int = 0


_ABIS: Final[Mapping[str, _Abi]] = {
    "x86_64": _Abi(arch=t.AUDIT_ARCH_X86_64),
    "x32": _Abi(arch=t.AUDIT_ARCH_X86_64, first=_X32_BIT),
    "i386": _Abi(arch=t.AUDIT_ARCH_I386),
    "aarch64": _Abi(arch=t.AUDIT_ARCH_AARCH64),
    "arm": _Abi(arch=t.AUDIT_ARCH_ARM),
}
_SIBLINGS: Final[Mapping[str, tuple[str, ...]]] = {"x86_64": ("x32", "i386"), "aarch64": ("arm",)}

# linux/net.h and linux/ipc.h: call → (multiplexer, its first argument).
_MULTIPLEXED: Final[Mapping[str, tuple[str, int]]] = {
    **{
        name: ("socketcall", 1 + index)
        for index, name in enumerate(
            """socket bind connect listen accept getsockname getpeername socketpair send recv sendto recvfrom shutdown
            setsockopt getsockopt sendmsg recvmsg accept4 recvmmsg sendmmsg""".split()
        )
    },
    **{name: ("ipc", 1 + index) for index, name in enumerate(("semop", "semget", "semctl", "semtimedop"))},
    **{name: ("ipc", 11 + index) for index, name in enumerate(("msgsnd", "msgrcv", "msgget", "msgctl"))},
    **{name: ("ipc", 21 + index) for index, name in enumerate(("shmat", "shmdt", "shmget", "shmctl"))},
}

ALL_SIBLINGS: Final = frozenset(sibling for siblings in _SIBLINGS.values() for sibling in siblings)
ALL_ABIS: Final = tuple(_ABIS)


def refuse(number: int) -> int:
    """Return the action that makes a call fail with this errno."""
    return t.SECCOMP_RET_ERRNO | number


def severity(action: int) -> int:
    """Return how restrictive an action is: 0 is the most."""
    return _SEVERITY.index(action & t.SECCOMP_RET_ACTION_FULL)


@attrs.frozen(kw_only=True)
class Rule:
    """An action for some calls, under conditions on the call, the container and the host.

    A name that an ABI lacks is skipped there.

    Attributes:
        names: the calls.
        action: what becomes of them.
        when: all of these must hold.
        capabilities: the container must hold them all.
        without_capabilities: the container must hold none of them.
        machines: one of these, as uname(2) says it; empty: any.
        not_machines: none of these.
        since: the oldest kernel.
        before: the kernel must be older; (0, 0): any.
    """

    names: tuple[str, ...]
    action: int = ALLOW
    when: tuple[Condition, ...] = ()
    capabilities: tuple[str, ...] = ()
    without_capabilities: tuple[str, ...] = ()
    machines: tuple[str, ...] = ()
    not_machines: tuple[str, ...] = ()
    since: tuple[int, int] = (0, 0)
    before: tuple[int, int] = (0, 0)

    def applies(self, machine: str, capabilities: frozenset[str], kernel: tuple[int, int]) -> bool:
        """Say whether the rule is about such a container on such a host."""
        return (
            capabilities.issuperset(self.capabilities)
            and capabilities.isdisjoint(self.without_capabilities)
            and (not self.machines or machine in self.machines)
            and machine not in self.not_machines
            and kernel >= self.since
            and (self.before == (0, 0) or kernel < self.before)
        )


@attrs.frozen(kw_only=True, cache_hash=True)
class SeccompProfile:
    """Rules, and what becomes of calls that they do not decide.

    Attributes:
        rules: see `Rule`.
        default: the action where no rule decides.
        siblings: the ABIs besides the machine's own that have these rules, of `ALL_SIBLINGS`.
        foreign: the action for all other ABIs.
        flags: how the kernel treats the filter.
    """

    rules: tuple[Rule, ...]
    default: int = refuse(errno.EPERM)
    siblings: frozenset[str] = frozenset()
    foreign: int = refuse(errno.EPERM)
    flags: FilterFlag = FilterFlag.NONE


def supported_machines() -> frozenset[str]:
    """Return the machines (uname(2)) that filters can be made for."""
    return frozenset(_SIBLINGS)


@lru_cache(maxsize=64)
def compile_seccomp(
    profile: SeccompProfile, *, machine: str, capabilities: frozenset[str], kernel: tuple[int, int]
) -> bytes:
    """Return the filter as an array of `struct sock_filter`.

    Args:
        profile: what is allowed.
        machine: as uname(2) says it, one of `supported_machines()`.
        capabilities: names of what the container may hold, e.g. `CAP_SYS_ADMIN`.
        kernel: major and minor version of the host.

    Raises:
        InvalidSpecError: the kernel takes no program that long.
    """
    rules = [rule for rule in profile.rules if rule.applies(machine, capabilities, kernel)]
    abis = (machine, *(sibling for sibling in _SIBLINGS[machine] if sibling in profile.siblings))
    ranges_of: dict[int, list[tuple[int, Decision]]] = {}
    for name in abis:
        ranges_of.setdefault(_ABIS[name].arch, []).extend(_ranges(profile, rules, name))
    if machine == "x86_64" and "x32" not in abis:
        ranges = ranges_of[t.AUDIT_ARCH_X86_64]
        _extend(ranges, _X32_BIT, Decision((), profile.foreign))
        _extend(ranges, _SKIPPED, Decision((), profile.default))
    program = assemble(ranges_of, profile.foreign)
    if len(program) > 8 * t.BPF_MAXINSNS:
        reason = f"the rules make {len(program) // 8} instructions, the kernel takes {t.BPF_MAXINSNS}"
        raise InvalidSpecError(field="seccomp", value="profile", reason=reason, hint="have fewer conditions")
    return program


def call_numbers(abi: str) -> Mapping[str, int]:
    """Return the calls of an ABI: of a machine, or of one of `ALL_SIBLINGS`."""
    match abi:
        case "x86_64":
            return t.X86_64
        case "aarch64":
            return t.AARCH64
        case _:
            from container_kit._plan import seccomp_sibling_tables as siblings  # most filters do without

            return {"x32": siblings.X32, "i386": siblings.I386, "arm": siblings.ARM}[abi]


def _ranges(profile: SeccompProfile, rules: Iterable[Rule], name: str) -> list[tuple[int, Decision]]:
    """Return (first number, decision) for ranges that together cover all numbers of an ABI, in order."""
    abi, numbers, default = _ABIS[name], call_numbers(name), Decision((), profile.default)
    cases = _cases(rules, profile.default)
    named = [numbers[call] for call in cases if call in numbers]
    if name in ALL_SIBLINGS:
        cases = {call: [_narrowed(case) for case in of_call] for call, of_call in cases.items()}
    if name == "i386":
        _add_multiplexers(cases)
    decisions = {numbers[call]: _decision(of_call, default) for call, of_call in cases.items() if call in numbers}
    ranges = [(abi.first, default)]
    for number in sorted(decisions):
        _extend(ranges, number, decisions[number])
        _extend(ranges, number + 1, default)
    if named and profile.default & t.SECCOMP_RET_ACTION_FULL not in _PASSING:
        _extend(ranges, max(named) + 1, Decision((), refuse(errno.ENOSYS)))
    return ranges


def _extend(ranges: list[tuple[int, Decision]], first: int, decision: Decision) -> None:
    """Let a decision count from a number on, the last one that has begun or a later one."""
    if ranges[-1][0] == first:
        ranges.pop()
    if not ranges or ranges[-1][1] != decision:
        ranges.append((first, decision))


def _cases(rules: Iterable[Rule], default: int) -> dict[str, list[Case]]:
    """Return what the rules say about every call that they name; nothing where that is the default."""
    cases: dict[str, list[Case]] = {}
    for rule in rules:
        for name in rule.names:
            of_call = cases.setdefault(name, [])
            if rule.action != default:
                of_call.append((rule.when, rule.action))
    return cases


def _narrowed(case: Case) -> Case:
    conditions, action = case
    return tuple(attrs.evolve(one, bits=32, value=one.value & _LOW, mask=one.mask & _LOW) for one in conditions), action


def _add_multiplexers(cases: dict[str, list[Case]]) -> None:
    for name, (multiplexer, number) in _MULTIPLEXED.items():
        chosen = Condition(0, Comparison.EQ, number, bits=32)
        for conditions, action in cases.get(name, ()):
            others = (one for one in conditions if one.argument != 0)
            cases.setdefault(multiplexer, []).append(((chosen, *others), action))


def _decision(cases: list[Case], default: Decision) -> Decision:
    for conditions, action in cases:
        if not conditions:
            return Decision((), action)
    return Decision(tuple(sorted(cases, key=lambda case: severity(case[1]))), default.otherwise)
