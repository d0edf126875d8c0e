"""The steps of a launch in two stages: a user namespace for one container, and the process that goes on in it.

As in `ops`: each class is one op of `_native/ckit.h`. Source: user_namespaces(7), mount_setattr(2).
"""

from __future__ import annotations

import attrs

from container_kit._plan.flags import Namespace
from container_kit._plan.step import Step
from container_kit._plan.wire import BYTES, PATH, SLOT, STRINGS, U32, U64, on_wire
from container_kit._spec.facts import OverlayForm
from container_kit._spec.paths import HostPath


@attrs.frozen(kw_only=True, eq=False, repr=False)
class MakeUserNamespace(Step):
    """Make a user namespace with these maps and hold it in a slot; empty maps are filled in by who claims the ids."""

    CODE = 16
    slot: int = attrs.field(metadata=on_wire(SLOT))
    uid_map: bytes = attrs.field(default=b"", metadata=on_wire(BYTES))
    gid_map: bytes = attrs.field(default=b"", metadata=on_wire(BYTES))


@attrs.frozen(kw_only=True, eq=False, repr=False)
class RaiseLimit(Step):
    """Raise a hard resource limit to at least this (prlimit(2)); what is inside may only lower it."""

    CODE = 17
    resource: int = attrs.field(metadata=on_wire(U32))
    hard: int = attrs.field(metadata=on_wire(U64))


@attrs.frozen(kw_only=True, eq=False, repr=False)
class NewMappedOverlay(Step):
    """Make an overlay whose layers have the ids of a user namespace: what id 0 inside writes is id 0's on disk.

    With `map_lowers` false only `upper` and `work` do: what lies below belongs to nobody inside.
    """

    CODE = 18
    slot: int = attrs.field(metadata=on_wire(SLOT))
    lowers: tuple[HostPath, ...] = attrs.field(metadata=on_wire(STRINGS))
    upper: str = attrs.field(metadata=on_wire(PATH))
    work: str = attrs.field(metadata=on_wire(PATH))
    form: OverlayForm = attrs.field(metadata=on_wire(U32))
    options: tuple[str, ...] = attrs.field(default=(), metadata=on_wire(STRINGS))
    namespace: int = attrs.field(metadata=on_wire(SLOT))
    map_lowers: bool = attrs.field(default=True, metadata=on_wire(U32))


@attrs.frozen(kw_only=True, eq=False, repr=False)
class EnterUserNamespace(Step):
    """Become root of a slot's user namespace; a child in these new namespaces goes on, and this process ends."""

    CODE = 19
    slot: int = attrs.field(metadata=on_wire(SLOT))
    namespaces: Namespace = attrs.field(metadata=on_wire(U32))


@attrs.frozen(kw_only=True, eq=False, repr=False)
class SlotTarget(Step):
    """Make a mount point inside a detached tree, with parents, if it is missing."""

    CODE = 26
    slot: int = attrs.field(metadata=on_wire(SLOT))
    path: str = attrs.field(metadata=on_wire(PATH))
    directory: bool = attrs.field(metadata=on_wire(U32))
