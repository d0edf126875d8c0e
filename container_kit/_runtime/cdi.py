"""Devices by the names that their vendors gave them: the specification files of the Container Device Interface.

`vendor.com/class=name` stands for what a file in /etc/cdi or /var/run/cdi says: nodes,
mounts, variables. Files in the last directory win; two files of one directory that define
the same device contradict each other. Hooks are programs that a vendor wants run on the
host: they are not, and a warning on the logger `container_kit.cdi` names them.
"""

from __future__ import annotations

import importlib
import logging
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import attrs

from container_kit._linux import device_nodes
from container_kit._spec.cdi import CdiEdits, CdiSpecification, join_edits, parse_cdi
from container_kit._spec.container_config import ContainerConfig
from container_kit._spec.devices import Device
from container_kit._spec.strict_json import parse_json
from container_kit.errors import ImageError, InvalidSpecError, UnsupportedHostError

_LARGEST = 1 << 20
_DEEPEST = 32
_MOST_FILES = 1024
_INSTALL = "pip install 'container-kit[cdi]'"

_log = logging.getLogger("container_kit.cdi")


def apply_cdi(config: ContainerConfig, names: Sequence[str], directories: Sequence[str]) -> ContainerConfig:
    """Return a config with what the named devices bring; what it has itself already is not added twice.

    Raises:
        InvalidSpecError: see `find_edits`; or a device would be in the place of another one.
    """
    edits = find_edits(names, directories)
    if edits.skipped_hooks:
        _log.warning("not run for %s: %s", ", ".join(names), "; ".join(edits.skipped_hooks))
    ours = {device.target: (device.source, device.access) for device in config.devices}
    devices = [one for one in edits.devices if ours.get(one.target) != (one.source, one.access)]
    return attrs.evolve(
        config,
        devices=(*config.devices, *devices),
        mounts=tuple(dict.fromkeys((*config.mounts, *edits.mounts))),
        env=tuple({**dict(config.env), **dict(edits.env)}.items()),
        groups=tuple(dict.fromkeys((*config.groups, *edits.groups))),
    )


def find_edits(names: Iterable[str], directories: Sequence[str]) -> CdiEdits:
    """Return what comes with devices of these names.

    Args:
        names: `vendor.com/class=name` each.
        directories: where specifications are; the last has priority.

    Raises:
        InvalidSpecError: there is no such device, it is defined twice, its file is damaged, or the host has another
            node in its place.
        UnsupportedHostError: it may be in a YAML file, and PyYAML is not installed.
    """
    found: list[CdiEdits] = []
    used: list[CdiSpecification] = []
    library = _Library(directories)
    for name in dict.fromkeys(names):
        specification, edits = library.find(name)
        if specification not in used:
            used.append(specification)
            found.append(specification.edits)
        found.append(edits)
    edits = join_edits(found)
    return attrs.evolve(edits, devices=tuple(_present(device) for device in edits.devices))


class _Library:
    """What is in the directories, and what of it cannot be read."""

    def __init__(self, directories: Sequence[str]) -> None:
        self._directories = directories
        self._damaged: list[InvalidSpecError | UnsupportedHostError] = []
        self._shelves = [list(self._read_all(directory)) for directory in reversed(directories)]

    def find(self, name: str) -> tuple[CdiSpecification, CdiEdits]:
        kind, _, device = name.partition("=")
        for shelf in self._shelves:
            matching = [(path, one) for path, one in shelf if one.kind == kind and device in one.devices]
            if len(matching) > 1:
                paths = " and ".join(path for path, _ in matching)
                raise InvalidSpecError(field="devices", value=name, reason=f"is defined twice: in {paths}")
            if matching:
                return matching[0][1], matching[0][1].devices[device]
        if self._damaged:  # it may be in there
            raise self._damaged[0]
        known = sorted(f"{one.kind}={each}" for shelf in self._shelves for _, one in shelf for each in one.devices)
        there = f"there are {', '.join(known[:20])}" if known else "there are none"
        reason = f"no specification in {' or '.join(self._directories)} has such a device"
        raise InvalidSpecError(field="devices", value=name, reason=reason, hint=there)

    def _read_all(self, directory: str) -> Iterator[tuple[str, CdiSpecification]]:
        try:
            names = sorted(os.listdir(directory))
        except OSError:
            return
        for name in [name for name in names if name.endswith((".json", ".yaml"))][:_MOST_FILES]:
            path = f"{directory}/{name}"
            try:
                yield path, _read_specification(path)
            except (InvalidSpecError, UnsupportedHostError) as err:
                self._damaged.append(err)


def _read_specification(path: str) -> CdiSpecification:
    try:
        data = _read(path)
        document = _parse_yaml(data, path) if path.endswith(".yaml") else _parse_json(data, path)
        return parse_cdi(document, what=path)
    except ImageError as err:
        raise InvalidSpecError(field="devices", value=path, reason=err.reason) from err
    except OSError as err:
        if isinstance(err, UnsupportedHostError):
            raise
        raise InvalidSpecError(field="devices", value=path, reason=str(err.strerror).lower()) from err


def _read(path: str) -> bytes:
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK | os.O_CLOEXEC)) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise InvalidSpecError(field="devices", value=path, reason="is no regular file")
        return file.read(_LARGEST + 1)


def _parse_json(data: bytes, path: str) -> dict[str, Any]:
    return parse_json(data, what=path, limit=_LARGEST, depth=_DEEPEST)


def _parse_yaml(data: bytes, path: str) -> object:
    if len(data) > _LARGEST:
        raise InvalidSpecError(field="devices", value=path, reason=f"is larger than {_LARGEST} bytes")
    try:
        yaml: Any = importlib.import_module("yaml")  # it ships no types
    except ImportError as err:
        reason = f"{path} is YAML, and PyYAML is not installed"
        raise UnsupportedHostError(feature="device specifications in YAML", reason=reason, hint=_INSTALL) from err
    try:
        depth = 0
        for event in yaml.parse(data, Loader=yaml.SafeLoader):
            # An alias can make a small document an endless one, and the composer recurses.
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if isinstance(event, yaml.AliasEvent) or depth > _DEEPEST:
                raise InvalidSpecError(field="devices", value=path, reason="has aliases, or is nested too deep")
        return yaml.safe_load(data)
    except (yaml.YAMLError, ValueError, RecursionError) as err:
        if isinstance(err, InvalidSpecError):
            raise
        raise InvalidSpecError(field="devices", value=path, reason=f"is no valid YAML: {str(err)[:200]}") from err


def _present(device: Device) -> Device:
    found = device_nodes.find_nodes((device,))
    if len(found) != 1:
        raise InvalidSpecError(field="devices", value=str(device.source), reason="is no device")
    now = found[0]
    if device.major >= 0 and (device.kind, device.major, device.minor) != (now.kind, now.major, now.minor):
        reason = (
            f"is {now.kind} {now.major}:{now.minor}; its specification says {device.kind} {device.major}:{device.minor}"
        )
        raise InvalidSpecError(field="devices", value=str(device.source), reason=reason)
    return now
