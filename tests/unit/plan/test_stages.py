"""Containers with ids of their own: which ids, and which steps are taken by whom."""

from __future__ import annotations

import pytest

from container_kit._plan.ops import (
    EnterUserNamespace,
    MakeUserNamespace,
    NewMappedOverlay,
    NewOverlay,
    OpenTree,
    RaiseLimit,
    SlotTarget,
)
from container_kit._plan.stages import facts_inside, with_ids
from container_kit._spec.container_config import ContainerConfig
from container_kit._spec.identity import Identity
from container_kit._spec.paths import ContainerPath
from container_kit.errors import InvalidUserError
from tests.unit.plan.cases import HOST_LAYERS, MOUNTS, NOBODY, OWN_IDS, ROOT, ROOTLESS, launch

CONFIG = ContainerConfig(security=OWN_IDS, mounts=MOUNTS)


def namespace_of(plan_ids: int, *, rootless: bool = False, identity: Identity | None = None) -> MakeUserNamespace:
    """Return the step with the maps of a plan that got ids from here on."""
    plan = launch(CONFIG, facts=ROOTLESS if rootless else ROOT, identity=identity)
    step = with_ids(plan, plan_ids).gather[1]
    assert isinstance(step, MakeUserNamespace)
    return step


def test_root_gives_all_ids_that_16_bits_have() -> None:
    """One range, from the first id on."""
    step = namespace_of(524288)

    assert (b"0 524288 65536\n", b"0 524288 65536\n") == (step.uid_map, step.gid_map)


def test_a_user_gives_the_low_ids_and_those_of_the_containers_user() -> None:
    """What images know, and each id beyond that the process has."""
    step = namespace_of(2049, rootless=True, identity=NOBODY)
    of_root = namespace_of(2049, rootless=True)

    assert b"0 2049 1000\n65534 3049 1\n" == step.uid_map
    assert b"0 2049 1000\n65534 3049 1\n" == step.gid_map
    assert b"0 2049 1000\n" == of_root.uid_map


def test_ids_without_an_owner_are_those_of_the_engine() -> None:
    """A container that asks for none has the engine's facts."""
    assert facts_inside(ROOT, ContainerConfig().security, NOBODY) is ROOT


def test_a_user_beyond_the_range_is_refused() -> None:
    """Before anything is started."""
    with pytest.raises(InvalidUserError):
        launch(CONFIG, identity=Identity(uid=65536, gid=0, groups=()))


@pytest.mark.parametrize("rootless", [False, True])
def test_what_names_the_host_comes_before_the_namespace_is_entered(rootless: bool) -> None:
    """Nothing after it names a path of the host, and nothing before it makes a file system of the container's."""
    plan = launch(CONFIG, root=HOST_LAYERS, facts=ROOTLESS if rootless else ROOT)
    at = next(index for index, step in enumerate(plan.gather) if isinstance(step, EnterUserNamespace))

    assert not any(isinstance(step, NewOverlay | NewMappedOverlay | OpenTree) for step in plan.gather[at:])
    assert not any(type(step).__name__ == "NewFilesystem" for step in plan.gather[:at])
    assert rootless is not any(isinstance(step, NewMappedOverlay) for step in plan.gather)


def test_only_an_image_is_id_mapped() -> None:
    """Directories of the host keep their ids, and belong to nobody inside."""
    plan = launch(CONFIG, root=HOST_LAYERS)

    mapped = [step.map_lowers for step in plan.gather if isinstance(step, NewMappedOverlay)]

    assert [True, False, False] == mapped


def test_a_users_mount_points_are_made_before_its_rights_are_gone() -> None:
    """In the root; those inside other mounts are the container's own."""
    config = ContainerConfig(security=OWN_IDS, mounts=MOUNTS, working_dir=ContainerPath("/data/below"))
    plan = launch(config, facts=ROOTLESS)

    made = {step.path for step in plan.gather if isinstance(step, SlotTarget)}

    assert {"/data", "/shared", "/tmp", "/etc/hosts", "/proc"} <= made
    assert not {"/data/settings", "/data/below", "/dev/shm", "/"} & made


def test_the_ids_do_not_cost_another_compilation() -> None:
    """All but one step is shared by the launches of a configuration."""
    first, second = (with_ids(launch(CONFIG), ids) for ids in (524288, 589824))

    different = [one for one, other in zip(first.gather, second.gather, strict=True) if one is not other]

    assert ["MakeUserNamespace"] == [type(step).__name__ for step in different if not _is_named(step)]
    assert not any(isinstance(step, RaiseLimit) for step in first.gather)


def _is_named(step: object) -> bool:
    return type(step).__name__ == "SlotFile"  # holds the host name
