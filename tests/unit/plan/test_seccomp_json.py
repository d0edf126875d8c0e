"""Profiles as files: what Docker's and the OCI's JSON says is what the rules are; what is not understood is refused."""

from __future__ import annotations

import errno
import json
from typing import Any

import pytest

from container_kit._plan.flags import FilterFlag
from container_kit._plan.seccomp import ALLOW, KILL_PROCESS, KILL_THREAD, LOG, TRACE, TRAP, Rule, SeccompProfile, refuse
from container_kit._plan.seccomp_json import LARGEST, parse_seccomp
from container_kit._plan.seccomp_program import Comparison, Condition
from container_kit.errors import InvalidSpecError

PATH = "/etc/profile.json"


def parse(document: object) -> SeccompProfile:
    """Parse a document."""
    return parse_seccomp(document if isinstance(document, str) else json.dumps(document), PATH)


def profile(*syscalls: dict[str, Any], **others: Any) -> dict[str, Any]:
    """Return a document with these entries."""
    return {"defaultAction": "SCMP_ACT_ERRNO", "syscalls": list(syscalls), **others}


def call(**fields: Any) -> dict[str, Any]:
    """Return an entry of `syscalls`."""
    return {"names": ["read"], "action": "SCMP_ACT_ALLOW", **fields}


