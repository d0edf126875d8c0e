"""What a container's process is: its arguments, environment, directory and stop signal.

Docker's rules for how a container's config overrides its image's (docs of `docker run`
and of Dockerfile's ENTRYPOINT and CMD). Who it runs as is `identity`'s business.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Final

from container_kit._plan.ops import Exec
from container_kit._spec.container_config import ContainerConfig, ProcessConfig
from container_kit._spec.image_config import ImageConfig
from container_kit._spec.paths import ContainerPath
from container_kit.errors import InvalidCommandError

DEFAULT_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_SIGTERM = 15


def argv_of(config: ContainerConfig, image: ImageConfig) -> tuple[str, ...]:
    """Return the arguments of a container's process, the command itself first.

    An entrypoint of the config's own drops the image's command along with its entrypoint.
    """
    if config.entrypoint is not None:
        argv = (*config.entrypoint, *config.command)
    else:
        argv = (*image.entrypoint, *(config.command or image.command))
    return _checked(argv)


def environment_of(
    config: ContainerConfig,
    image: ImageConfig,
    *,
    hostname: str,
    home: str,
    terminal: bool,
    process: ProcessConfig | None = None,
) -> dict[str, str]:
    """Return the environment: defaults, then the image's, the container's, and the further process's own."""
    defaults = {"PATH": DEFAULT_PATH}
    if hostname:
        defaults["HOSTNAME"] = hostname
    if terminal:
        defaults["TERM"] = "xterm"
    defaults["HOME"] = home
    return {**defaults, **dict(image.env), **dict(config.env), **dict(process.env if process else ())}


def working_dir_of(config: ContainerConfig, image: ImageConfig, process: ProcessConfig | None = None) -> ContainerPath:
    """Return the working directory: the first that is given."""
    own = process.working_dir if process else None
    return own or config.working_dir or image.working_dir or ContainerPath("/")


def stop_signal_of(config: ContainerConfig, image: ImageConfig) -> int:
    """Return the signal that asks the container to end."""
    return config.stop_signal or image.stop_signal or _SIGTERM


def exec_step(argv: tuple[str, ...], environment: Mapping[str, str]) -> Exec:
    """Return the last step: the command, looked up in the container's own PATH when it has no slash."""
    _checked(argv)
    return Exec(
        candidates=_candidates(argv[0], environment.get("PATH", "")),
        argv=argv,
        env=tuple(f"{name}={value}" for name, value in environment.items()),
    )


@lru_cache(maxsize=256)
def _candidates(command: str, path: str) -> tuple[ContainerPath, ...]:
    if "/" in command:
        return (ContainerPath(command),)
    # A relative entry would look in the working directory, which the caller may not have meant.
    folders = [folder for folder in path.split(":") if folder.startswith("/")]
    return tuple(
        ContainerPath(f"{folder.rstrip('/')}/{command}") for folder in dict.fromkeys(folders or DEFAULT_PATH.split(":"))
    )


def _checked(argv: tuple[str, ...]) -> tuple[str, ...]:
    if not argv or not argv[0]:
        reason = "there is nothing to run: neither the container nor its image has a command"
        raise InvalidCommandError(field="command", value=list(argv), reason=reason, hint="pass a command")
    return argv
