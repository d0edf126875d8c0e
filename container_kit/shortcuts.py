"""The short ways in: `run` a command to its end, or `start` a container and use it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Literal, Unpack, overload

from container_kit import _options
from container_kit._runtime import start as _start
from container_kit._runtime.messages import ExitFlag
from container_kit._runtime.state_file import Usage
from container_kit._spec.options import ContainerOptions
from container_kit.completed import Completed
from container_kit.container import Container
from container_kit.engine import Engine, default_engine
from container_kit.errors import InvalidSpecError
from container_kit.image import Image
from container_kit.interior import MAX_OUTPUT
from container_kit.wait import Condition, await_condition


@overload
def run(
    image: Image | str,
    command: Sequence[str] | None = ...,
    *,
    input: bytes | str | None = ...,
    timeout: float | None = ...,
    text: Literal[False] = ...,
    check: bool = ...,
    max_output: int = ...,
    engine: Engine | None = ...,
    **options: Unpack[ContainerOptions],
) -> Completed[bytes]: ...


@overload
def run(
    image: Image | str,
    command: Sequence[str] | None = ...,
    *,
    input: bytes | str | None = ...,
    timeout: float | None = ...,
    text: Literal[True],
    check: bool = ...,
    max_output: int = ...,
    engine: Engine | None = ...,
    **options: Unpack[ContainerOptions],
) -> Completed[str]: ...


def run(
    image: Image | str,
    command: Sequence[str] | None = None,
    *,
    input: bytes | str | None = None,  # noqa: A002  # subprocess's word
    timeout: float | None = None,
    text: bool = False,
    check: bool = False,
    max_output: int = MAX_OUTPUT,
    engine: Engine | None = None,
    **options: Unpack[ContainerOptions],
) -> Completed[bytes] | Completed[str]:
    """Run a command in a new container to its end, and remove the container. `subprocess.run`, contained.

    Args:
        image: what the root file system is made of.
        command: arguments; None leaves it to the image.
        input: what the command reads on stdin; None: nothing.
        timeout: seconds; then everything in the container is killed, and `timed_out` is set. So it is at the end of
            the option `time_limit`, which the container's monitor keeps.
        text: decode output as UTF-8, with replacement characters.
        check: raise like `Completed.check_returncode`.
        max_output: bytes kept of each stream; the rest is dropped and `truncated` is set.
        engine: where to run; None: the default engine.
        options: see `ContainerOptions`.

    Raises:
        InvalidSpecError: an option makes no sense; `field` names it.
        CommandNotFoundError, CommandNotExecutableError: the command cannot be executed.
        LaunchError: the container could not be made; `step` and `op` say where, `hint` what to try.
    """
    for option in ("detach", "tty", "stdin", "restart", "remove"):
        if options.get(option):
            raise InvalidSpecError(field=option, reason="run collects the output of one run: use start")
    engine = engine or default_engine()
    site = engine.site
    site.mark("begin")
    options["remove"] = True
    begin = partial(
        _start.run_captured,
        site,
        named=options.get("name") is not None,
        data=_options.as_bytes(input),
        timeout=timeout,
        limit=max_output,
    )
    record, (ended, capture, timed_out) = _options.begin(site, image, command, options, begin)
    if ended.flags & ExitFlag.TIME_LIMIT:
        timed_out, timeout = True, record.config.time_limit
    return Completed.collect(
        command if command is not None else record.image.command,
        ended.exit_code or 0,
        capture,
        text=text,
        check=check,
        timed_out=timed_out,
        timeout=timeout,
        oom_killed=bool(ended.flags & ExitFlag.OOM),
        usage=Usage.of(*ended.usage),
    )


def start(
    image: Image | str,
    command: Sequence[str] | None = None,
    *,
    wait: Condition | None = None,
    engine: Engine | None = None,
    **options: Unpack[ContainerOptions],
) -> Container:
    """Start a container and return it when its command runs and, if asked for, a condition holds.

    Unless `detach=True`, the container ends with this process, however that ends, and
    leaves nothing behind.

    Args:
        image: what the root file system is made of.
        command: arguments; None leaves it to the image.
        wait: a condition, e.g. `wait.port(5432).within(30)`.
        engine: where to run; None: the default engine.
        options: see `ContainerOptions`.

    Raises:
        ContainerKitError: as `run`; nothing is left of the container.
        WaitFailedError: it ended while being waited for; `log_tail` has its last words.
        WaitTimeoutError: the condition did not become true in time.
    """
    engine = engine or default_engine()
    begin = partial(_start.start_new, engine.site, named=options.get("name") is not None)
    _, record = _options.begin(engine.site, image, command, options, begin)
    container = Container(record.id, engine)
    try:
        if wait is not None:
            await_condition(container, wait)
    except BaseException:
        container.remove(force=True, missing_ok=True)
        raise
    return container


def shell(script: str) -> list[str]:
    """Return the command that lets the container's /bin/sh run a script."""
    return ["/bin/sh", "-c", script]