def test_docker_profile_is_read_with_all_its_fields() -> None:
    """Clauses about capabilities, machines and kernels become those of the rule."""
    document = profile(
        call(names=["clone", "fork"], comment="threads", args=[
            {"index": 1, "value": 2**64 - 1, "valueTwo": 3, "op": "SCMP_CMP_MASKED_EQ"},
            {"index": 0, "value": 7, "op": "SCMP_CMP_LE"},
        ], includes={"caps": ["CAP_BPF"], "arches": ["amd64", "s390x"], "minKernel": "4.8"},
           excludes={"caps": ["CAP_SYS_ADMIN"], "arches": ["arm64"], "minKernel": "6.12"}),
        {"name": "kill", "action": "SCMP_ACT_ERRNO", "errnoRet": 38, "args": None, "includes": {}},
        defaultErrnoRet=1,
        archMap=[
            {"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]},
            {"architecture": "SCMP_ARCH_AARCH64", "subArchitectures": ["SCMP_ARCH_ARM"]},
            {"architecture": "SCMP_ARCH_RISCV64", "subArchitectures": None},
        ],
        flags=["SECCOMP_FILTER_FLAG_TSYNC", "SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW"],
    )  # fmt: skip
    expected = SeccompProfile(
        rules=(
            Rule(
                names=("clone", "fork"),
                when=(
                    Condition(1, Comparison.MASKED_EQ, 3, mask=2**64 - 1),
                    Condition(0, Comparison.LE, 7),
                ),
                capabilities=("CAP_BPF",),
                without_capabilities=("CAP_SYS_ADMIN",),
                machines=("x86_64", "not ours: s390x"),
                not_machines=("aarch64",),
                since=(4, 8),
                before=(6, 12),
            ),
            Rule(names=("kill",), action=refuse(errno.ENOSYS)),
        ),
        siblings=frozenset({"i386", "arm"}),
        foreign=KILL_THREAD,
        flags=FilterFlag.LOG | FilterFlag.SPEC_ALLOW,
    )

    assert expected == parse(document)


def test_oci_profile_lists_its_architectures() -> None:
    """The machine's own is always there, those of other machines do not matter."""
    architectures = ["SCMP_ARCH_X86_64", "SCMP_ARCH_X32", "SCMP_ARCH_PPC64LE"]

    assert frozenset({"x32"}) == parse(profile(architectures=architectures)).siblings
    assert frozenset() == parse(profile()).siblings


@pytest.mark.parametrize(
    ("fields", "action"),
    [
        ({"action": "SCMP_ACT_KILL"}, KILL_THREAD),
        ({"action": "SCMP_ACT_KILL_THREAD"}, KILL_THREAD),
        ({"action": "SCMP_ACT_KILL_PROCESS"}, KILL_PROCESS),
        ({"action": "SCMP_ACT_TRAP"}, TRAP),
        ({"action": "SCMP_ACT_LOG"}, LOG),
        ({"action": "SCMP_ACT_ALLOW"}, ALLOW),
        ({"action": "SCMP_ACT_TRACE"}, TRACE | 1),
        ({"action": "SCMP_ACT_TRACE", "errnoRet": 65535}, TRACE | 65535),
        ({"action": "SCMP_ACT_ERRNO"}, refuse(errno.EPERM)),
        ({"action": "SCMP_ACT_ERRNO", "errnoRet": 0}, refuse(0)),
        ({"action": "SCMP_ACT_ERRNO", "errnoRet": 38, "errno": "ENOSYS"}, refuse(errno.ENOSYS)),
        ({"action": "SCMP_ACT_ERRNO", "errno": "EACCES"}, refuse(errno.EACCES)),
    ],
)
def test_actions_are_those_of_libseccomp(fields: dict[str, Any], action: int) -> None:
    """With a number where there is one; Podman spells it."""
    assert action == parse(profile(call(**fields))).rules[0].action


def test_argument_compared_twice_makes_two_rules() -> None:
    """As with runc and crun: either condition is enough."""
    one, two = Condition(0, Comparison.GT, 1), Condition(0, Comparison.LT, 9)
    arguments = [{"index": 0, "value": 1, "op": "SCMP_CMP_GT"}, {"index": 0, "value": 9, "op": "SCMP_CMP_LT"}]

    assert [(one,), (two,)] == [rule.when for rule in parse(profile(call(args=arguments))).rules]


def test_unknown_call_is_passed_over_only_where_it_is_refused_anyway() -> None:
    """A deny-list with a typing error would deny nothing."""
    lenient, elsewhere = call(names=["raed"]), call(names=["riscv_flush_icache"], action="SCMP_ACT_KILL")

    assert ("raed",) == parse(profile(lenient)).rules[0].names
    assert 1 == len(parse(profile(elsewhere)).rules)
    with pytest.raises(InvalidSpecError, match=r"syscalls\[0\]\.names has 'raed'"):
        parse({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [call(names=["raed"], action="SCMP_ACT_ERRNO")]})


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        ("", "not valid JSON"),
        ("[]", "not a JSON object"),
        ('{"defaultAction": "SCMP_ACT_ALLOW", "defaultAction": "SCMP_ACT_ALLOW"}', "twice"),
        ('{"a":' + "[" * 20 + "]" * 20 + "}", "deeper"),
        (" " * (LARGEST + 1), "larger than"),
        ({}, "defaultAction is missing"),
        (profile(defaultAction="SCMP_ACT_MAYBE"), "defaultAction is 'SCMP_ACT_MAYBE', must be one of SCMP_ACT_KILL"),
        (profile(defaultAction="SCMP_ACT_NOTIFY"), "SCMP_ACT_NOTIFY"),
        (profile(defaultErrnoRet=4096), "defaultErrnoRet must be a number from 0 to 4095"),
        (profile(defaultErrnoRet=True), "defaultErrnoRet"),
        (profile(defaultErrnoRet=-1), "negative"),
        (profile(call(action="SCMP_ACT_NOTIFY")), r"syscalls\[0\]\.action is SCMP_ACT_NOTIFY"),
        (profile(call(errnoRet=1)), r"syscalls\[0\]\.errnoRet makes no sense with SCMP_ACT_ALLOW"),
        (profile(call(action="SCMP_ACT_ERRNO", errno="EACCES", errnoRet=1)), "errnoRet is 1, but errno is EACCES"),
        (profile(call(name="read")), r"syscalls\[0\]\.name is there together with names"),
        (profile(call(names=[])), r"syscalls\[0\]\.names is missing"),
        (profile(call(names=[1])), "list of texts"),
        (profile(call(arguments=[])), r"syscalls\[0\]\.arguments is not a field"),
        (profile(call(args=[{"index": 6, "value": 0, "op": "SCMP_CMP_EQ"}])), r"args\[0\]\.index .* 0 to 5"),
        (profile(call(args=[{"value": 0, "op": "SCMP_CMP_EQ"}])), r"args\[0\]\.index is missing"),
        (profile(call(args=[{"index": 0, "value": 2**64, "op": "SCMP_CMP_EQ"}])), "beyond 64 bits"),
        (profile(call(args=[{"index": 0, "value": 0, "op": "=="}])), r"args\[0\]\.op is '=='"),
        (profile(call(includes={"caps": ["SYS_ADMIN"]})), r"includes\.caps has 'SYS_ADMIN'"),
        (profile(call(includes={"arches": ["x86_64"]})), r"includes\.arches is 'x86_64'"),
        (profile(call(excludes={"minKernel": "4.8.1"})), r"excludes\.minKernel is '4.8.1'"),
        (profile(call(excludes={"minkernel": "4.8"})), r"excludes\.minkernel is not a field"),
        (profile(syscalls={}), "syscalls must be a list"),
        (profile("read"), r"syscalls\[0\] must be an object"),  # type: ignore[arg-type]
        (profile(architectures=["x86"]), "architectures names 'x86'"),
        (profile(architectures=["SCMP_ARCH_X86"], archMap=[{"architecture": "SCMP_ARCH_X86_64"}]), "together"),
        (profile(flags=["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]), "flags is 'SECCOMP_FILTER_FLAG_WAIT"),
        (profile(listenerPath="/run/agent"), "listenerPath cannot be used"),
        (profile(syscall=[]), "syscall is not a field"),
    ],
)
def test_what_is_not_understood_is_refused_with_its_place(document: object, reason: str) -> None:
    """Nothing is dropped silently: a rule less is a hole."""
    with pytest.raises(InvalidSpecError, match=reason) as caught:
        parse(document)

    assert ("seccomp", PATH) == (caught.value.field, caught.value.value)
