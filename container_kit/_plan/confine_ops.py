"""The steps of the confine phase and the exec: who the process is and what it may do.

As all steps, frozen values that say what to do, not how; see `ops`.
"""

from __future__ import annotations

import attrs

from container_kit._plan.flags import FilterFlag, InitFlag
from container_kit._plan.step import Step
from container_kit._plan.wire import BYTES, PATH, STRINGS, U32, U64, on_wire
from container_kit._spec.paths import ContainerPath


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
class SessionKeyring(Step):
    """Leave the caller's session keyring for a new one (keyctl(2), KEYCTL_JOIN_SESSION_KEYRING)."""

    CODE = 56


@attrs.frozen(kw_only=True, eq=False, repr=False)
class FlaggedSeccomp(Step):
    """Install a filter that the kernel treats differently (seccomp(2))."""

    CODE = 57
    program: bytes = attrs.field(metadata=on_wire(BYTES), repr=False)
    flags: FilterFlag = attrs.field(default=FilterFlag.NONE, metadata=on_wire(U32))


@attrs.frozen(kw_only=True, eq=False, repr=False)
class NullStdio(Step):
    """Have the container's /dev/null as stdio where it is the host's: nobody inside may change that one's mode."""

    CODE = 58


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Exec(Step):
    """Execute the first of `candidates` that exists (execve(2))."""

    CODE = 60
    candidates: tuple[ContainerPath, ...] = attrs.field(metadata=on_wire(STRINGS))
    argv: tuple[str, ...] = attrs.field(metadata=on_wire(STRINGS))
    env: tuple[str, ...] = attrs.field(metadata=on_wire(STRINGS), repr=False)
