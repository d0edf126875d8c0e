"""The confine phase: who the process is, what it may do, and where it starts.

Theory of operation, the order:

1. keys, limits and the bounding set, while we still have the privileges they take; stdio, before any filter;
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
    NullStdio,
    ParentDeathSignal,
    Rlimit,
    SessionKeyring,
    StartSession,
    Terminal,
    Uid,
    Umask,
)
from container_kit._plan.seccomp_modes import filter_steps
from container_kit._spec.facts import HostFacts
from container_kit._spec.identity import Identity
from container_kit._spec.paths import ContainerPath
from container_kit._spec.security import ALL, SeccompFile, SeccompMode, Security
from container_kit._spec.ulimits import Ulimit
from container_kit.errors import InvalidUserError


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
    filters = filter_steps(security, facts)
    late = security.no_new_privileges
    capabilities = _capabilities(security, facts)
    return (
        *_keyring(security),
        *(Rlimit(resource=limit.resource, soft=limit.soft, hard=limit.hard) for limit in ulimits),
        Umask(),
        BoundingSet(capabilities=capabilities),
        *((NullStdio(),) if terminal is None else ()),
        *(() if late else filters),
        *_become(identity, facts),
        Capabilities(effective=capabilities if identity.uid == 0 else 0),
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


def _capabilities(security: Security, facts: HostFacts) -> int:
    # "ALL" is what there is. One that was named and cannot be given makes the start fail.
    own_namespace = facts.rootless or security.has_own_ids
    bounded = ALL in security.cap_add and not own_namespace
    return security.capability_mask & facts.capabilities if bounded else security.capability_mask


def _become(identity: Identity, facts: HostFacts) -> tuple[ConfineStep, ...]:
    gids = struct.pack(f"={len(identity.groups)}I", *identity.groups)
    groups = (Groups(gids=gids),) if facts.may_set_groups else ()
    return (*groups, Gid(gid=identity.gid), Uid(uid=identity.uid))


def _keyring(security: Security) -> tuple[ConfineStep, ...]:
    # Our profiles refuse keyctl(2) and its siblings. Where it may be called, the caller's keys must be out of reach.
    unknown = isinstance(security.seccomp, SeccompFile) or security.seccomp is SeccompMode.UNCONFINED
    return (SessionKeyring(),) if unknown else ()


def _init(flags: InitFlag | None) -> tuple[ConfineStep, ...]:
    if flags is None:
        return ()
    return (ForkInit(flags=flags), ParentDeathSignal(signal=SIGKILL), StartSession())
