"""What `Security.untrusted()` promises beyond confinement: bounds on everything, and nothing of the host.

`enclosed` is where the promise is made: it turns the config that was asked for into the one
that holds it, or says what contradicts it. Whether the host can keep the promise is asked
at start.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

import attrs

from container_kit._spec.mounts import Mount, MountKind
from container_kit._spec.resources import Resources
from container_kit._spec.sizes import parse_size
from container_kit._spec.text import check_strings
from container_kit.errors import InvalidSpecError

if TYPE_CHECKING:
    from container_kit._spec.container_config import ContainerConfig

Waivable: TypeAlias = Literal["memory", "pids", "userns"]

_SCRATCH = ("/tmp", "/var/tmp", "/run")  # noqa: S108  # directories in the container
_SHM_SIZE = 16 << 20
_HINT = "use another profile, or leave the option out"


def _parse_waived(names: Iterable[str]) -> tuple[str, ...]:
    waived = check_strings(names, "waive")
    for name in waived:
        if name not in get_args(Waivable):
            reason = f"must be one of {', '.join(get_args(Waivable))}"
            raise InvalidSpecError(field="waive", value=name, reason=reason)
    return waived


def _bytes(value: int | str) -> int:
    return parse_size(value, "untrusted")


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


def enclosed(config: ContainerConfig) -> ContainerConfig:
    """Return the config with the bounds of its sandbox in force; unchanged without a sandbox.

    Raises:
        InvalidSpecError: an option contradicts the sandbox; the error names it.
    """
    sandbox = config.security.sandbox
    if sandbox is None:
        return config
    _check(config)
    bounds = Resources(
        memory=None if "memory" in sandbox.waived else sandbox.memory,
        memory_swap=None if "memory" in sandbox.waived else sandbox.memory,
        pids=None if "pids" in sandbox.waived else sandbox.pids,
    )
    taken = {mount.target for mount in config.mounts}
    scratch = tuple(Mount.tmpfs(path, size=sandbox.scratch) for path in _SCRATCH if path not in taken)
    return attrs.evolve(
        config,
        read_only=True,
        mounts=(*config.mounts, *scratch),
        shm_size=min(config.shm_size, _SHM_SIZE),
        resources=bounds.overlaid(config.resources),
        time_limit=config.time_limit if config.time_limit is not None else sandbox.time_limit,
    )


def _check(config: ContainerConfig) -> None:
    contradictions = (
        (config.network != "none", "network", "untrusted code has no network"),
        (any(mount.kind is MountKind.BIND for mount in config.mounts), "mounts", "untrusted code sees no host path"),
        (bool(config.devices), "devices", "untrusted code has no devices"),
        (bool(config.security.capabilities), "security", "untrusted code has no capabilities"),
    )
    for contradicts, field, reason in contradictions:
        if contradicts:
            raise InvalidSpecError(field=field, reason=f"contradicts Security.untrusted(): {reason}", hint=_HINT)
