"""The order in which a process gives up its powers, and what it keeps."""

from __future__ import annotations

import struct

import attrs
import pytest

from container_kit._plan.ops import (
    BoundingSet,
    Capabilities,
    Chdir,
    ForkInit,
    Gid,
    Groups,
    NoNewPrivs,
    NullStdio,
    ParentDeathSignal,
    Rlimit,
    Seccomp,
    SessionKeyring,
    Step,
    Terminal,
    Uid,
)
from container_kit._spec.container_config import ContainerConfig
from container_kit._spec.identity import Identity
from container_kit._spec.security import SeccompMode, Security
from container_kit._spec.ulimits import UNLIMITED, Ulimit
from container_kit.errors import InvalidUserError, UnsupportedHostError
from tests.unit.plan.cases import NOBODY, ROOT, ROOTLESS, SINGLE_ID, execute, launch

EVERYTHING = ContainerConfig(init=True, tty=True, ulimits=(Ulimit("nofile", 100, 200),))


def order(config: ContainerConfig, *kinds: type[Step]) -> list[type[Step]]:
    """Return which of these kinds occur, in order."""
    return [type(step) for step in launch(config, identity=NOBODY).confine if type(step) in kinds]


def test_powers_are_given_up_after_the_last_step_that_needs_them() -> None:
    """Limits and bounding set, then groups, gid, uid, then capabilities."""
    kinds: list[type[Step]] = [Rlimit, BoundingSet, Groups, Gid, Uid, Capabilities]

    assert order(EVERYTHING, *kinds) == kinds


def test_filter_comes_as_late_as_possible() -> None:
    """Under no_new_privs nothing privileged is needed for it; only our own init and terminal come after."""
    kinds: list[type[Step]] = [Capabilities, NoNewPrivs, Seccomp, ForkInit, Terminal]

    assert order(EVERYTHING, *kinds) == kinds


def test_filter_comes_before_the_identity_when_privileges_may_be_gained() -> None:
    """Without no_new_privs a filter takes CAP_SYS_ADMIN, which is gone with the capabilities."""
    config = attrs.evolve(EVERYTHING, security=Security(no_new_privileges=False))

    assert order(config, Seccomp, Groups, Gid, Uid, Capabilities, NoNewPrivs) == [
        Seccomp, Groups, Gid, Uid, Capabilities,
    ]  # fmt: skip


@pytest.mark.parametrize("no_new_privileges", [True, False])
def test_stdio_is_the_containers_own_before_any_filter(no_new_privileges: bool) -> None:
    """A profile that refuses the calls it takes must not leave the host's null device there; a terminal does it."""
    config = attrs.evolve(EVERYTHING, tty=False, security=Security(no_new_privileges=no_new_privileges))

    assert order(config, NullStdio, Seccomp) == [NullStdio, Seccomp]
    assert order(EVERYTHING, NullStdio, Terminal) == [Terminal]


def test_directory_is_entered_with_the_users_own_rights() -> None:
    """A directory that only root may enter is not one that the container's user starts in."""
    assert order(EVERYTHING, Uid, Capabilities, Chdir) == [Uid, Capabilities, Chdir]


def test_death_signal_is_asked_for_again_after_the_uid_changed() -> None:
    """A change of credentials clears it (PR_SET_PDEATHSIG)."""
    steps = launch(identity=NOBODY).steps

    names = [type(step).__name__ for step in steps if isinstance(step, ParentDeathSignal | Uid)]

    assert names == ["ParentDeathSignal", "Uid", "ParentDeathSignal"]


def test_root_keeps_the_configured_capabilities_and_others_none() -> None:
    """The bounding set is the same for both; nothing is inheritable or ambient (CVE-2022-29162)."""
    security = Security(cap_drop=("ALL",), cap_add=("KILL", "NET_ADMIN"))
    config, mask = ContainerConfig(security=security), 1 << 5 | 1 << 12

    as_root, as_nobody = launch(config).confine, launch(config, identity=NOBODY).confine

    assert BoundingSet(capabilities=mask) in as_root
    assert BoundingSet(capabilities=mask) in as_nobody
    assert Capabilities(effective=mask, ambient=0) in as_root
    assert Capabilities(effective=0, ambient=0) in as_nobody


