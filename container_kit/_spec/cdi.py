"""Specifications of the Container Device Interface: what a container gets with a device of a vendor, as values.

Follows the CDI specification, versions 0.3 to 1.1. Read strictly: an unknown field is an
error, as the specification demands. Not done is what would change the host or run a
program on it: hooks are only listed, resource control (`intelRdt`) and network devices are
refused. A node is shown as the host has it: `fileMode`, `uid` and `gid` change nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

import attrs

from container_kit._spec.devices import Device, DeviceKind, is_cdi_name
from container_kit._spec.documents import Object, read_list, read_object, read_text, read_texts, refuse
from container_kit._spec.mounts import Mount
from container_kit._spec.paths import parse_container_path, parse_host_path
from container_kit._spec.text import Pairs, parse_pairs
from container_kit.errors import InvalidSpecError

_VERSION: Final = re.compile(r"0\.[3-8]\.\d{1,4}|1\.[01]\.\d{1,4}", re.ASCII)
_KINDS: Final[dict[str, DeviceKind]] = {"": "c", "c": "c", "u": "c", "b": "b"}
_PLAIN_BINDS: Final = ("", "none", "bind")
_IGNORED_OPTIONS: Final = frozenset({"rw", "nodev", "exec", "suid", "private", "rprivate", "relatime", "rbind"})


@attrs.frozen(kw_only=True)
class CdiEdits:
    """What comes into a container with its devices.

    Attributes:
        devices: nodes to show; `kind`, `major` and `minor` are what the specification expects, -1 for anything.
        mounts: files and directories of the host to show.
        env: variables, which win over those of the container.
        groups: further groups of its processes.
        skipped_hooks: programs that the specification wants to be run, and that are not.
    """

    devices: tuple[Device, ...] = ()
    mounts: tuple[Mount, ...] = ()
    env: Pairs = ()
    groups: tuple[str, ...] = ()
    skipped_hooks: tuple[str, ...] = ()


@attrs.frozen(kw_only=True)
class CdiSpecification:
    """One file: a vendor's class of devices.

    Attributes:
        kind: `vendor.com/class`.
        edits: made once if any of its devices is asked for.
        devices: what each device brings, by name.
    """

    kind: str
    edits: CdiEdits
    devices: Mapping[str, CdiEdits]


def join_edits(parts: Iterable[CdiEdits]) -> CdiEdits:
    """Return several edits as one, each thing once."""
    listed = list(parts)
    return CdiEdits(
        devices=tuple(dict.fromkeys(device for part in listed for device in part.devices)),
        mounts=tuple(dict.fromkeys(mount for part in listed for mount in part.mounts)),
        env=tuple(dict(pair for part in listed for pair in part.env).items()),
        groups=tuple(dict.fromkeys(group for part in listed for group in part.groups)),
        skipped_hooks=tuple(dict.fromkeys(hook for part in listed for hook in part.skipped_hooks)),
    )


def parse_cdi(document: object, *, what: str) -> CdiSpecification:
    """Return the specification that a JSON or YAML document holds.

    Args:
        document: parsed, its values of any type.
        what: what errors call it.

    Raises:
        ImageError: a field is wrong or unknown, or asks for what is not supported.
    """
    try:
        return _specification(document, what)
    except InvalidSpecError as err:  # of a path, a mount, a device
        refuse(what, err.field, f"{err.reason} ({str(err.value)[:100]!r})")


def _specification(document: object, what: str) -> CdiSpecification:
    fields = _fields(document, "the document", what, "cdiVersion kind annotations devices containerEdits")
    version, kind = (read_text(fields.get(key), key, what=what) for key in ("cdiVersion", "kind"))
    if not _VERSION.fullmatch(version):
        refuse(what, "cdiVersion", f"is {version[:40]!r}: known are 0.3.0 to 1.1.0")
    if len(kind) > 317 or not is_cdi_name(f"{kind}=x"):
        refuse(what, "kind", "must be VENDOR/CLASS, such as vendor.com/net")
    devices: dict[str, CdiEdits] = {}
    for number, item in enumerate(read_list(fields.get("devices"), "devices", what=what)):
        place = f"devices[{number}]"
        device = _fields(item, place, what, "name annotations containerEdits")
        name = read_text(device.get("name"), f"{place}.name", what=what)
        if not is_cdi_name(f"{kind}={name}") or name in devices:
            refuse(what, f"{place}.name", "is there twice" if name in devices else "is no name of a device")
        devices[name] = _edits(device.get("containerEdits"), f"{place}.containerEdits", what)
    if not devices:
        refuse(what, "devices", "must not be empty")
    return CdiSpecification(
        kind=kind, edits=_edits(fields.get("containerEdits"), "containerEdits", what), devices=devices
    )


def _edits(value: object, place: str, what: str) -> CdiEdits:
    if value is None:
        return CdiEdits()
    known = "env deviceNodes mounts hooks additionalGids additionalGIDs intelRdt netDevices"
    fields = _fields(value, place, what, known)
    for unsupported in ("intelRdt", "netDevices"):
        if fields.get(unsupported):
            refuse(what, f"{place}.{unsupported}", "is not supported")
    groups = [*_list(fields, "additionalGids", place, what), *_list(fields, "additionalGIDs", place, what)]
    numbers = [_number(gid, f"{place}.additionalGids", what) for gid in groups]
    return CdiEdits(
        env=parse_pairs(read_texts(fields.get("env"), f"{place}.env", what=what), f"{place}.env"),
        devices=tuple(
            _device(item, f"{place}.deviceNodes", what) for item in _list(fields, "deviceNodes", place, what)
        ),
        mounts=tuple(_mount(item, f"{place}.mounts", what) for item in _list(fields, "mounts", place, what)),
        groups=tuple(str(gid) for gid in numbers if gid),
        skipped_hooks=tuple(_hook(item, f"{place}.hooks", what) for item in _list(fields, "hooks", place, what)),
    )


def _device(value: object, place: str, what: str) -> Device:
    fields = _fields(value, place, what, "path hostPath type major minor fileMode permissions uid gid")
    path, source, kind, access = (
        read_text(fields.get(key), f"{place}.{key}", what=what) for key in ("path", "hostPath", "type", "permissions")
    )
    if kind not in _KINDS:
        refuse(what, f"{place}.type", "must be b or c")
    major, minor = (_number(fields.get(key), f"{place}.{key}", what) for key in ("major", "minor"))
    is_expected = bool(major or minor)  # 0 is as good as absent, as in Go
    return Device(
        source=parse_host_path(source or path, f"{place}.hostPath"),
        target=parse_container_path(path, f"{place}.path"),
        access=access or "rwm",
        kind=_KINDS[kind],
        major=major if is_expected else -1,
        minor=minor if is_expected else -1,
    )


def _mount(value: object, place: str, what: str) -> Mount:
    fields = _fields(value, place, what, "hostPath containerPath type options")
    source, target, kind = (
        read_text(fields.get(key), f"{place}.{key}", what=what) for key in ("hostPath", "containerPath", "type")
    )
    options = set(read_texts(fields.get("options"), f"{place}.options", what=what))
    if kind not in _PLAIN_BINDS:
        refuse(what, f"{place}.type", "is not supported: only bind mounts are")
    follows = options & {"slave", "rslave"}
    unknown = options - _IGNORED_OPTIONS - follows - {"ro", "bind", "noexec", "nosuid"}
    if unknown:
        refuse(what, f"{place}.options", f"are not supported: {min(unknown)[:40]!r}")
    mount = Mount.bind(
        source,
        target,
        read_only="ro" in options,
        recursive="bind" not in options or "rbind" in options,
        propagation="rslave" if follows else "rprivate",
        noexec="noexec" in options,
    )
    return attrs.evolve(mount, nosuid="nosuid" in options)


def _hook(value: object, place: str, what: str) -> str:
    fields = _fields(value, place, what, "hookName path args env timeout")
    words = (read_text(fields.get(key), f"{place}.{key}", what=what) for key in ("hookName", "path"))
    return " ".join((*words, *read_texts(fields.get("args"), f"{place}.args", what=what)[1:]))


def _fields(value: object, place: str, what: str, known: str) -> Object:
    fields = read_object(value, place, what=what)
    unknown = set(fields) - set(known.split())
    if unknown:
        refuse(what, place, f"has an unknown field {min(map(str, unknown))[:40]!r}")
    return fields


def _list(fields: Object, key: str, place: str, what: str) -> list[Any]:
    return read_list(fields.get(key), f"{place}.{key}", what=what)


def _number(value: object, place: str, what: str) -> int:
    if value is None:
        return 0
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**32 - 1:
        refuse(what, place, "must be a number from 0 to 4294967294")
    return value
