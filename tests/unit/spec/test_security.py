"""Capabilities and the other limits on a container's processes."""

from __future__ import annotations

import pytest

from container_kit._spec.security import ALL, CAPABILITIES, DEFAULT_CAPABILITIES, SeccompMode, Security
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