def test_groups_are_set_wherever_that_is_possible() -> None:
    """In a single-id user namespace setgroups(2) is denied, and the caller's groups stay as they are."""
    identity = Identity(uid=0, gid=0, groups=(0, 7))

    assert Groups(gids=struct.pack("=2I", 0, 7)) in launch(identity=identity).confine
    assert not any(isinstance(step, Groups) for step in launch(identity=identity, facts=SINGLE_ID).confine)


@pytest.mark.parametrize(
    "identity",
    [
        Identity(uid=1, gid=0, groups=(0,)),
        Identity(uid=0, gid=1, groups=(1,)),
        Identity(uid=2**32 - 2, gid=0, groups=(0,)),
    ],
)
def test_id_that_the_user_namespace_lacks_is_refused_before_anything_is_started(identity: Identity) -> None:
    """The error names the id and says how to get more."""
    with pytest.raises(InvalidUserError, match=r"uid|gid") as caught:
        launch(identity=identity, facts=SINGLE_ID)

    assert "subordinate" in str(caught.value.hint)


def test_supplementary_group_must_exist_where_groups_are_set() -> None:
    """setgroups(2) would fail with EINVAL, which says nothing."""
    with pytest.raises(InvalidUserError, match="gid 70000"):
        launch(identity=Identity(groups=(0, 70000)), facts=ROOTLESS)


def test_limits_are_those_of_the_config_for_exec_as_well() -> None:
    """All others stay the caller's."""
    config = ContainerConfig(ulimits=(Ulimit("nofile", 100, 200), Ulimit("core", 0, -1)))
    expected = [Rlimit(resource=7, soft=100, hard=200), Rlimit(resource=4, soft=0, hard=UNLIMITED)]

    for confine in (launch(config).confine, execute(config=config).confine):
        assert expected == [step for step in confine if isinstance(step, Rlimit)]


def test_unconfined_has_no_filter() -> None:
    """And only that: no_new_privs and capabilities stay."""
    config = ContainerConfig(security=Security(seccomp=SeccompMode.UNCONFINED))

    assert order(config, Seccomp, NoNewPrivs, Capabilities) == [Capabilities, NoNewPrivs]


def test_machine_without_a_filter_is_refused_not_left_open() -> None:
    """Never a silent downgrade; the hint says how to go without."""
    facts = attrs.evolve(ROOT, machine="riscv64")

    with pytest.raises(UnsupportedHostError, match="riscv64"):
        launch(facts=facts)
    launch(ContainerConfig(security=Security(seccomp=SeccompMode.UNCONFINED)), facts=facts)


@pytest.mark.parametrize(
    ("seccomp", "steps"),
    [
        (SeccompMode.DEFAULT, []),
        (SeccompMode.DOCKER, []),
        (SeccompMode.UNCONFINED, [SessionKeyring, Gid]),
    ],
)
def test_keys_are_left_behind_where_the_filter_may_let_them_be_used(
    seccomp: SeccompMode, steps: list[type[Step]]
) -> None:
    """Our own filters refuse keyctl(2); otherwise the caller's session keyring must be out of reach."""
    config = ContainerConfig(security=Security(seccomp=seccomp))

    assert (steps or [Gid]) == order(config, SessionKeyring, Gid)
    assert bool(steps) == any(isinstance(step, SessionKeyring) for step in execute(config=config).confine)


def test_every_capability_means_those_that_the_caller_has_to_give() -> None:
    """Inside another container root may lack some; one that is named is asked for all the same, and the start fails."""
    facts = attrs.evolve(ROOT, capabilities=0b1011)

    def effective(security: Security, *, rootless: bool = False) -> int:
        plan = launch(ContainerConfig(security=security), facts=attrs.evolve(facts, rootless=rootless))
        return next(step.effective for step in plan.confine if isinstance(step, Capabilities))

    assert 0b1011 == effective(Security(cap_add=("ALL",)))
    assert 0b0011 == effective(Security(cap_add=("ALL",), cap_drop=("FOWNER",)))
    assert 1 << 14 == effective(Security(cap_add=("IPC_LOCK",), cap_drop=("ALL",)))
    assert 2**41 - 1 == effective(Security(cap_add=("ALL",)), rootless=True)
