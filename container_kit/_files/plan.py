"""Plans that end with a tree of files as the root directory, for a worker to act on. Values only."""

from __future__ import annotations

import attrs

from container_kit._plan import describe
from container_kit._plan.ops import AnyStep, AttachStep, GatherStep, Namespace, Pivot
from container_kit._plan.slots import ROOT_SLOT, check_slots


@attrs.frozen(kw_only=True)
class FilesPlan:
    """The steps by phase, as in a `LaunchPlan`. Without the pivot the root is slot 0, if it was filled."""

    namespaces: Namespace
    gather: tuple[GatherStep, ...]
    pivot: bool
    attach: tuple[AttachStep, ...] = ()

    def __attrs_post_init__(self) -> None:
        check_slots(self.gather, self.attach)

    @property
    def steps(self) -> tuple[AnyStep, ...]:
        """All steps in order."""
        change = (Pivot(slot=ROOT_SLOT),) if self.pivot else ()
        return (*self.gather, *change, *self.attach)

    def __str__(self) -> str:
        return describe.describe_plan(self.steps)
