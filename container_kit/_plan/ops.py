"""The steps a launch is made of: frozen values that say what to do, not how.

Each class is one op of `_native/ckit.h`: `CODE` is its number there and its fields, in order, are its wire
format. Adding an op is one class here, one line there and one C function. Phases are separate types, so a
step in the wrong place does not type-check.
"""

from __future__ import annotations

import struct
from functools import cached_property
from typing import ClassVar, TypeAlias

import attrs

from container_kit._plan import wire
from container_kit._plan.flags import AttachHow as AttachHow
from container_kit._plan.flags import InitFlag as InitFlag
from container_kit._plan.flags import MountAttr as MountAttr
from container_kit._plan.flags import Namespace as Namespace
from container_kit._plan.wire import BYTES, PATH, SLOT, STRINGS, U32, U64, on_wire
from container_kit._spec.facts import OverlayForm
from container_kit._spec.paths import ContainerPath, HostPath

_HEADER = struct.Struct("=II")


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Step:
    """What all steps have in common. Comparison and `repr` are written once: generating them imports slowly."""

    CODE: ClassVar[int]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Step) and (self is other or self.encoded == other.encoded)

    def __hash__(self) -> int:
        return hash(self.encoded)

    def __repr__(self) -> str:
        shown = (f"{field.name}={getattr(self, field.name)!r}" for field in attrs.fields(type(self)) if field.repr)
        return f"{type(self).__name__}({', '.join(shown)})"

    @classmethod
    def wire_format(cls) -> str:
        """Return the field kinds in order, as ckit.h writes them."""
        return wire.wire_format(cls)

    @cached_property
    def encoded(self) -> bytes:
        """The step as bytes, header included; kept, because most steps are the same in every launch."""
        fields = wire.pack_record(self)
        return _HEADER.pack(self.CODE, _HEADER.size + len(fields)) + fields


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
    """Make a character device in a detached file system (mknod(2))."""

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


# ── confine ──────────────────────────────────────────────────────────────────


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Hostname(Step):
    """Set the host name and, unless empty, the NIS domain name (sethostname(2))."""

    CODE = 40
    hostname: str = attrs.field(metadata=on_wire(PATH))
    domainname: str = attrs.field(default="", metadata=on_wire(PATH))


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Rlimit(Step):
    """Set one resource limit (prlimit(2)); 2**64-1 is infinity."""

    CODE = 41
    resource: int = attrs.field(metadata=on_wire(U32))
    soft: int = attrs.field(metadata=on_wire(U64))
    hard: int = attrs.field(metadata=on_wire(U64))


@attrs.frozen(kw_only=True, eq=False, repr=False)
class BoundingSet(Step):
    """Drop every capability that is not in the mask from the bounding set (capabilities(7))."""

    CODE = 42
    capabilities: int = attrs.field(metadata=on_wire(U64))


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Groups(Step):
    """Set the supplementary groups, u32 each (setgroups(2))."""

    CODE = 43
    gids: bytes = attrs.field(metadata=on_wire(BYTES))


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Gid(Step):
    """Set real, effective and saved gid (setresgid(2))."""

    CODE = 44
    gid: int = attrs.field(metadata=on_wire(U32))


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Uid(Step):
    """Set real, effective and saved uid (setresuid(2)); capabilities go with it unless kept by `Capabilities`."""

    CODE = 45
    uid: int = attrs.field(metadata=on_wire(U32))


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Capabilities(Step):
    """Set effective = permitted, and ambient = inheritable (capset(2), PR_CAP_AMBIENT)."""

    CODE = 46
    effective: int = attrs.field(metadata=on_wire(U64))
    ambient: int = attrs.field(default=0, metadata=on_wire(U64))


@attrs.frozen(kw_only=True, eq=False, repr=False)
class NoNewPrivs(Step):
    """Give up gaining privileges by exec (PR_SET_NO_NEW_PRIVS)."""

    CODE = 47


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Seccomp(Step):
    """Install a filter: an array of struct sock_filter (seccomp(2))."""

    CODE = 48
    program: bytes = attrs.field(metadata=on_wire(BYTES), repr=False)


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Terminal(Step):
    """Open a pty of the container's devpts, make it stdio and the controlling terminal, hand its master out."""

    CODE = 49
    devpts: ContainerPath = attrs.field(default=ContainerPath("/dev/pts"), metadata=on_wire(PATH))
    rows: int = attrs.field(default=24, metadata=on_wire(U32))
    columns: int = attrs.field(default=80, metadata=on_wire(U32))


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Chdir(Step):
    """Change the working directory and check that it is inside the root (getcwd(2))."""

    CODE = 50
    path: ContainerPath = attrs.field(metadata=on_wire(PATH))


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Umask(Step):
    """Set the file mode creation mask."""

    CODE = 51
    mask: int = attrs.field(default=0o022, metadata=on_wire(U32))


@attrs.frozen(kw_only=True, eq=False, repr=False)
class ForkInit(Step):
    """Stay behind as a process that reaps orphans and forwards signals; a child goes on with the plan."""

    CODE = 52
    flags: InitFlag = attrs.field(default=InitFlag.NONE, metadata=on_wire(U32))


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Ready(Step):
    """Wait until the monitor has recorded this process; fail if the monitor is gone."""

    CODE = 53


@attrs.frozen(kw_only=True, eq=False, repr=False)
class EnterPidNamespace(Step):
    """Go on in a child inside the pid namespace joined before; until then nobody inside sees the process."""

    CODE = 54


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Exec(Step):
    """Execute the first of `candidates` that exists (execve(2))."""

    CODE = 60
    candidates: tuple[ContainerPath, ...] = attrs.field(metadata=on_wire(STRINGS))
    argv: tuple[str, ...] = attrs.field(metadata=on_wire(STRINGS))
    env: tuple[str, ...] = attrs.field(metadata=on_wire(STRINGS), repr=False)


GatherStep: TypeAlias = (
    NewFilesystem | NewOverlay | OpenTree | OpenSubtree | SetMountAttr
    | SlotDir | SlotFile | SlotNode | SlotSymlink | WriteProc
    | LoopbackUp | JoinNamespaces | ParentDeathSignal | StartSession
)  # fmt: skip
AttachStep: TypeAlias = Attach | MakeDir | Mask | ReadOnly | ReadOnlyRoot
ConfineStep: TypeAlias = (
    Hostname | Rlimit | BoundingSet | Groups | Gid | Uid | Capabilities | NoNewPrivs | Seccomp
    | Terminal | Chdir | Umask | ParentDeathSignal | StartSession | EnterPidNamespace | ForkInit | Ready
)  # fmt: skip
AnyStep: TypeAlias = GatherStep | Pivot | AttachStep | ConfineStep | Exec
