"""A27: a profile that was asked for is silently not applied (CVE-2025-64750, CVE-2025-65105)."""

from __future__ import annotations

from pathlib import Path

import pytest

import container_kit as ck
from container_kit import errors
from tests.security.rigs import Rig, fields, status_of


@pytest.mark.parametrize("way", ["run", "exec"])
def test_A27_no_new_privileges_and_one_filter_are_in_force(rig: Rig, way: str) -> None:
    """For the command and for further processes alike, as they see it and as the host does."""
    own = int(status_of(rig_pid()).get("Seccomp_filters", "0"))

    inside = fields(rig.output(way, "status", "NoNewPrivs", "Seccomp", "Seccomp_filters"))
    box = rig.start()
    assert box.pid is not None
    outside = status_of(box.pid)

    expected = {"NoNewPrivs": "1", "Seccomp": "2", "Seccomp_filters": str(own + 1)}
    assert expected == inside
    assert expected == {name: outside[name] for name in expected}


def rig_pid() -> int:
    """Return this process: a test may be confined itself."""
    return int(Path("/proc/self").readlink().name)


def test_A27_what_is_on_by_default_can_be_switched_off_and_is_off_then(rig: Rig) -> None:
    """Then the container is as the caller is."""
    own = status_of(rig_pid())
    security = ck.Security(seccomp=ck.SeccompMode.UNCONFINED, no_new_privileges=False)

    seen = fields(rig.run("status", "NoNewPrivs", "Seccomp", security=security).stdout)

    assert {"NoNewPrivs": own["NoNewPrivs"], "Seccomp": own["Seccomp"]} == seen


@pytest.mark.parametrize(
    "security",
    [ck.Security(apparmor="container-kit-no-such-profile"), ck.Security(selinux="no_u:no_r:no_such_t:s0")],
    ids=["AppArmor", "SELinux"],
)
def test_A27_a_label_that_the_host_does_not_have_fails_the_start(rig: Rig, security: ck.Security) -> None:
    """Nothing runs without what was asked for, and nothing is left of it."""
    with pytest.raises((errors.UnsupportedHostError, errors.LaunchError)):
        rig.run("true", security=security)

    assert [] == ck.Container.list(all=True, engine=rig.engine)


def test_A27_a_filter_file_that_is_not_there_fails_the_start(rig: Rig, tmp_path: Path) -> None:
    """It is not taken for an empty one."""
    with pytest.raises(errors.ContainerKitError):
        rig.run("true", security=ck.Security(seccomp=tmp_path / "missing.json"))
