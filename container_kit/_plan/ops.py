"""The steps a launch is made of: frozen values that say what to do, not how.

Each class is one op of `_native/ckit.h`: `CODE` is its number there and its fields, in order, are its wire
format. Adding an op is one class here, one line there and one C function. Phases are separate types, so a
step in the wrong place does not type-check. Those of the confine phase are in `confine_ops`,
those of containers with ids of their own in `stage_ops`.
"""

from __future__ import annotations

from typing import TypeAlias

import attrs

from container_kit._plan.confine_ops import BoundingSet as BoundingSet
from container_kit._plan.confine_ops import Capabilities as Capabilities
from container_kit._plan.confine_ops import Chdir as Chdir
from container_kit._plan.confine_ops import EnterPidNamespace as EnterPidNamespace
from container_kit._plan.confine_ops import Exec as Exec
from container_kit._plan.confine_ops import FlaggedSeccomp as FlaggedSeccomp
from container_kit._plan.confine_ops import ForkInit as ForkInit
from container_kit._plan.confine_ops import Gid as Gid
from container_kit._plan.confine_ops import Groups as Groups
from container_kit._plan.confine_ops import Hostname as Hostname
from container_kit._plan.confine_ops import NoNewPrivs as NoNewPrivs
from container_kit._plan.confine_ops import NullStdio as NullStdio
from container_kit._plan.confine_ops import Ready as Ready
from container_kit._plan.confine_ops import Rlimit as Rlimit
from container_kit._plan.confine_ops import Seccomp as Seccomp
from container_kit._plan.confine_ops import SessionKeyring as SessionKeyring
from container_kit._plan.confine_ops import Terminal as Terminal
from container_kit._plan.confine_ops import Uid as Uid
from container_kit._plan.confine_ops import Umask as Umask
from container_kit._plan.flags import AttachHow as AttachHow
from container_kit._plan.flags import InitFlag as InitFlag
from container_kit._plan.flags import MountAttr as MountAttr
from container_kit._plan.flags import Namespace as Namespace
from container_kit._plan.stage_ops import EnterUserNamespace as EnterUserNamespace
from container_kit._plan.stage_ops import MakeUserNamespace as MakeUserNamespace
from container_kit._plan.stage_ops import NewMappedOverlay as NewMappedOverlay
from container_kit._plan.stage_ops import RaiseLimit as RaiseLimit
from container_kit._plan.stage_ops import SlotTarget as SlotTarget
from container_kit._plan.step import Step as Step
from container_kit._plan.wire import BYTES, PATH, SLOT, STRINGS, U32, on_wire
from container_kit._spec.facts import OverlayForm
from container_kit._spec.paths import ContainerPath, HostPath

# ── gather ───────────────────────────────────────────────────────────────────


@attrs.frozen(kw_only=True, eq=False, repr=False)
class NewFilesystem(Step):
    """Make a file system as a detached mount (fsopen, fsconfig, fsmount)."""

    CODE = 1
    slot: int = attrs.field(metadata=on_wire(SLOT))
    fstype: str = attrs.field(metadata=on_wire(PATH))
    attributes: MountAttr = attrs.field(default=MountAttr.NONE, metadata=on_wire(U32))
    options: tuple[str, ...] = attrs.field(default=(), metadata=on_wire(STRINGS))


@attrs.frozen(kw_only=True, eq=False, repr=False)
class NewOverlay(Step):
    """Make an overlay as a detached mount; `upper` and `work` are relative to the container's directory."""

    CODE = 2
    slot: int = attrs.field(metadata=on_wire(SLOT))
    lowers: tuple[HostPath, ...] = attrs.field(metadata=on_wire(STRINGS))
    upper: str = attrs.field(metadata=on_wire(PATH))
    work: str = attrs.field(metadata=on_wire(PATH))
    form: OverlayForm = attrs.field(metadata=on_wire(U32))
    options: tuple[str, ...] = attrs.field(default=(), metadata=on_wire(STRINGS))


@attrs.frozen(kw_only=True, eq=False, repr=False)
class OpenTree(Step):
    """Clone a host path as a detached mount (open_tree(2))."""

    CODE = 3
    slot: int = attrs.field(metadata=on_wire(SLOT))
    source: HostPath = attrs.field(metadata=on_wire(PATH))
    recursive: bool = attrs.field(default=True, metadata=on_wire(U32))


@attrs.frozen(kw_only=True, eq=False, repr=False)
class OpenSubtree(Step):
    """Clone an entry of another slot as a detached mount of its own."""

    CODE = 4
    slot: int = attrs.field(metadata=on_wire(SLOT))
    of: int = attrs.field(metadata=on_wire(SLOT))
    path: str = attrs.field(metadata=on_wire(PATH))


@attrs.frozen(kw_only=True, eq=False, repr=False)
class SetMountAttr(Step):
    """Add attributes to a detached mount (mount_setattr(2))."""

    CODE = 5
    slot: int = attrs.field(metadata=on_wire(SLOT))
    attributes: MountAttr = attrs.field(metadata=on_wire(U32))
    recursive: bool = attrs.field(default=False, metadata=on_wire(U32))


@attrs.frozen(kw_only=True, eq=False, repr=False)
class SlotDir(Step):
    """Make a directory in a detached file system."""

    CODE = 6
    slot: int = attrs.field(metadata=on_wire(SLOT))
    path: str = attrs.field(metadata=on_wire(PATH))
    mode: int = attrs.field(metadata=on_wire(U32))


@attrs.frozen(kw_only=True, eq=False, repr=False)
class SlotFile(Step):
    """Make a file with contents in a detached file system."""

    CODE = 7
    slot: int = attrs.field(metadata=on_wire(SLOT))
    path: str = attrs.field(metadata=on_wire(PATH))
    mode: int = attrs.field(metadata=on_wire(U32))
    contents: bytes = attrs.field(default=b"", metadata=on_wire(BYTES))


