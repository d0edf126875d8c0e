"""What an image says about how to run it: defaults that a container config may override.

An image is untrusted content (OCI image-spec, config.md): nothing here decides what a
container may do. The user stays text until a launch needs it, so that an image with a
strange one can still be listed and overridden.
"""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from container_kit._spec.healthcheck import Healthcheck
from container_kit._spec.paths import AnyPath, ContainerPath, parse_container_path
from container_kit._spec.text import Pairs, check_env, check_labels, check_line, check_strings
from container_kit.errors import InvalidSpecError


def _entrypoint_of(words: Sequence[str]) -> tuple[str, ...]:
    return check_strings(words, "image entrypoint")


def _command_of(words: Sequence[str]) -> tuple[str, ...]:
    return check_strings(words, "image command")


def _working_dir_of(path: AnyPath | None) -> ContainerPath | None:
    return None if path is None else parse_container_path(path, "image working_dir")


@attrs.frozen(kw_only=True)
class ImageConfig:
    """An image's environment, entrypoint, command and so on; all of it may be absent."""

    env: Pairs = ()
    entrypoint: tuple[str, ...] = attrs.field(default=(), converter=_entrypoint_of)
    command: tuple[str, ...] = attrs.field(default=(), converter=_command_of)
    working_dir: ContainerPath | None = attrs.field(default=None, converter=_working_dir_of)
    user: str | None = None
    stop_signal: int | None = None
    labels: Pairs = ()
    healthcheck: Healthcheck | None = None
    architecture: str | None = None

    def __attrs_post_init__(self) -> None:
        if self.env:
            check_env(self.env)
        if self.labels:
            check_labels(self.labels)
        if self.user is not None:
            check_line(self.user, "image user")
        if self.stop_signal is not None and not 1 <= self.stop_signal <= 64:
            raise InvalidSpecError(field="image stop_signal", value=self.stop_signal, reason="is not a signal")
