"""Our profiles: facts that hold, where they differ, and the compiled filters' agreement with them, call by call."""

from __future__ import annotations

import errno
import hashlib
from itertools import product

import pytest

from container_kit._plan import seccomp_tables as t
from container_kit._plan.seccomp import (
    ALL_ABIS,
    ALLOW,
    Rule,
    SeccompProfile,
    call_numbers,
    compile_seccomp,
    refuse,
    severity,
)
from container_kit._plan.seccomp_profiles import (
    DEFAULT_PROFILE,
    DOCKER_PROFILE,
    LEFT_OUT,
    STRICT_PROFILE,
    STRICTER_THAN_DOCKER,
)
from container_kit._plan.seccomp_program import Condition
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
PROFILES = {"default": DEFAULT_PROFILE, "docker": DOCKER_PROFILE, "strict": STRICT_PROFILE}
FAMILIES = [*range(64), *(2**32 + family for family in range(64)), 2**63 + 38]
ALLOWED, EPERM = Verdict(Answer.ALLOW), Verdict(Answer.ERRNO, errno.EPERM)
DOCKERS_DIGEST = "5fa205dc6e566ffbd1f678d37535a4738b3af78ab210d5905c0d37366ff3ad73"
NO_FAMILY = Verdict(Answer.ERRNO, errno.EAFNOSUPPORT)


def arguments(profile: SeccompProfile) -> list[int]:
    """Return values around every constant that a condition compares with, and the same with upper bits set."""
    constants = {number for rule in profile.rules for one in rule.when for number in (one.value, one.mask & 0xFFFFFFFF)}
    bits = {1 << bit for bit in range(32)}
    return sorted({abs(number + offset) + high for number in constants | bits for offset in (-1, 0, 1)
                   for high in (0, 1 << 32)})  # fmt: skip


def compiled(
    machine: str = "x86_64",
    capabilities: frozenset[str] = DEFAULT_CAPABILITIES,
    profile: SeccompProfile = DEFAULT_PROFILE,
) -> bytes:
    """Compile a profile."""
    return compile_seccomp(profile, machine=machine, capabilities=capabilities, kernel=(6, 18))


def ask(
    name: str,
    *args: int,
    machine: str = "x86_64",
    capabilities: frozenset[str] = DEFAULT_CAPABILITIES,
    profile: SeccompProfile = DEFAULT_PROFILE,
) -> Verdict:
    """Ask the compiled profile for one call."""
    nr = NUMBERS[machine][name]
    return simulate(compiled(machine, capabilities, profile), arch=AUDIT_ARCH[machine], nr=nr, args=args)


def expected_action(profile: SeccompProfile, rules: list[Rule], name: str | None, value: int) -> int:
    """Answer from the rules alone, in the plainest way."""
    rules = [rule for rule in rules if name in rule.names]
    for rule in rules:
        if not rule.when:
            return rule.action
    actions = [rule.action for rule in rules if all(_holds(condition, value) for condition in rule.when)]
    return min(actions, key=severity, default=profile.default)


def _holds(condition: Condition, value: int) -> bool:
    low = (1 << condition.bits) - 1
    given, compared = value & low & condition.mask, condition.value & low & condition.mask
    match condition.compare.name:
        case "EQ" | "MASKED_EQ":
            return given == compared
        case "NE":
            return given != compared
        case "LT":
            return given < compared
        case "GT":
            return given > compared
        case other:
            raise AssertionError(other)


@pytest.mark.parametrize(("name", "machine"), list(product(PROFILES, NUMBERS)))
def test_filter_agrees_with_the_profile_for_every_call(name: str, machine: str) -> None:
    """All numbers from 0 to 600, and for calls with conditions every interesting argument."""
    profile, numbers = PROFILES[name], NUMBERS[machine]
    names = {number: call for call, number in numbers.items()}
    conditional = {numbers.get(call) for rule in profile.rules if rule.when for call in rule.names}
    values = arguments(profile)

    for held in CAPABILITY_SETS.values():
        program = compiled(machine, held, profile)
        rules = [rule for rule in profile.rules if rule.applies(machine, held, (6, 18))]
        last = max(numbers.get(call, 0) for rule in rules for call in rule.names)
        for nr in range(601):
            for value in values if nr in conditional else (0,):
                action = expected_action(profile, rules, names.get(nr), value)
                action = refuse(errno.ENOSYS) if nr > last else action
                expected = Verdict(Answer(action & t.SECCOMP_RET_ACTION_FULL), action & t.SECCOMP_RET_DATA)
                actual = simulate(program, arch=AUDIT_ARCH[machine], nr=nr, args=(value,) * 6)
                assert expected == actual, (nr, value)


def digest_of_decisions(profile: SeccompProfile) -> str:
    """Return the SHA-256 of what is decided about every call of every ABI, by capability set and argument."""
    told: list[str] = []
    for abi, held in product(ALL_ABIS, CAPABILITY_SETS.values()):
        program = compiled("aarch64" if abi in ("aarch64", "arm") else "x86_64", held, profile)
        for name, nr in sorted(call_numbers(abi).items()):
            for value in FAMILIES if name in ("socket", "personality", "clone") else (0,):
                verdict = simulate(program, arch=AUDIT_ARCH[abi], nr=nr, args=(value,))
                told.append(f"{abi} {name} {value} {verdict.answer:x} {verdict.errno}")
    return hashlib.sha256("\n".join(told).encode()).hexdigest()


