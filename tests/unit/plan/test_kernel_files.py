"""What a container is shown of the kernel's files: hidden counters, and who may write to /sys."""

from __future__ import annotations

import attrs
import pytest

from container_kit._plan.flags import MountAttr
from container_kit._plan.launch import LaunchPlan
from container_kit._plan.ops import Mask, NewFilesystem
from container_kit._spec.container_config import ContainerConfig
from container_kit._spec.facts import HostFacts
from container_kit._spec.paths import ContainerPath
from container_kit._spec.security import THERMAL_THROTTLE, Security
from tests.unit.plan.cases import ROOT, ROOTLESS, launch


def hidden_in(plan: LaunchPlan) -> list[str]:
    """Return the paths that a plan hides."""
    return [step.path for step in plan.attach if isinstance(step, Mask)]


def test_the_throttle_counters_of_every_cpu_are_hidden_where_the_host_has_them() -> None:
    """One directory a CPU, in the place of the pattern; who hides other paths hides none of them."""
    throttles = tuple(ContainerPath(f"/sys/devices/system/cpu/cpu{n}/thermal_throttle") for n in (0, 1))
    facts = attrs.evolve(ROOT, thermal_throttle=throttles)
    own = Security(masked_paths=(ContainerPath("/a"),))

    hidden = hidden_in(launch(facts=facts))
    without = hidden_in(launch())

    assert list(throttles) == [path for path in hidden if path not in without]
    assert THERMAL_THROTTLE not in (*hidden, *without)
    assert ["/a"] == hidden_in(launch(ContainerConfig(security=own), facts=facts))


@pytest.mark.parametrize("facts", [ROOT, ROOTLESS], ids=["root", "rootless"])
def test_only_a_privileged_container_may_write_to_sys(facts: HostFacts) -> None:
    """Every capability alone does not do it: /sys and the cgroups stay read-only."""
    security = {"all": Security(cap_add=("ALL",)), "privileged": Security.privileged()}

    read_only = {
        name: [
            bool(step.attributes & MountAttr.READ_ONLY)
            for step in launch(ContainerConfig(security=one), facts=facts).gather
            if isinstance(step, NewFilesystem) and step.fstype in ("sysfs", "cgroup2")
        ]
        for name, one in security.items()
    }

    assert {"all": [True, True], "privileged": [False, False]} == read_only
