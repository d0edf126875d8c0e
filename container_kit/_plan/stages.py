"""A container with ids of its own: its launch in two stages, and the ids it has.

Theory of operation: what names host paths needs the engine's ids, and what belongs to the container
has to be made by its own. So the plan of a launch is taken apart at its gather phase:

1. with the engine's ids: the user namespace, overlays, binds, files of the host;
2. `EnterUserNamespace`; a child goes on in new namespaces that the user namespace owns;
3. with the container's ids: /proc, /sys, /dev, tmpfs; and from the pivot on everything.

For root the layers are shown with the container's ids (id-mapped mounts), so that what is on disk is
the same with and without a user namespace. A user cannot have that: image files belong to nobody inside, and
mount points are made in the first stage. Source: user_namespaces(7), mount_setattr(2).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

import attrs

from container_kit._plan.flags import AttachHow, Namespace
from container_kit._plan.gather import SIGKILL
from container_kit._plan.ops import (
    EnterUserNamespace,
    GatherStep,
    MakeUserNamespace,
    NewMappedOverlay,
    NewOverlay,
    OpenSubtree,
    OpenTree,
    ParentDeathSignal,
    ProcessFile,
    RaiseLimit,
    SlotTarget,
)
from container_kit._plan.plans import LaunchPlan
from container_kit._plan.slots import ROOT_SLOT, USER_NAMESPACE_SLOT
from container_kit._spec.facts import HostFacts, IdMap, IdRange
from container_kit._spec.identity import Identity
from container_kit._spec.paths import ContainerPath
from container_kit._spec.security import Security
from container_kit._spec.ulimits import Ulimit

IDS_FOR_ROOT: Final = 65536
IDS_FOR_A_USER: Final = 1024
_LATE_IDS: Final = 24  # of these: for ids of the container's user that are larger

_Places = Mapping[ContainerPath, tuple[int, AttachHow]]


def facts_inside(facts: HostFacts, security: Security, identity: Identity) -> HostFacts:
    """Return the facts as a container meets them: with its own ids, if it has such.

    What its ids are outside is not known yet: they are counted from 0 there.
    """
    if not security.has_own_ids:
        return facts
    if facts.rootless:
        id_map = IdMap(uids=_few_ids({identity.uid}), gids=_few_ids({identity.gid, *identity.groups}))
    else:
        everything = (IdRange(0, 0, IDS_FOR_ROOT),)
        id_map = IdMap(uids=everything, gids=everything)
    return attrs.evolve(facts, id_map=id_map)


def in_two_stages(
    gather: Iterable[GatherStep],
    *,
    namespaces: Namespace,
    places: _Places,
    working_dir: ContainerPath,
    ulimits: Iterable[Ulimit],
    rootless: bool,
) -> tuple[GatherStep, ...]:
    """Return a gather phase in the order that ids of its own take.

    Args:
        gather: the phase as it is with the engine's ids.
        namespaces: of the container.
        places: what will be attached where.
        working_dir: made if missing.
        ulimits: limits that will be set; to raise one takes the engine's ids.
        rootless: whether those are a user's.
    """
    outside: list[GatherStep] = []
    inside: list[GatherStep] = []
    of_host: set[int] = set()
    for step in gather:
        if isinstance(step, ParentDeathSignal):
            continue  # asked for at the beginning of each stage
        if _is_of_host(step, of_host):
            outside.append(step if rootless else _mapped(step))
        else:
            inside.append(step)
    if rootless:
        outside += _targets(places, working_dir)
    else:
        outside += (RaiseLimit(resource=limit.resource, hard=limit.hard) for limit in ulimits)
    return (
        ParentDeathSignal(signal=SIGKILL),
        MakeUserNamespace(slot=USER_NAMESPACE_SLOT),
        *outside,
        EnterUserNamespace(slot=USER_NAMESPACE_SLOT, namespaces=namespaces),
        ParentDeathSignal(signal=SIGKILL),
        *inside,
    )


def with_ids(plan: LaunchPlan, first_id: int) -> LaunchPlan:
    """Return a plan with the ids its container got: `first_id` and those that follow."""
    assert plan.ids is not None
    uid_map, gid_map = (_map_text(ranges, first_id) for ranges in (plan.ids.uids, plan.ids.gids))
    gather = tuple(
        attrs.evolve(step, uid_map=uid_map, gid_map=gid_map) if type(step) is MakeUserNamespace else step
        for step in plan.gather
    )
    return attrs.evolve(plan, gather=gather)


def _few_ids(wanted: set[int]) -> tuple[IdRange, ...]:
    """Return a map of the low ids and of those that are wanted beyond; no more of these than a map may have lines."""
    last = IDS_FOR_A_USER - _LATE_IDS
    beyond = sorted(number for number in wanted if number >= last)[:_LATE_IDS]
    return IdRange(0, 0, last), *(IdRange(number, last + at, 1) for at, number in enumerate(beyond))


def _map_text(ranges: Iterable[IdRange], first_id: int) -> bytes:
    return "".join(f"{r.inside} {first_id + r.outside} {r.size}\n" for r in ranges).encode("ascii")


def _is_of_host(step: GatherStep, of_host: set[int]) -> bool:
    """Say whether a step names the host's files, or is about a slot with such; which is noted."""
    if isinstance(step, NewOverlay | OpenTree) or (isinstance(step, OpenSubtree) and step.of in of_host):
        of_host.add(step.slot)
    return isinstance(step, ProcessFile) or getattr(step, "slot", None) in of_host


def _mapped(step: GatherStep) -> GatherStep:
    if not isinstance(step, NewOverlay):
        return step
    return NewMappedOverlay(
        slot=step.slot,
        lowers=step.lowers,
        upper=step.upper,
        work=step.work,
        form=step.form,
        options=step.options,
        namespace=USER_NAMESPACE_SLOT,
        map_lowers=step.slot == ROOT_SLOT,  # all others show directories of the host
    )


def _targets(places: _Places, working_dir: ContainerPath) -> list[GatherStep]:
    """Return what makes the mount points that lie in the root itself and not in something attached to it."""
    wanted = {target: bool(how & AttachHow.MAKE_DIR) for target, (_, how) in places.items() if how & _MAKING}
    wanted.setdefault(working_dir, True)
    return [
        SlotTarget(slot=ROOT_SLOT, path=target, directory=directory)
        for target, directory in sorted(wanted.items())
        if target != "/" and not any(target.startswith(f"{place}/") for place in places)
    ]


_MAKING: Final = AttachHow.MAKE_DIR | AttachHow.MAKE_FILE
