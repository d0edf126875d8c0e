"""Story: AppArmor's profiles hold for every process of a container that was asked to have one, or it does not run.

What a host without AppArmor answers is in test_profiles.py.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import container_kit as ck
from container_kit import Security, errors
from container_kit._plan.plans import ExecPlan
from container_kit._runtime.security_labels import check_started
from container_kit._spec.container_config import ContainerConfig
from tests.e2e.apparmor import COMPLAIN, ENFORCE, compile_policy
from tests.unit.plan.cases import execute

pytestmark = [pytest.mark.guest_full, pytest.mark.needs_root, pytest.mark.needs_apparmor]

LABEL = ["payload", "read", "/proc/self/attr/apparmor/current"]
PROFILES = {"ck-observed": COMPLAIN, "ck-closed": ENFORCE}


@pytest.fixture(autouse=True)
def profiles(tmp_path: Path) -> Iterator[None]:
    """Have the profiles loaded."""
    security = tmp_path / "security"
    security.mkdir()
    subprocess.run(["mount", "-t", "securityfs", "none", str(security)], check=True)
    for name, mode in PROFILES.items():
        (security / "apparmor" / ".load").write_bytes(compile_policy(name, mode))

    yield

    for name in PROFILES:
        (security / "apparmor" / ".remove").write_bytes(name.encode())
    subprocess.run(["umount", str(security)], check=True)


def test_every_process_has_the_profile(engine: ck.Engine, image: ck.Image) -> None:
    """The first one, that below an init, one with ids of its own, and what comes later by exec."""
    security = Security(apparmor="ck-observed")
    own_ids = Security(apparmor="ck-observed", userns="auto")
    box = ck.start(image, ["payload", "sleep", "1000"], security=security, engine=engine)

    labels = [
        ck.run(image, LABEL, security=security, engine=engine, text=True).stdout,
        ck.run(image, LABEL, init=True, security=security, engine=engine, text=True).stdout,
        ck.run(image, LABEL, security=own_ids, engine=engine, text=True).stdout,
        box.exec(LABEL, text=True).stdout,
        Path(f"/proc/{box.pid}/attr/apparmor/current").read_text(),
    ]

    assert ["ck-observed (complain)\n"] * 5 == labels


def test_the_profile_is_enforced(engine: ck.Engine, image: ck.Image) -> None:
    """One that allows nothing leaves a process no file to open."""
    opened = ["payload", "open", "r", "/etc/os-release"]

    free = ck.run(image, opened, engine=engine, text=True)
    bound = ck.run(image, opened, security=Security(apparmor="ck-closed"), engine=engine, text=True)

    assert ("ok\n", "EACCES\n") == (free.stdout, bound.stdout)


def test_a_profile_that_is_not_loaded_is_refused(engine: ck.Engine, image: ck.Image) -> None:
    """Before the command runs, and nothing is left."""
    with pytest.raises(errors.UnsupportedHostError) as caught:
        ck.run(image, LABEL, security=Security(apparmor="ck-nowhere"), engine=engine)

    assert "'ck-nowhere'" in caught.value.feature


def test_a_process_without_its_label_is_noticed() -> None:
    """The label is read back after the start; one that is another one is an error."""
    plan: ExecPlan = execute(config=ContainerConfig(security=Security(apparmor="ck-observed")))

    with pytest.raises(errors.LaunchError) as caught:
        check_started(plan, os.getpid())

    assert "'unconfined'" in caught.value.op
