"""The default profile: facts that hold, and the compiled filter's agreement with it, call by call."""

from __future__ import annotations

import errno
from itertools import product

import pytest

from container_kit._plan import seccomp_tables as t
from container_kit._plan.default_profile import DEFAULT_PROFILE
from container_kit._plan.seccomp import ALLOW, Comparison, Condition, compile_seccomp, refuse
from container_kit._spec.security import CAPABILITIES, DEFAULT_CAPABILITIES
from container_kit.testing.bpf import AUDIT_ARCH, Answer, Verdict, instructions_of, simulate

NUMBERS = {"x86_64": t.X86_64, "aarch64": t.AARCH64}
CAPABILITY_SETS = {
    "none": frozenset[str](),
    "default": DEFAULT_CAPABILITIES,
    "sys_admin": DEFAULT_CAPABILITIES | {"CAP_SYS_ADMIN"},
    "sys_ptrace": DEFAULT_CAPABILITIES | {"CAP_SYS_PTRACE"},
    "some": frozenset({"CAP_BPF", "CAP_SYS_TIME", "CAP_SYS_NICE", "CAP_SYSLOG"}),
    "all": frozenset(CAPABILITIES),
}
# Values around every constant that a condition of the profile compares with, and with upper bits set.
ARGUMENTS = sorted(
    {
        abs(value + offset) + high
        for rule in DEFAULT_PROFILE.rules
        if rule.when is not None
        for value in (0, *rule.when.values, *(1 << bit for bit in range(32)))
        for offset in (-1, 0, 1)
        for high in (0, 1 << 32)
    }
)
ALLOWED, EPERM = Verdict(Answer.ALLOW), Verdict(Answer.ERRNO, errno.EPERM)


def compiled(machine: str = "x86_64", capabilities: frozenset[str] = DEFAULT_CAPABILITIES) -> bytes:
    """Compile the default profile."""
    return compile_seccomp(DEFAULT_PROFILE, machine=machine, capabilities=capabilities, kernel=(6, 18))


def ask(name: str, *args: int, machine: str = "x86_64", capabilities: frozenset[str] = DEFAULT_CAPABILITIES) -> Verdict:
    """Ask the compiled profile for one call."""
    nr = NUMBERS[machine][name]
    return simulate(compiled(machine, capabilities), arch=AUDIT_ARCH[machine], nr=nr, args=args)


def expected_action(machine: str, capabilities: frozenset[str], nr: int, argument: int) -> int:
    """Answer from the rules alone, in the plainest way."""
    names = {number: name for name, number in NUMBERS[machine].items()}
    if nr not in names:
        return refuse(errno.ENOSYS)
    rules = [r for r in DEFAULT_PROFILE.rules if names[nr] in r.names and r.applies(machine, capabilities, (6, 18))]
    for rule in [r for r in rules if r.when is None] + [r for r in rules if r.when is not None]:
        if rule.when is None or _holds(rule.when, argument & 0xFFFFFFFF):
            return rule.action
    return refuse(errno.EPERM)


def _holds(condition: Condition, value: int) -> bool:
    match condition.compare:
        case Comparison.ONE_OF:
            return value in condition.values
        case Comparison.NONE_OF:
            return value not in condition.values
        case Comparison.NO_BIT_OF:
            return not value & condition.values[0]


@pytest.mark.parametrize(("machine", "capabilities"), list(product(NUMBERS, CAPABILITY_SETS)))
def test_filter_agrees_with_the_profile_for_every_call(machine: str, capabilities: str) -> None:
    """All numbers from 0 to 600, and for calls with conditions every interesting argument."""
    held = CAPABILITY_SETS[capabilities]
    program = compiled(machine, held)
    conditional = {NUMBERS[machine].get(n) for rule in DEFAULT_PROFILE.rules if rule.when for n in rule.names}

    for nr in range(601):
        for argument in ARGUMENTS if nr in conditional else (0,):
            action = expected_action(machine, held, nr, argument)
            expected = Verdict(Answer(action & t.SECCOMP_RET_ACTION_FULL), action & t.SECCOMP_RET_DATA)
            actual = simulate(program, arch=AUDIT_ARCH[machine], nr=nr, args=(argument,) * 6)
            assert expected == actual, (nr, argument)


@pytest.mark.parametrize("name", ["keyctl", "add_key", "request_key", "io_uring_setup", "userfaultfd", "kexec_load",
                                  "pivot_root", "swapon", "move_pages", "nfsservctl", "uselib", "sysfs"])  # fmt: skip
def test_some_calls_are_refused_whatever_the_capabilities(name: str) -> None:
    """Large or outdated interfaces that containers do without."""
    assert ask(name, capabilities=frozenset(CAPABILITIES)) == EPERM


