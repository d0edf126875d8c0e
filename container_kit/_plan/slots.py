"""Slots: numbered places for mounts that are not attached anywhere yet.

The discipline: a slot is filled once, before anything uses it; `Attach` empties it;
slot 0 is the root. `check_slots` is called for every plan that is made, so an
undisciplined one cannot exist.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import attrgetter
from typing import Final

import attrs

from container_kit._plan.ops import (
    Attach,
    AttachHow,
    AttachStep,
    EnterUserNamespace,
    GatherStep,
    MakeUserNamespace,
    Mask,
    NewFilesystem,
    NewMappedOverlay,
    NewOverlay,
    OpenSubtree,
    OpenTree,
    SetMountAttr,
    SlotDir,
    SlotFile,
    SlotNode,
    SlotSymlink,
    SlotTarget,
    Step,
    WriteProc,
)
from container_kit._spec.paths import ContainerPath
from container_kit.errors import InvalidMountError

ROOT_SLOT: Final = 0
MAX_SLOTS: Final = 128
USER_NAMESPACE_SLOT: Final = MAX_SLOTS - 1  # of a container with ids of its own

# Plans are checked at every launch: asking a step's type is much faster than isinstance.
_FILLS: Final[Mapping[type[Step], bool]] = {
    **dict.fromkeys((NewFilesystem, NewOverlay, OpenTree, OpenSubtree, MakeUserNamespace, NewMappedOverlay), True),
    **dict.fromkeys((SetMountAttr, SlotDir, SlotFile, SlotNode, SlotSymlink, WriteProc), False),
    **dict.fromkeys((EnterUserNamespace, SlotTarget), False),
}
_slot_of = attrgetter("slot")


@attrs.define
class Gathering:
    """The gather phase while it is being compiled: its steps, and which slot belongs where."""

    steps: list[GatherStep] = attrs.field(factory=list[GatherStep])
    places: dict[ContainerPath, tuple[int, AttachHow]] = attrs.field(factory=dict[ContainerPath, tuple[int, AttachHow]])
    slots: int = 0

    def slot(self) -> int:
        """Return the next free slot."""
        self.slots += 1
        if self.slots > USER_NAMESPACE_SLOT:
            raise InvalidMountError(field="mounts", reason=f"a container can have about {MAX_SLOTS - 20}")
        return self.slots - 1

    def add(self, *steps: GatherStep) -> None:
        """Append steps."""
        self.steps += steps

    def place(self, slot: int, target: ContainerPath, how: AttachHow = AttachHow.MAKE_DIR) -> None:
        """Say where a slot's mount will be attached."""
        self.places[target] = (slot, how)


def check_slots(gather: Sequence[GatherStep], attach: Sequence[AttachStep] = ()) -> None:
    """Raise unless every slot is filled once, before it is used, and attached at most once.

    Raises:
        ValueError: names the slot and the step.
    """
    filled: set[int] = set()
    for step in gather:
        fills = _FILLS.get(type(step))
        if fills is None:
            continue
        slot = _slot_of(step)
        if (slot in filled) is fills:
            raise _undisciplined(step, "fills a slot twice" if fills else "uses a slot before it is filled")
        if fills:
            if type(step) is OpenSubtree and step.of not in filled:
                raise _undisciplined(step, "uses a slot before it is filled")
            filled.add(slot)
    filled.discard(ROOT_SLOT)
    _check_attached(attach, filled)


def _check_attached(attach: Sequence[AttachStep], there: set[int]) -> None:
    for step in attach:
        if type(step) is Mask:
            if step.null not in there or step.empty not in there:
                raise _undisciplined(step, "shows a slot that is not there")
        elif type(step) is Attach:
            if step.slot not in there:
                raise _undisciplined(step, "attaches a slot that is not there")
            there.remove(step.slot)


def _undisciplined(step: object, what: str) -> ValueError:
    return ValueError(f"a step {what}: {step}")
