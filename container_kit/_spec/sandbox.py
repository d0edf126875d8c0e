"""What `Security.untrusted()` promises beyond confinement: bounds on everything, and nothing of the host.

`enclosed` is where the promise is made: it turns the config that was asked for into the one
that holds it. `check_sandboxed` refuses what contradicts it, whenever a config is made, also
by an update. Whether the host can keep the promise is asked at start (`_runtime/requirements`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, get_args

import attrs

from container_kit._spec.mounts import Mount, MountKind
from container_kit._spec.resources import UNLIMITED, Resources
from container_kit._spec.sizes import parse_size
from container_kit._spec.text import check_strings
from container_kit._spec.ulimits import Ulimit
from container_kit.errors import InvalidSpecError

if TYPE_CHECKING:
    from container_kit._spec.container_config import ContainerConfig

Waivable: TypeAlias = Literal["memory", "pids", "userns"]

_SCRATCH = ("/tmp", "/var/tmp", "/run")  # noqa: S108  # directories in the container
_SHM_SIZE = 16 << 20
_HINT = "use another profile, or leave the option out"

# Nobody looks at core files of foreign code; 1024 descriptors are what select(2) can wait for.
_ULIMITS: Final = (Ulimit("core", 0), Ulimit("nofile", 1024))


def _parse_waived(names: Iterable[str]) -> tuple[str, ...]:
    waived = check_strings(names, "waive")
    for name in waived:
        if name not in get_args(Waivable):
            reason = f"must be one of {', '.join(get_args(Waivable))}"
            raise InvalidSpecError(field="waive", value=name, reason=reason)
    return tuple(dict.fromkeys(waived))


def _bytes(value: int | str) -> int:
    size = parse_size(value, "untrusted")
    if size < 1:
        raise InvalidSpecError(field="untrusted", value=value, reason="must be at least one byte")
    return size


@attrs.frozen(kw_only=True)
class Sandbox:
    """Bounds of an untrusted container; made by `Security.untrusted`.

    Attributes:
        memory: bytes for all of its processes and its scratch space; no swap.
        pids: processes and threads.
        scratch: bytes that each of its writable directories may hold.
        time_limit: seconds until it is ended; None: no limit.
        waived: what the caller accepts to be without on a host that lacks it.
    """

    memory: int = attrs.field(default=512 << 20, converter=_bytes)
    pids: int = 128
    scratch: int = attrs.field(default=64 << 20, converter=_bytes)
    time_limit: float | None = 60.0
    waived: tuple[str, ...] = attrs.field(default=(), converter=_parse_waived)

    def __attrs_post_init__(self) -> None:
        if self.pids < 1:
            raise InvalidSpecError(field="untrusted", value=self.pids, reason="must be at least one process")


def enclosed(config: ContainerConfig) -> ContainerConfig:
    """Return the config with the bounds of its sandbox in force; unchanged without a sandbox.

    What the config says itself goes before the sandbox's own figures.
    """
    sandbox = config.security.sandbox
    if sandbox is None:
        return config
    taken = {mount.target for mount in config.mounts}
    scratch = tuple(Mount.tmpfs(path, size=sandbox.scratch) for path in _SCRATCH if path not in taken)
    resources = _bounded(config.resources, sandbox)
    return attrs.evolve(
        config,
        read_only=True,
        mounts=(*config.mounts, *scratch),
        shm_size=min(config.shm_size, _SHM_SIZE),
        resources=resources,
        ulimits=_limited(config, resources.pids or sandbox.pids),
        time_limit=config.time_limit if config.time_limit is not None else sandbox.time_limit,
    )


def check_sandboxed(config: ContainerConfig) -> None:
    """Raise if a config contradicts its sandbox; one without a sandbox never does. `Security` checks itself.

    Raises:
        InvalidSpecError: an option contradicts the sandbox; the error names it.
    """
    sandbox, asked = config.security.sandbox, config.resources
    if sandbox is None:
        return
    contradictions = (
        (config.network != "none", "network", "untrusted code has no network"),
        (any(mount.kind is MountKind.BIND for mount in config.mounts), "mounts", "untrusted code sees no host path"),
        (bool(config.devices), "devices", "untrusted code has no devices"),
        (_is_unbounded(asked.memory, "memory", sandbox), "resources", "its memory is bounded, unless that is waived"),
        (_is_unbounded(asked.pids, "pids", sandbox), "resources", "its processes are bounded, unless that is waived"),
    )
    for contradicts, field, reason in contradictions:
        if contradicts:
            raise InvalidSpecError(field=field, reason=f"contradicts Security.untrusted(): {reason}", hint=_HINT)


def _is_unbounded(limit: int | None, name: Waivable, sandbox: Sandbox) -> bool:
    return limit == UNLIMITED and name not in sandbox.waived


def _bounded(asked: Resources, sandbox: Sandbox) -> Resources:
    memory = asked.memory
    if memory is None and "memory" not in sandbox.waived:
        memory = sandbox.memory
    pids = asked.pids
    if pids is None and "pids" not in sandbox.waived:
        pids = sandbox.pids
    swap = asked.memory_swap if asked.memory_swap is not None else memory
    return attrs.evolve(asked, memory=memory, memory_swap=swap, pids=pids)


def _limited(config: ContainerConfig, processes: int) -> tuple[Ulimit, ...]:
    # The kernel counts processes by user namespace and user: exact where the namespace is the container's own.
    own_ids = config.security.has_own_ids and processes > 0
    limits = (*_ULIMITS, *((Ulimit("nproc", processes),) if own_ids else ()))
    given = {limit.name for limit in config.ulimits}
    return (*config.ulimits, *(limit for limit in limits if limit.name not in given))
