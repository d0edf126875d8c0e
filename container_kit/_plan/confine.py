"""The confine phase: who the process is, what it may do, and where it starts.

Theory of operation, the order:

1. limits and the bounding set, while we still have the privileges they take;
2. groups, gid, uid; a change of uid forgets the parent-death signal, so it is set again;
3. the working directory, entered as the user and with the user's privileges only; one that joins
   a running container is seen by those inside from here on, and has no more rights than they;
4. no_new_privs and the filter as late as possible: whatever comes after passes it. Without
   no_new_privs a filter takes CAP_SYS_ADMIN, so it comes before the identity (seccomp(2));
5. the reaping init, so that it is confined like its child; the child is a session of its own;
6. the terminal, opened by its user.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

from container_kit._plan.default_profile import DEFAULT_PROFILE
from container_kit._plan.gather import SIGKILL
from container_kit._plan.ops import (
    BoundingSet,
    Capabilities,
    Chdir,
    ConfineStep,
    EnterPidNamespace,
    ForkInit,
    Gid,
    Groups,
    InitFlag,
    NoNewPrivs,
    ParentDeathSignal,
    Rlimit,
    Seccomp,
    StartSession,
    Terminal,
    Uid,
    Umask,
)
from container_kit._plan.seccomp import compile_seccomp, supported_machines
from container_kit._spec.facts import HostFacts
from container_kit._spec.identity import Identity
from container_kit._spec.paths import ContainerPath
from container_kit._spec.security import SeccompMode, Security
from container_kit._spec.ulimits import Ulimit
from container_kit.errors import InvalidUserError, UnsupportedHostError


def confine_steps(
    *,
    identity: Identity,
    security: Security,
    ulimits: Iterable[Ulimit],
    working_dir: ContainerPath,
    init: InitFlag | None,
    terminal: tuple[int, int] | None,
    facts: HostFacts,
    joins: bool = False,
) -> tuple[ConfineStep, ...]:
    """Return the confine phase, all but the host name and `Ready`.

    Args:
        identity: who to become.
        security: capabilities, seccomp, no_new_privs.
        ulimits: resource limits to set; all others stay the caller's.
        working_dir: where to start.
        init: None, or how the process that reaps orphans behaves.
        terminal: None, or the rows and columns of a terminal.
        facts: the host.
        joins: whether the process comes into a running container.
    """
    check_identity(identity, facts)
    filters = _filter(security, facts)
    late = security.no_new_privileges
    return (
        *(Rlimit(resource=limit.resource, soft=limit.soft, hard=limit.hard) for limit in ulimits),
        Umask(),
        BoundingSet(capabilities=security.capability_mask),
        *(() if late else filters),
        *_become(identity, facts),
        Capabilities(effective=security.capability_mask if identity.uid == 0 else 0),
        ParentDeathSignal(signal=SIGKILL),
        Chdir(path=working_dir),
        *((EnterPidNamespace(), ParentDeathSignal(signal=SIGKILL)) if joins else ()),
        StartSession(),
        *((NoNewPrivs(), *filters) if late else ()),
        *_init(init),
        *(() if terminal is None else (Terminal(rows=terminal[0], columns=terminal[1]),)),
    )


def check_identity(identity: Identity, facts: HostFacts) -> None:
    """Raise unless all ids of an identity exist in the container's user namespace.

    Raises:
        InvalidUserError: names the id, and says how to get more of them.
    """
    ids = facts.id_map
    missing = [f"uid {identity.uid}"] if not ids.has_uid(identity.uid) else []
    groups = (identity.gid, *(identity.groups if facts.may_set_groups else ()))
    missing += [f"gid {gid}" for gid in dict.fromkeys(groups) if not ids.has_gid(gid)]
    if missing:
        raise InvalidUserError(
            field="user",
            value=missing[0],
            reason="the id does not exist in the container's user namespace",
            hint="give the caller enough subordinate ids in /etc/subuid and /etc/subgid, with newuidmap installed",
        )


def _become(identity: Identity, facts: HostFacts) -> tuple[ConfineStep, ...]:
    gids = struct.pack(f"={len(identity.groups)}I", *identity.groups)
    groups = (Groups(gids=gids),) if facts.may_set_groups else ()
    return (*groups, Gid(gid=identity.gid), Uid(uid=identity.uid))


def _filter(security: Security, facts: HostFacts) -> tuple[ConfineStep, ...]:
    if security.seccomp is SeccompMode.UNCONFINED:
        return ()
    if facts.machine not in supported_machines():
        known = " and ".join(sorted(supported_machines()))
        reason = f"there are filters for {known} only, this is {facts.machine}"
        raise UnsupportedHostError(feature="seccomp", reason=reason, hint="Security(seccomp='unconfined')")
    program = compile_seccomp(
        DEFAULT_PROFILE, machine=facts.machine, capabilities=security.capabilities, kernel=facts.kernel
    )
    return (Seccomp(program=program),)


def _init(flags: InitFlag | None) -> tuple[ConfineStep, ...]:
    if flags is None:
        return ()
    return (ForkInit(flags=flags), ParentDeathSignal(signal=SIGKILL), StartSession())
