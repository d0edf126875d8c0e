"""Capabilities and the other limits on a container's processes."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from container_kit._spec.paths import ContainerPath, HostPath
from container_kit._spec.security import (
    ALL,
    CAPABILITIES,
    DEFAULT_CAPABILITIES,
    DEFAULT_MASKED_PATHS,
    SeccompFile,
    SeccompMode,
    Security,
)
from container_kit.errors import InvalidSpecError


def test_default_has_eleven_capabilities_and_no_new_privileges() -> None:
    """The stricter default of the known engines: no raw sockets, no device nodes."""
    security = Security()

    assert len(DEFAULT_CAPABILITIES) == 11
    assert security.capabilities == DEFAULT_CAPABILITIES
    assert not security.capabilities & {"CAP_NET_RAW", "CAP_MKNOD", "CAP_SYS_ADMIN"}
    assert security.no_new_privileges
    assert security.seccomp is SeccompMode.DEFAULT


def test_default_mask_is_the_known_number() -> None:
    """The bits of 0 1 3 4 5 6 7 8 10 18 31, written out by hand."""
    assert Security().capability_mask == 0x800405FB


def test_names_are_read_in_any_spelling() -> None:
    """`net_raw`, `NET_RAW` and `CAP_NET_RAW` are the same capability."""
    security = Security(cap_add=("net_raw", "CAP_NET_RAW", "NET_RAW"))

    assert security.cap_add == ("CAP_NET_RAW",)
    assert security.capabilities == DEFAULT_CAPABILITIES | {"CAP_NET_RAW"}


def test_all_can_be_added_and_dropped() -> None:
    """ALL stands for every capability; single ones are then excepted."""
    assert Security(cap_add=(ALL,)).capability_mask == 2**41 - 1
    assert Security(cap_add=("all",), cap_drop=("SYS_ADMIN",)).capabilities == CAPABILITIES.keys() - {"CAP_SYS_ADMIN"}
    assert Security(cap_drop=(ALL,), cap_add=("CHOWN",)).capabilities == {"CAP_CHOWN"}
    assert Security.untrusted().capability_mask == 0


@pytest.mark.parametrize("both", ["CHOWN", ALL])
def test_contradiction_is_refused(both: str) -> None:
    """What is added and dropped at once has no meaning."""
    with pytest.raises(InvalidSpecError, match="both"):
        Security(cap_add=(both,), cap_drop=(both,))


@pytest.mark.parametrize("name", ["", "ROOT", "CAP_", "CAP_ALL"])
def test_unknown_capability_is_refused(name: str) -> None:
    """A typing error must not weaken or strengthen anything silently."""
    with pytest.raises(InvalidSpecError, match="not a Linux capability"):
        Security(cap_drop=(name,))


def test_kernel_secrets_are_masked() -> None:
    """The union of what the known engines hide."""
    assert {"/proc/kcore", "/proc/keys", "/sys/firmware", "/proc/interrupts"} <= set(Security().masked_paths)
    assert {"/proc/sys", "/proc/sysrq-trigger"} <= set(Security().read_only_paths)


def test_docker_profile_has_fourteen_capabilities_and_lets_programs_gain_privileges() -> None:
    """What Docker gives a container."""
    security = Security.docker()

    assert len(security.capabilities) == 14
    assert security.capability_mask == 0xA80425FB
    assert not security.no_new_privileges
    assert security.seccomp is SeccompMode.DOCKER


def test_privileged_profile_confines_nothing_but_by_namespaces() -> None:
    """Every capability, no filter, nothing hidden."""
    security = Security.privileged()

    assert security.capability_mask == 2**41 - 1
    assert security.seccomp is SeccompMode.UNCONFINED
    assert (security.masked_paths, security.read_only_paths) == ((), ())
    assert security.is_privileged


def test_untrusted_profile_has_bounds_and_ids_of_its_own() -> None:
    """Nothing is left to the caller to remember."""
    security = Security.untrusted(memory="256m", pids=32)

    assert security.userns == "auto"
    assert security.sandbox is not None
    assert (security.sandbox.memory, security.sandbox.pids) == (256 << 20, 32)
    assert security.sandbox.time_limit == 60.0


def test_waiving_ids_of_its_own_gives_the_engines() -> None:
    """The one waiver that changes how it is launched."""
    assert Security.untrusted(waive=["userns"]).userns == "host"


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("cap_add", {"cap_drop": ()}),
        ("cap_add", {"cap_add": ("CHOWN",)}),
        ("no_new_privileges", {"no_new_privileges": False}),
        ("is_privileged", {"is_privileged": True}),
        ("seccomp", {"seccomp": "unconfined"}),
        ("seccomp", {"seccomp": "docker"}),
        ("masked_paths", {"masked_paths": ()}),
        ("read_only_paths", {"read_only_paths": ()}),
        ("userns", {"userns": "host"}),
    ],
)
def test_a_sandbox_cannot_be_weakened_afterwards(field: str, change: dict[str, Any]) -> None:
    """A profile that is called untrusted holds entirely; what is missing has to be waived by name."""
    with pytest.raises(InvalidSpecError, match=r"Security\.untrusted\(\)") as caught:
        attrs.evolve(Security.untrusted(), **change)

    assert field == caught.value.field


def test_a_sandbox_can_be_made_stricter() -> None:
    """More may be hidden, and a filter of one's own is as good as ours."""
    security = attrs.evolve(
        Security.untrusted(), masked_paths=(*DEFAULT_MASKED_PATHS, ContainerPath("/proc/cpuinfo")), seccomp="/x.json"
    )

    assert security.sandbox is not None


def test_an_unknown_waiver_is_refused() -> None:
    """A typing error must not look like consent."""
    with pytest.raises(InvalidSpecError, match="memory, pids, userns"):
        Security.untrusted(waive=["everything"])  # type: ignore[list-item]  # what is tested


@pytest.mark.parametrize("profile", ["profile.json", "", "Default"])
def test_a_profile_is_a_mode_or_an_absolute_path(profile: str) -> None:
    """A relative path depends on where the caller happens to be."""
    with pytest.raises(InvalidSpecError, match="seccomp"):
        Security(seccomp=profile)


def test_a_path_is_a_profile_that_is_not_read_yet() -> None:
    """Values do not touch files."""
    assert Security(seccomp="/etc/profile.json").seccomp == SeccompFile(path=HostPath("/etc/profile.json"))


@pytest.mark.parametrize("field", ["apparmor", "selinux"])
def test_an_empty_label_is_refused(field: str) -> None:
    """No label is None."""
    with pytest.raises(InvalidSpecError, match=field):
        Security(**{field: " "})  # type: ignore[arg-type]  # one of two fields
