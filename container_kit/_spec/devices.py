"""Device nodes of the host that a container may use besides the harmless ones (null, zero, full, random, tty).

A container is given nothing of /dev by itself. What is named here is shown in its /dev and
allowed by its device filter; for everything else open(2) and mknod(2) fail (cgroup-v2.rst,
"Device controller").
"""

from __future__ import annotations

import re
from typing import Literal, TypeAlias

import attrs

from container_kit._spec.paths import AnyPath, ContainerPath, HostPath, parse_container_path, parse_host_path
from container_kit._spec.text import check_line
from container_kit.errors import InvalidSpecError

DeviceKind: TypeAlias = Literal["c", "b"]

_ACCESS = re.compile(r"(?!.*(.).*\1)[rwm]{1,3}", re.ASCII)
_CDI = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*=[A-Za-z0-9][A-Za-z0-9._:-]*", re.ASCII)


def _source(path: AnyPath) -> HostPath:
    return parse_host_path(path, "devices")


def _target(path: AnyPath) -> ContainerPath:
    return parse_container_path(path, "devices")


def _same_path(device: Device) -> ContainerPath:
    return ContainerPath(device.source)


@attrs.frozen(kw_only=True)
class Device:
    """A device node: `source` on the host, `target` in the container, `access` of r(ead), w(rite) and m(knod).

    `target` is `source` unless given.
    `kind`, `major`, `minor` and `mode` (permission bits) are facts of the host, found by whoever creates the container.
    """

    source: HostPath = attrs.field(converter=_source)
    target: ContainerPath = attrs.field(default=attrs.Factory(_same_path, takes_self=True), converter=_target)
    access: str = "rwm"
    kind: DeviceKind = "c"
    major: int = -1
    minor: int = -1
    mode: int = 0o600

    def __attrs_post_init__(self) -> None:
        if not _ACCESS.fullmatch(self.access):
            raise InvalidSpecError(field="devices", value=self.access, reason="access must be some of r, w and m")
        if not self.target.startswith("/dev/"):
            raise InvalidSpecError(field="devices", value=self.target, reason="must be shown below /dev")


def parse_device(text: str) -> Device:
    """Return a device from Docker's form, `/dev/fuse`, `/dev/fuse:rw` or `/dev/sda:/dev/xvda:r`."""
    parts = check_line(text, "devices").split(":")
    if len(parts) > 3:
        raise InvalidSpecError(field="devices", value=text, reason="must be /dev/NAME[:/dev/NAME][:rwm]")
    access = parts.pop() if len(parts) > 1 and not parts[-1].startswith("/") else "rwm"
    return Device(source=parts[0], target=parts[-1], access=access)


def is_cdi_name(text: str) -> bool:
    """Say whether this names a device of a CDI specification, `vendor.com/class=name`."""
    return _CDI.fullmatch(text) is not None
