"""A11, A12: capabilities that are inherited, or kept by a user other than root.

CVE-2018-10856, CVE-2022-24769, CVE-2022-27649, CVE-2022-27651, CVE-2022-27652, CVE-2022-29162.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest

import container_kit as ck
from tests.security.rigs import Rig, fields

# capabilities(7): CHOWN 0, DAC_OVERRIDE 1, FOWNER 3, FSETID 4, KILL 5, SETGID 6, SETUID 7, SETPCAP 8,
# NET_BIND_SERVICE 10, SYS_CHROOT 18, SETFCAP 31
DEFAULT_CAPABILITIES = 0x800405FB
CAP_NET_RAW = 1 << 13
NONE = f"{0:016x}"
VFS_CAP_REVISION_2, VFS_CAP_FLAGS_EFFECTIVE = 0x02000000, 1  # linux/capability.h


@pytest.mark.parametrize("way", ["run", "exec"])
def test_A11_capabilities_are_the_default_ones_and_none_is_inheritable(rig: Rig, way: str) -> None:
    """Root inside has eleven, in the effective, permitted and bounding sets; nothing is inheritable or ambient."""
    seen = fields(rig.output(way, "caps"))

    expected = f"{DEFAULT_CAPABILITIES:016x}"
    assert {"CapInh": NONE, "CapPrm": expected, "CapEff": expected, "CapBnd": expected, "CapAmb": NONE} == seen


@pytest.mark.parametrize("way", ["run", "exec"])
def test_A11_capabilities_that_were_added_are_not_inheritable_either(rig: Rig, way: str) -> None:
    """What was asked for is what there is; a caller that has inheritable ones does not pass them on."""
    more = fields(rig.output(way, "caps", security=ck.Security(cap_add=["NET_RAW"])))
    none = fields(rig.output(way, "caps", security=ck.Security(cap_drop=["ALL"])))

    assert f"{DEFAULT_CAPABILITIES | CAP_NET_RAW:016x}" == more["CapEff"]
    assert (NONE, NONE) == (more["CapInh"], more["CapAmb"])
    assert {NONE} == set(none.values())


@pytest.mark.needs_subids
@pytest.mark.parametrize("way", ["run", "exec"])
@pytest.mark.parametrize("user", ["app", "1000", "1000:1000", "54321"])
def test_A12_a_user_other_than_root_has_no_capability(rig: Rig, user: str, way: str) -> None:
    """Only the bounding set is left, which no_new_privileges keeps from being used."""
    if way == "run":
        seen = fields(rig.run("caps", user=user, security=ck.Security(cap_add=["NET_RAW"])).stdout)
    else:
        seen = fields(rig.start().exec(["payload", "caps"], user=user, text=True).stdout)

    assert {NONE} == {seen["CapPrm"], seen["CapEff"], seen["CapAmb"], seen["CapInh"]}


@pytest.mark.needs_root
@pytest.mark.parametrize("no_new_privileges", [True, False], ids=["no new privileges", "new privileges"])
def test_A11_inheritable_capabilities_of_a_file_give_nothing(
    rig: Rig, own_rootfs: Path, own_image: ck.Image, no_new_privileges: bool
) -> None:
    """A program with all of them as inheritable file capabilities is executed by a user who has none to inherit."""
    program = own_rootfs / "usr" / "bin" / "caps"  # the payload goes by its name
    program.write_bytes((own_rootfs / "bin" / "payload").read_bytes())
    program.chmod(0o755)
    give_inheritable(program)

    security = ck.Security(no_new_privileges=no_new_privileges)
    completed = rig.run("exec", "/usr/bin/caps", image=own_image, user="app", security=security)

    seen = fields(completed.stdout)
    assert {NONE} == {seen["CapPrm"], seen["CapEff"], seen["CapInh"], seen["CapAmb"]}


def give_inheritable(program: Path) -> None:
    """Set security.capability (vfs_cap_data): all inheritable, effective bit on, nothing permitted."""
    everything = 0xFFFFFFFF
    head = VFS_CAP_REVISION_2 | VFS_CAP_FLAGS_EFFECTIVE
    os.setxattr(program, "security.capability", struct.pack("<5I", head, 0, everything, 0, everything))