def test_docker_profile_is_that_of_docker() -> None:
    """The digest is that of moby/profiles, seccomp/default.json of 2026-06-30, read by `parse_seccomp`."""
    assert DOCKERS_DIGEST == digest_of_decisions(DOCKER_PROFILE)


def stricter(profile: SeccompProfile, than: SeccompProfile, abi: str, capabilities: frozenset[str]) -> dict[str, int]:
    """Return the calls of an ABI that the other profile only allows, and with how many of the arguments."""
    machine = "aarch64" if abi in ("aarch64", "arm") else "x86_64"
    programs = [compiled(machine, capabilities, one) for one in (than, profile)]
    found: dict[str, int] = {}
    for name, nr in call_numbers(abi).items():
        for value in FAMILIES if name in ("socket", "socketpair") else (0, 8, 17, 0x5412, 0x541C, 0x20000, 0xFFFFFFFF):
            lax, strict = (
                simulate(program, arch=AUDIT_ARCH[abi], nr=nr, args=(value, value, 0)).answer is Answer.ALLOW
                for program in programs
            )
            assert lax or not strict, (name, value)
            if lax and not strict:
                found[name] = found.get(name, 0) + 1
    return found


@pytest.mark.parametrize("capabilities", CAPABILITY_SETS)
def test_default_is_stricter_than_docker_where_it_says_so(capabilities: str) -> None:
    """Whole ABIs, and sockets whose family has upper bits that the kernel does not look at; never more lenient."""
    for abi in ALL_ABIS:
        calls = stricter(DEFAULT_PROFILE, DOCKER_PROFILE, abi, CAPABILITY_SETS[capabilities])

        if abi in STRICTER_THAN_DOCKER:
            assert len(calls) > 250
        else:
            assert {"socket": 3} == calls  # 2**32 + 38, 2**32 + 40, 2**63 + 38
    assert {"x32", "i386", "arm", "socket"} == STRICTER_THAN_DOCKER.keys()


def test_strict_is_stricter_than_the_default_where_it_says_so() -> None:
    """What is left out, and arguments of a few calls; never more lenient."""
    left_out = {name for names in LEFT_OUT.values() for name in names.split()}
    by_argument = {"socket", "socketpair", "ioctl", "personality"}

    for machine, numbers in NUMBERS.items():
        calls = stricter(STRICT_PROFILE, DEFAULT_PROFILE, machine, frozenset())

        assert (left_out & numbers.keys()) | by_argument == calls.keys()


def test_strict_profile_is_the_same_whatever_the_capabilities() -> None:
    """Who asks for it gets it, even with all of them."""
    every = CAPABILITY_SETS["all"]

    for machine in NUMBERS:
        assert compiled(machine, frozenset(), STRICT_PROFILE) == compiled(machine, every, STRICT_PROFILE)


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        ((1, 1, 0), ALLOWED),
        ((2, 1, 6), ALLOWED),
        ((2, 2, 0), ALLOWED),
        ((2, 2, 1), ALLOWED),
        ((10, 2, 58), ALLOWED),
        ((16, 3, 0), ALLOWED),  # getifaddrs
        ((16, 3, 12), EPERM),  # netfilter
        ((2, 3, 132), EPERM),  # sctp
        ((10, 1, 262), EPERM),  # mptcp
        ((17, 3, 0), NO_FAMILY),  # packet
        ((38, 5, 0), NO_FAMILY),
        ((2**32 + 38, 5, 0), NO_FAMILY),
        ((2**32 + 1, 1, 0), ALLOWED),
    ],
)
def test_strict_sockets_are_files_and_networks(args: tuple[int, int, int], expected: Verdict) -> None:
    """Families and protocols that ordinary programs use; others load modules of the kernel."""
    assert expected == ask("socket", *args, profile=STRICT_PROFILE)


@pytest.mark.parametrize("command", [0x5412, 0x541C, 2**32 + 0x5412])
def test_strict_profile_types_nothing_into_terminals(command: int) -> None:
    """TIOCSTI and TIOCLINUX put words into the mouth of whoever reads the terminal (CVE-2017-5226)."""
    assert EPERM == ask("ioctl", 0, command, profile=STRICT_PROFILE)
    assert ALLOWED == ask("ioctl", 0, 0x5413, profile=STRICT_PROFILE)


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("name", ["keyctl", "add_key", "request_key", "io_uring_setup", "userfaultfd", "kexec_load",
                                  "pivot_root", "swapon", "move_pages", "nfsservctl", "uselib", "sysfs"])  # fmt: skip
def test_some_calls_are_refused_whatever_the_capabilities(name: str, profile: str) -> None:
    """Large or outdated interfaces that containers do without."""
    assert EPERM == ask(name, capabilities=frozenset(CAPABILITIES), profile=PROFILES[profile])


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
    names = {name for rule in (*DOCKER_PROFILE.rules, *STRICT_PROFILE.rules) for name in rule.names}
    left_out = {name for names in LEFT_OUT.values() for name in names.split()}

    assert names | left_out <= {name for abi in ALL_ABIS for name in call_numbers(abi)}


def test_no_rule_repeats_another() -> None:
    """Each unconditional name stands in one rule per capability."""
    seen: set[tuple[str, object]] = set()
    for rule in DOCKER_PROFILE.rules:
        for name in rule.names:
            key = (name, (rule.capabilities, rule.without_capabilities, rule.when))
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