@pytest.mark.parametrize(
    ("capability", "names"),
    [
        ("CAP_SYS_ADMIN", ("mount", "umount2", "unshare", "setns", "bpf", "fsopen", "move_mount", "clone3")),
        ("CAP_SYS_CHROOT", ("chroot",)),
        ("CAP_SYS_BOOT", ("reboot",)),
        ("CAP_SYS_MODULE", ("init_module", "finit_module", "delete_module")),
        ("CAP_DAC_READ_SEARCH", ("open_by_handle_at",)),
        ("CAP_SYS_TIME", ("settimeofday", "clock_settime")),
        ("CAP_SYS_PTRACE", ("kcmp", "pidfd_getfd", "process_madvise")),
        ("CAP_SYS_NICE", ("mbind", "set_mempolicy")),
        ("CAP_SYS_RAWIO", ("iopl", "ioperm")),
        ("CAP_SYSLOG", ("syslog",)),
        ("CAP_PERFMON", ("perf_event_open",)),
    ],
)
def test_capability_opens_its_calls(capability: str, names: tuple[str, ...]) -> None:
    """What the kernel would refuse anyway without the capability is refused by the filter as well."""
    for name in names:
        assert ask(name, capabilities=frozenset()).answer is Answer.ERRNO, name
        assert ask(name, capabilities=frozenset({capability})) == ALLOWED, name


def test_clone3_is_enosys_so_that_libc_falls_back() -> None:
    """Its flags are in memory, where a filter cannot look."""
    assert ask("clone3") == Verdict(Answer.ERRNO, errno.ENOSYS)


@pytest.mark.parametrize("bit", range(32))
def test_clone_makes_no_namespaces(bit: int) -> None:
    """Of all flags, those that make namespaces are refused; threads and processes are fine."""
    new_namespaces = (0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000)

    verdict = ask("clone", 1 << bit | 17)

    assert (EPERM if 1 << bit in new_namespaces else ALLOWED) == verdict


@pytest.mark.parametrize(("family", "allowed"), [(1, True), (2, True), (10, True), (16, True), (17, True), (37, True),
                                                 (38, False), (39, True), (40, False), (41, True)])  # fmt: skip
def test_kernel_crypto_and_vsock_sockets_are_refused(family: int, allowed: bool) -> None:
    """AF_ALG is 38, AF_VSOCK 40; all others are allowed, and upper bits change nothing."""
    expected = ALLOWED if allowed else EPERM

    assert ask("socket", family) == expected
    assert ask("socket", family + 2**32) == expected


@pytest.mark.parametrize("value", [0, 8, 0x20000, 0x20008, 0xFFFFFFFF, 1, 9, 0x40000, 0x20001, 0xFFFFFFFE])
def test_only_harmless_personalities_are_allowed(value: int) -> None:
    """ADDR_NO_RANDOMIZE and the like would weaken the program that runs next."""
    harmless = (0, 8, 0x20000, 0x20008, 0xFFFFFFFF)

    assert (ALLOWED if value in harmless else EPERM) == ask("personality", value)


def test_tracing_is_allowed_since_filters_judge_after_the_tracer() -> None:
    """Before Linux 4.8 a tracer could change a call that had passed."""
    old = compile_seccomp(DEFAULT_PROFILE, machine="x86_64", capabilities=frozenset[str](), kernel=(4, 7))

    assert simulate(old, arch=AUDIT_ARCH["x86_64"], nr=t.X86_64["ptrace"]) == EPERM
    assert ask("ptrace") == ALLOWED


def test_machines_have_their_own_calls() -> None:
    """arch_prctl sets up threads on x86-64; arm64 has no such call."""
    assert ask("arch_prctl", machine="x86_64") == ALLOWED
    assert "arch_prctl" not in t.AARCH64


def test_every_name_exists_somewhere() -> None:
    """A misspelt name would silently allow nothing."""
    names = {name for rule in DEFAULT_PROFILE.rules for name in rule.names}

    assert names - (t.X86_64.keys() | t.AARCH64.keys()) == set()


def test_no_rule_repeats_another() -> None:
    """Each unconditional name stands in one rule per capability."""
    seen: set[tuple[str, object]] = set()
    for rule in DEFAULT_PROFILE.rules:
        for name in rule.names:
            key = (name, (rule.capability, rule.without_capability, rule.when))
            assert key not in seen
            seen.add(key)


def test_filter_is_small_and_shallow() -> None:
    """The kernel runs it for each call number when it is attached; size is start-up time."""
    for machine, capabilities in product(NUMBERS, CAPABILITY_SETS.values()):
        program = compiled(machine, capabilities)
        deepest = max(simulate(program, arch=AUDIT_ARCH[machine], nr=nr).instructions for nr in range(600))

        assert len(instructions_of(program)) <= 100
        assert deepest <= 20


def test_actions_are_allow_and_errors_only() -> None:
    """Nothing is killed: a refused call is an error that a program can handle."""
    actions = {rule.action for rule in DEFAULT_PROFILE.rules}

    assert actions == {ALLOW, refuse(errno.ENOSYS)}