@attrs.frozen(kw_only=True, eq=False, repr=False)
class SlotNode(Step):
    """Make a device node in a detached file system (mknod(2)); without a type in its mode a character device."""

    CODE = 8
    slot: int = attrs.field(metadata=on_wire(SLOT))
    path: str = attrs.field(metadata=on_wire(PATH))
    mode: int = attrs.field(metadata=on_wire(U32))
    major: int = attrs.field(metadata=on_wire(U32))
    minor: int = attrs.field(metadata=on_wire(U32))


@attrs.frozen(kw_only=True, eq=False, repr=False)
class SlotSymlink(Step):
    """Make a symlink in a detached file system."""

    CODE = 9
    slot: int = attrs.field(metadata=on_wire(SLOT))
    path: str = attrs.field(metadata=on_wire(PATH))
    target: str = attrs.field(metadata=on_wire(PATH))


@attrs.frozen(kw_only=True, eq=False, repr=False)
class WriteProc(Step):
    """Write a file of a detached proc mount, e.g. a sysctl; nothing the container shows can stand in for it."""

    CODE = 10
    slot: int = attrs.field(metadata=on_wire(SLOT))
    path: str = attrs.field(metadata=on_wire(PATH))
    contents: bytes = attrs.field(metadata=on_wire(BYTES))


@attrs.frozen(kw_only=True, eq=False, repr=False)
class LoopbackUp(Step):
    """Bring `lo` up in the new network namespace."""

    CODE = 11


@attrs.frozen(kw_only=True, eq=False, repr=False)
class JoinNamespaces(Step):
    """Enter a running container's namespaces by its pidfd (setns(2)), all but the pid namespace at once."""

    CODE = 12
    namespaces: Namespace = attrs.field(metadata=on_wire(U32))


@attrs.frozen(kw_only=True, eq=False, repr=False)
class ParentDeathSignal(Step):
    """Ask for a signal when the monitor dies (PR_SET_PDEATHSIG, prctl(2))."""

    CODE = 13
    signal: int = attrs.field(metadata=on_wire(U32))


@attrs.frozen(kw_only=True, eq=False, repr=False)
class StartSession(Step):
    """Become the leader of a new session (setsid(2))."""

    CODE = 14


@attrs.frozen(kw_only=True, eq=False, repr=False)
class ProcessFile(Step):
    """Write a file of the process's own, below the host's /proc/self (proc(5)); the path is relative to that."""

    CODE = 15
    path: str = attrs.field(metadata=on_wire(PATH))
    contents: bytes = attrs.field(metadata=on_wire(BYTES))


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Pivot(Step):
    """Make a slot the root directory and detach the old root (pivot_root(2))."""

    CODE = 20
    slot: int = attrs.field(metadata=on_wire(SLOT))


# ── attach ───────────────────────────────────────────────────────────────────


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Attach(Step):
    """Put a slot's mount at a target inside the new root (move_mount(2))."""

    CODE = 21
    slot: int = attrs.field(metadata=on_wire(SLOT))
    target: ContainerPath = attrs.field(metadata=on_wire(PATH))
    how: AttachHow = attrs.field(default=AttachHow.NONE, metadata=on_wire(U32))


@attrs.frozen(kw_only=True, eq=False, repr=False)
class MakeDir(Step):
    """Make a directory and its missing parents; one that is there is left alone."""

    CODE = 22
    path: ContainerPath = attrs.field(metadata=on_wire(PATH))
    mode: int = attrs.field(default=0o755, metadata=on_wire(U32))
    uid: int = attrs.field(default=0, metadata=on_wire(U32))
    gid: int = attrs.field(default=0, metadata=on_wire(U32))


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Mask(Step):
    """Hide a file behind /dev/null or a directory behind an empty one; an absent path is fine."""

    CODE = 23
    null: int = attrs.field(metadata=on_wire(SLOT))
    empty: int = attrs.field(metadata=on_wire(SLOT))
    path: ContainerPath = attrs.field(metadata=on_wire(PATH))


@attrs.frozen(kw_only=True, eq=False, repr=False)
class ReadOnly(Step):
    """Bind a path onto itself read-only; an absent path is fine."""

    CODE = 24
    path: ContainerPath = attrs.field(metadata=on_wire(PATH))
    recursive: bool = attrs.field(default=True, metadata=on_wire(U32))


@attrs.frozen(kw_only=True, eq=False, repr=False)
class ReadOnlyRoot(Step):
    """Make the root mount itself read-only."""

    CODE = 25


GatherStep: TypeAlias = (
    NewFilesystem | NewOverlay | OpenTree | OpenSubtree | SetMountAttr
    | SlotDir | SlotFile | SlotNode | SlotSymlink | WriteProc
    | LoopbackUp | JoinNamespaces | ParentDeathSignal | StartSession | ProcessFile
    | MakeUserNamespace | RaiseLimit | NewMappedOverlay | EnterUserNamespace | SlotTarget
)  # fmt: skip
AttachStep: TypeAlias = Attach | MakeDir | Mask | ReadOnly | ReadOnlyRoot
ConfineStep: TypeAlias = (
    Hostname | Rlimit | BoundingSet | Groups | Gid | Uid | Capabilities | NoNewPrivs | Seccomp
    | Terminal | Chdir | Umask | ParentDeathSignal | StartSession | EnterPidNamespace | ForkInit | Ready
    | SessionKeyring
    | FlaggedSeccomp | NullStdio
)  # fmt: skip
AnyStep: TypeAlias = GatherStep | Pivot | AttachStep | ConfineStep | Exec
