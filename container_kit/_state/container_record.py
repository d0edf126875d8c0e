"""One row of the container table as a value.

A record is intent and history: what was asked for, how far it was carried out, how the
last run ended. Whether a container runs *now* is never recorded, that is asked of the
kernel.
"""

from __future__ import annotations

import enum
import json
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, Final

import attrs

from container_kit._spec.codec import (
    decode_config,
    decode_image_config,
    decode_root_filesystem,
    encode_config,
    encode_image_config,
    encode_root_filesystem,
)
from container_kit._spec.container_config import ContainerConfig
from container_kit._spec.ids import ContainerId, check_name
from container_kit._spec.image_config import ImageConfig
from container_kit._spec.root_filesystem import RootFilesystem

UNRECORDED_CGROUP: Final = "?"  # as the migration says


class Phase(enum.Enum):
    """How far the intent was carried out. `REMOVING` is finished by whoever finds it."""

    CREATED = "created"
    STARTED = "started"
    EXITED = "exited"
    REMOVING = "removing"


@attrs.frozen(kw_only=True)
class ExitRecord:
    """How a container's last run ended; the numbers are those of the monitor's state file.

    `wait_status` is that of wait(2), None when nobody saw the end (`reason` says why, e.g.
    "host rebooted"); `flags` are CK_EXIT_*; times are ns since the epoch; usage is user
    and system µs and the largest resident set in KiB.
    """

    wait_status: int | None = None
    flags: int = 0
    started_ns: int = 0
    finished_ns: int = 0
    restarts: int = 0
    usage: tuple[int, int, int] = (0, 0, 0)
    reason: str = ""

    @property
    def exit_code(self) -> int | None:
        """The status of a program that exited, 128 + n of one ended by signal n, as in Docker."""
        if self.wait_status is None:
            return None
        signal = self.wait_status & 0x7F
        return 128 + signal if signal else self.wait_status >> 8 & 0xFF


def encode_exit(ended: ExitRecord) -> str:
    """Return an exit record as JSON."""
    return json.dumps(attrs.asdict(ended, recurse=False), separators=(",", ":"))


def decode_exit(text: str) -> ExitRecord:
    """Return the exit record of `encode_exit`; keys of newer versions are ignored."""
    fields: dict[str, Any] = json.loads(text)
    known = {field.name for field in attrs.fields(ExitRecord)}
    if "usage" in fields:
        fields["usage"] = tuple(fields["usage"])
    return ExitRecord(**{key: value for key, value in fields.items() if key in known})


@attrs.frozen(kw_only=True, slots=False)
class ContainerRecord:
    """One container's row. The JSON columns are decoded when they are first looked at: lists stay fast.

    `image_id` is the digest of the manifest it was made from, empty for one that is not from the store; `cgroup` the
    directory of its control group since the last start, empty for none.
    """

    id: ContainerId
    name: str
    phase: Phase
    created_time: float
    image_name: str
    config_json: str = attrs.field(repr=False)
    image_json: str = attrs.field(repr=False)
    root_json: str = attrs.field(repr=False)
    owner: str = ""
    monitor: str = ""
    stopped_by_user: bool = False
    exit_json: str | None = None
    image_id: str = ""
    cgroup: str = ""

    @classmethod
    def new(
        cls,
        container: ContainerId,
        name: str,
        *,
        config: ContainerConfig,
        image: ImageConfig,
        root: RootFilesystem,
        image_name: str = "",
        image_id: str = "",
        owner: str = "",
        monitor: str = "",
        created_time: float,
    ) -> ContainerRecord:
        """Return the record of a container that is about to be made."""
        record = cls(
            id=container,
            name=check_name(name),
            phase=Phase.CREATED,
            created_time=created_time,
            image_name=image_name,
            image_id=image_id,
            config_json=encode_config(config),
            image_json=encode_image_config(image),
            root_json=encode_root_filesystem(root),
            owner=owner,
            monitor=monitor,
        )
        vars(record).update(config=config, image=image, root=root)  # what decoding would bring back
        return record

    @property
    def created_at(self) -> datetime:
        """When the container was made, aware UTC."""
        return datetime.fromtimestamp(self.created_time, UTC)

    @cached_property
    def config(self) -> ContainerConfig:
        """What was asked for."""
        return decode_config(self.config_json)

    @cached_property
    def image(self) -> ImageConfig:
        """What the image said at that time."""
        return decode_image_config(self.image_json)

    @cached_property
    def root(self) -> RootFilesystem:
        """What the container's root is put together from."""
        return decode_root_filesystem(self.root_json)

    @cached_property
    def exit(self) -> ExitRecord | None:
        """How the last run ended; None before the first end."""
        if self.exit_json is None:
            return None
        return decode_exit(self.exit_json)
