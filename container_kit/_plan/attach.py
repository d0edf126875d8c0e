"""The attach phase: what was gathered is put in its place, seen from inside the new root.

Parents come before children. What is hidden or read-only is so because the kernel shows
there what containers must not know or change (OCI runtime-spec, maskedPaths).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from container_kit._plan.ops import Attach, AttachHow, AttachStep, MakeDir, Mask, ReadOnly, ReadOnlyRoot
from container_kit._spec.paths import ContainerPath
from container_kit._spec.security import THERMAL_THROTTLE, Security


def attach_steps(
    *,
    places: Mapping[ContainerPath, tuple[int, AttachHow]],
    null: int,
    empty: int,
    security: Security,
    thermal_throttle: Iterable[ContainerPath],
    working_dir: ContainerPath,
    read_only: bool,
) -> tuple[AttachStep, ...]:
    """Return the attach phase.

    Args:
        places: slot and manner for each target.
        null: slot of /dev/null, shown in place of hidden files.
        empty: slot of an empty directory, shown in place of hidden directories.
        security: says what is hidden and what is read-only.
        thermal_throttle: what the host has of `THERMAL_THROTTLE`.
        working_dir: made if missing, owned by root as Docker does it.
        read_only: whether the root itself ends up read-only.
    """
    steps: list[AttachStep] = [
        Attach(slot=slot, target=target, how=how) for target, (slot, how) in sorted(places.items(), key=_by_depth)
    ]
    steps += (Mask(null=null, empty=empty, path=path) for path in _masked(security, thermal_throttle))
    steps += (ReadOnly(path=path) for path in security.read_only_paths)
    if working_dir != "/":
        steps.append(MakeDir(path=working_dir))
    if read_only:
        steps.append(ReadOnlyRoot())
    return tuple(steps)


def _masked(security: Security, thermal_throttle: Iterable[ContainerPath]) -> Iterator[ContainerPath]:
    for path in security.masked_paths:
        yield from thermal_throttle if path == THERMAL_THROTTLE else (path,)


def _by_depth(place: tuple[ContainerPath, object]) -> tuple[int, str]:
    # By depth and not by name alone: /run comes before /etc/resolv.conf, which may lead there.
    target, _ = place
    return target.count("/"), target
