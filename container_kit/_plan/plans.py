"""The plans themselves: frozen lists of steps by phase, printable, and disciplined by construction."""

from __future__ import annotations

import attrs

from container_kit._plan import describe
from container_kit._plan.ops import (
    AnyStep,
    AttachStep,
    ConfineStep,
    Exec,
    ForkInit,
    GatherStep,
    Namespace,
    Pivot,
    ProcessFile,
    Step,
    Terminal,
)
from container_kit._plan.slots import ROOT_SLOT, check_slots
from container_kit._spec.facts import IdMap


class _WithProcess:
    """What is asked of a plan that ends in a process."""

    __slots__ = ()
    gather: tuple[GatherStep, ...]
    confine: tuple[ConfineStep, ...]

    @property
    def own_memory(self) -> bool:
        """Whether the process must not share the monitor's memory: it stays behind, or writes files of /proc."""
        return _has(self.confine, ForkInit) or _has(self.gather, ProcessFile)

    @property
    def terminal(self) -> bool:
        """Whether standard input and output are a terminal."""
        return _has(self.confine, Terminal)


@attrs.frozen(kw_only=True)
class LaunchPlan(_WithProcess):
    """How a container's first process comes to be.

    `dirs` are made below the container's directory beforehand. `ids` are a container's own, where it has such, counted
    from the first that it will get; `namespaces` are those of the first stage then (see `stages`).
    """

    namespaces: Namespace
    gather: tuple[GatherStep, ...]
    attach: tuple[AttachStep, ...] = ()
    confine: tuple[ConfineStep, ...] = ()
    exec: Exec | None = None
    dirs: tuple[str, ...] = ()
    ids: IdMap | None = None

    def __attrs_post_init__(self) -> None:
        check_slots(self.gather, self.attach)

    @property
    def steps(self) -> tuple[AnyStep, ...]:
        """All steps in order; the change of root is one of them."""
        last = () if self.exec is None else (self.exec,)
        return (*self.gather, Pivot(slot=ROOT_SLOT), *self.attach, *self.confine, *last)

    def __str__(self) -> str:
        return describe.describe_plan(self.steps)


@attrs.frozen(kw_only=True)
class ExecPlan(_WithProcess):
    """How a further process comes to be in a running container."""

    gather: tuple[GatherStep, ...]
    confine: tuple[ConfineStep, ...]
    exec: Exec

    def __attrs_post_init__(self) -> None:
        check_slots(self.gather)

    @property
    def steps(self) -> tuple[AnyStep, ...]:
        """All steps in order."""
        return (*self.gather, *self.confine, self.exec)

    def __str__(self) -> str:
        return describe.describe_plan(self.steps)


@attrs.frozen(kw_only=True)
class ProbePlan:
    """Gather steps only: they are run to see whether the host can, and leave nothing behind."""

    namespaces: Namespace
    gather: tuple[GatherStep, ...]

    def __attrs_post_init__(self) -> None:
        check_slots(self.gather)

    @property
    def steps(self) -> tuple[AnyStep, ...]:
        """All steps in order."""
        return self.gather

    def __str__(self) -> str:
        return describe.describe_plan(self.steps)


def _has(steps: tuple[GatherStep, ...] | tuple[ConfineStep, ...], kind: type[Step]) -> bool:
    return any(isinstance(step, kind) for step in steps)
