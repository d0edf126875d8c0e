"""Options as callers write them → configs: the one place where loose types become exact ones.

`ContainerOptions` is the typed set of keywords (PEP 692) that `run`, `start` and
`create` share; how each is read is in `option_readers`, what it means in
`ContainerConfig`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias, TypedDict

from container_kit._spec.container_config import ContainerConfig, NetworkMode, ProcessConfig
from container_kit._spec.devices import Device
from container_kit._spec.healthcheck import Healthcheck, RestartPolicy
from container_kit._spec.log_config import LogConfig
from container_kit._spec.mounts import Mount
from container_kit._spec.option_readers import READERS, read_command
from container_kit._spec.paths import AnyPath
from container_kit._spec.resources import Resources
from container_kit._spec.security import Security
from container_kit._spec.text import Pairs
from container_kit._spec.ulimits import Ulimit
from container_kit.errors import UnknownOptionError

PullPolicy: TypeAlias = Literal["missing", "always", "never", "newer"]
ABOUT_THE_IMAGE = ("platform", "pull")  # and not part of a config


class ContainerOptions(TypedDict, total=False):
    """Everything that can be said about a container besides its image and command; None is as good as absent."""

    name: str | None
    env: Mapping[str, str] | Sequence[str] | None
    env_file: AnyPath | Sequence[AnyPath] | None
    working_dir: AnyPath | None
    user: str | int | None
    groups: Sequence[str | int] | None
    entrypoint: Sequence[str] | None
    hostname: str | None
    domainname: str | None
    labels: Mapping[str, str] | Sequence[str] | None
    mounts: Sequence[Mount] | None
    tmpfs: Mapping[str, str] | Sequence[str] | None
    stdin: bool | None
    tty: bool | None
    tty_size: tuple[int, int] | None
    init: bool | None
    detach: bool | None
    remove: bool | None
    restart: RestartPolicy | str | None
    healthcheck: Healthcheck | None
    stop_signal: int | str | None
    stop_timeout: float | None
    ulimits: Sequence[Ulimit] | Mapping[str, int | tuple[int, int]] | None
    sysctls: Mapping[str, str] | None
    shm_size: int | str | None
    extra_hosts: Mapping[str, str] | None
    read_only: bool | None
    network: NetworkMode | None
    security: Security | None
    resources: Resources | None
    devices: Sequence[str | Device] | None
    cgroup_parent: str | None
    time_limit: float | None
    log: LogConfig | None
    platform: str | None
    pull: PullPolicy | None


class ProcessOptions(TypedDict, total=False):
    """Everything that can be said about a further process in a container besides its command."""

    env: Mapping[str, str] | Sequence[str] | None
    working_dir: AnyPath | None
    user: str | int | None
    groups: Sequence[str | int] | None
    tty: bool | None
    tty_size: tuple[int, int] | None
    detach: bool | None


def parse_options(
    command: Sequence[str] | None, options: ContainerOptions, *, env_file_text: tuple[str, ...] = ()
) -> ContainerConfig:
    """Return the config that options ask for.

    Args:
        command: What to run; None or () leaves it to the image.
        options: As the caller gave them. `name`, `platform` and `pull` are checked but are not part of a config;
            `env_file` is read by the caller, its texts come as `env_file_text`.
        env_file_text: Contents of environment files; later ones win, and `env` wins over all.

    Raises:
        InvalidSpecError: An option, named in the error's `field`, cannot be; see its subclasses.
    """
    fields = _read(options, ContainerOptions.__optional_keys__)
    for option in ("name", *ABOUT_THE_IMAGE):
        fields.pop(option, None)
    tmpfs = fields.pop("tmpfs", ())
    if tmpfs:
        fields["mounts"] = (*fields.get("mounts", ()), *tmpfs)
    if env_file_text:
        sources = [*(parse_env_file(text) for text in env_file_text), fields.get("env", ())]
        fields["env"] = tuple(dict(pair for pairs in sources for pair in pairs).items())
    return ContainerConfig(command=read_command(command) if command is not None else (), **fields)


def parse_process_options(command: Sequence[str], options: ProcessOptions) -> ProcessConfig:
    """Return the config of a further process; errors as in `parse_options`."""
    return ProcessConfig(command=read_command(command), **_read(options, ProcessOptions.__optional_keys__))


def parse_env_file(text: str) -> Pairs:
    """Return the variables of an environment file, in Docker's grammar.

    A line is `KEY=VALUE`; everything after the first `=` is the value, quotes included.
    Empty lines and lines that begin with `#` are skipped, and so is `KEY` alone, which
    would stand for the caller's own variable.
    """
    found: dict[str, str] = {}
    for line in text.removeprefix("\ufeff").split("\n"):
        name, equals, value = line.removesuffix("\r").lstrip().partition("=")
        if equals and not name.startswith("#"):
            found[name] = value
    return tuple(found.items())


def _read(options: ContainerOptions | ProcessOptions, known: frozenset[str]) -> dict[str, Any]:
    """Read every option that was given; an unknown one is an error that names its neighbours."""
    fields: dict[str, Any] = {}
    for option, value in options.items():
        if option not in known:
            raise _unknown(option, known)
        if value is not None and option != "env_file":
            fields[option] = READERS[option](value)
    return fields


def _unknown(option: str, known: frozenset[str]) -> UnknownOptionError:
    from difflib import get_close_matches  # only needed on the way to an error

    return UnknownOptionError(value=option, near=tuple(get_close_matches(option, sorted(known))))
