"""Configs ↔ JSON: how they are kept in the state file.

Only what differs from the default is written, so a default can be improved without
rewriting what is on disk, and rows stay small. Unknown keys are ignored: a file written
by a newer version with one more field can still be read. The tables are the format;
a test holds them against the classes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Generic, TypeVar

import attrs

from container_kit._spec.container_config import ContainerConfig
from container_kit._spec.devices import Device
from container_kit._spec.healthcheck import Healthcheck, RestartKind, RestartPolicy
from container_kit._spec.image_config import ImageConfig
from container_kit._spec.log_config import LogConfig
from container_kit._spec.mounts import Mount, MountKind
from container_kit._spec.resources import Resources
from container_kit._spec.root_filesystem import OverlayLayers, RootFilesystem
from container_kit._spec.sandbox import Sandbox
from container_kit._spec.security import SeccompFile, SeccompMode, Security
from container_kit._spec.ulimits import Ulimit
from container_kit.errors import InvalidSpecError

T = TypeVar("T")

# A value from JSON has no static type; the classes check what they are made of.
Decode = Callable[[Any], Any]
Encode = Callable[[Any], Any]


def _same(value: Any) -> Any:
    return value


def _pairs(value: Any) -> Any:
    return tuple(tuple(pair) for pair in value)


class _Codec(Generic[T]):
    """One class's table: for each field how to encode and how to decode it; a field without an entry stays as it is."""

    def __init__(self, cls: type[T], **special: tuple[Encode, Decode]) -> None:
        self._cls = cls
        self._fields: list[tuple[str, Any, Encode]] = []
        self._decoders: dict[str, Decode] = {}
        for field in attrs.fields(cls):  # type: ignore[arg-type]  # T is always an attrs class
            encode, decode = special.get(field.name, (_same, _same))
            self._fields.append((field.name, field.default, encode))
            self._decoders[field.name] = decode

    def encode(self, value: T) -> dict[str, Any]:
        """Return the fields that differ from their defaults."""
        encoded: dict[str, Any] = {}
        for name, default, encode in self._fields:
            item = getattr(value, name)
            if item is not default and item != default:
                encoded[name] = None if item is None else encode(item)
        return encoded

    def decode(self, encoded: Mapping[str, Any]) -> T:
        """Return the value; keys that are not fields are ignored."""
        decoders = self._decoders
        found: dict[str, Any] = {}
        for name, item in encoded.items():
            if name in decoders:
                found[name] = None if item is None else decoders[name](item)
        return self._cls(**found)


_STRINGS: tuple[Encode, Decode] = (_same, tuple)
_PAIRS: tuple[Encode, Decode] = (_same, _pairs)


def _enum(cls: type[Any]) -> tuple[Encode, Decode]:
    return (lambda member: member.value), cls


def _nested(codec: _Codec[Any]) -> tuple[Encode, Decode]:
    return codec.encode, codec.decode


def _list_of(codec: _Codec[Any]) -> tuple[Encode, Decode]:
    return (
        lambda items: [codec.encode(item) for item in items],
        lambda items: tuple(codec.decode(item) for item in items),
    )


def _encode_seccomp(value: Any) -> Any:
    return {"path": value.path, "text": value.text} if isinstance(value, SeccompFile) else value.value


def _decode_seccomp(value: Any) -> Any:
    return SeccompMode(value) if isinstance(value, str) else SeccompFile(**value)


_RESOURCES = _Codec(
    Resources,
    io_read_bps=_PAIRS,
    io_write_bps=_PAIRS,
    io_read_iops=_PAIRS,
    io_write_iops=_PAIRS,
    hugetlb=_PAIRS,
)
_DEVICE = _Codec(Device)
_SANDBOX = _Codec(Sandbox, waived=_STRINGS)
_MOUNT = _Codec(Mount, kind=_enum(MountKind))
_ULIMIT = _Codec(Ulimit)
_HEALTHCHECK = _Codec(Healthcheck, test=_STRINGS)
_RESTART = _Codec(RestartPolicy, kind=_enum(RestartKind))
_SECURITY = _Codec(
    Security,
    cap_add=_STRINGS,
    cap_drop=_STRINGS,
    seccomp=(_encode_seccomp, _decode_seccomp),
    masked_paths=_STRINGS,
    read_only_paths=_STRINGS,
    sandbox=_nested(_SANDBOX),
)
_LOG = _Codec(LogConfig)
_OVERLAY = _Codec(OverlayLayers, lowers=_STRINGS)
_ROOT_FILESYSTEM = _Codec(RootFilesystem, overlays=_list_of(_OVERLAY))
_IMAGE = _Codec(
    ImageConfig,
    env=_PAIRS,
    entrypoint=_STRINGS,
    command=_STRINGS,
    labels=_PAIRS,
    healthcheck=_nested(_HEALTHCHECK),
)
_CONFIG = _Codec(
    ContainerConfig,
    command=_STRINGS,
    entrypoint=_STRINGS,
    env=_PAIRS,
    groups=_STRINGS,
    labels=_PAIRS,
    tty_size=_STRINGS,
    mounts=_list_of(_MOUNT),
    ulimits=_list_of(_ULIMIT),
    sysctls=_PAIRS,
    extra_hosts=_PAIRS,
    restart=_nested(_RESTART),
    healthcheck=_nested(_HEALTHCHECK),
    security=_nested(_SECURITY),
    resources=_nested(_RESOURCES),
    devices=_list_of(_DEVICE),
    log=_nested(_LOG),
)

_dump = json.JSONEncoder(separators=(",", ":")).encode


def encode_config(config: ContainerConfig) -> str:
    """Return a container config as JSON; always ASCII, so text that is not UTF-8 survives."""
    return _dump(_CONFIG.encode(config))


@lru_cache(maxsize=256)
def decode_config(text: str) -> ContainerConfig:
    """Return the container config of `encode_config`, or raise `InvalidSpecError`."""
    return _decoded(_CONFIG, text)


@lru_cache(maxsize=64)
def encode_image_config(config: ImageConfig) -> str:
    """Return an image config as JSON."""
    return _dump(_IMAGE.encode(config))


@lru_cache(maxsize=256)
def decode_image_config(text: str) -> ImageConfig:
    """Return the image config of `encode_image_config`, or raise `InvalidSpecError`."""
    return _decoded(_IMAGE, text)


@lru_cache(maxsize=64)
def encode_root_filesystem(root: RootFilesystem) -> str:
    """Return a root file system as JSON."""
    return _dump(_ROOT_FILESYSTEM.encode(root))


@lru_cache(maxsize=256)
def decode_root_filesystem(text: str) -> RootFilesystem:
    """Return the root file system of `encode_root_filesystem`, or raise `InvalidSpecError`."""
    return _decoded(_ROOT_FILESYSTEM, text)


def _decoded(codec: _Codec[T], text: str) -> T:
    try:
        return codec.decode(json.loads(text))
    except InvalidSpecError:
        raise
    except (TypeError, ValueError, AttributeError, RecursionError) as error:
        raise InvalidSpecError(field="recorded config", reason=f"cannot be read: {error}") from error
