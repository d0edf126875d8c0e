"""Readiness as an expression: `(wait.port(5432) & wait.log(r"ready")).within(30)`.

A condition asks the container's present truth again and again. When the container ends
while it is waited for, waiting fails at once, with the end of the log in the error.
"""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

import attrs

from container_kit.errors import WaitFailedError, WaitTimeoutError

if TYPE_CHECKING:
    from container_kit.container import Container

_DEFAULT_SECONDS = 60.0


class Condition:
    """Something that becomes true of a container; combine with `&` and `|`."""

    def holds(self, container: Container) -> bool:
        """Say whether it is true now."""
        raise NotImplementedError

    def within(self, seconds: float) -> Within:
        """Return the condition with a time limit of its own."""
        return Within(self, seconds)

    def __and__(self, other: Condition) -> All:
        return All((self, other))

    def __or__(self, other: Condition) -> Any:
        return Any((self, other))


@attrs.frozen
class Log(Condition):
    """A line of the log matches."""

    pattern: re.Pattern[str]

    def holds(self, container: Container) -> bool:
        """Search all lines that are there."""
        return any(self.pattern.search(line.text) for line in container.logs())

    def __str__(self) -> str:
        return f"a log line that matches {self.pattern.pattern!r}"


@attrs.frozen
class Port(Condition):
    """Something listens on a TCP port inside the container."""

    number: int

    def holds(self, container: Container) -> bool:
        """Look into the container's table of sockets; nothing connects."""
        return self.number in container.listening_ports()

    def __str__(self) -> str:
        return f"port {self.number}"


@attrs.frozen
class Healthy(Condition):
    """The health check succeeds."""

    def holds(self, container: Container) -> bool:
        """Ask for the health check's last word."""
        return container.health == "healthy"

    def __str__(self) -> str:
        return "the health check"


@attrs.frozen
class Exit(Condition):
    """The container has ended, with a certain code if one is given."""

    code: int | None = None

    def holds(self, container: Container) -> bool:
        """Compare the exit code."""
        ended = container.exit_code
        return ended is not None and (self.code is None or ended == self.code)

    def __str__(self) -> str:
        return "the end" if self.code is None else f"the end with code {self.code}"


@attrs.frozen
class All(Condition):
    """Every part holds (`&`)."""

    parts: tuple[Condition, ...]

    def holds(self, container: Container) -> bool:
        """Ask every part."""
        return all(part.holds(container) for part in self.parts)

    def __str__(self) -> str:
        return " and ".join(map(str, self.parts))


@attrs.frozen
class Any(Condition):
    """At least one part holds (`|`)."""

    parts: tuple[Condition, ...]

    def holds(self, container: Container) -> bool:
        """Ask until one says yes."""
        return any(part.holds(container) for part in self.parts)

    def __str__(self) -> str:
        return " or ".join(map(str, self.parts))


@attrs.frozen
class Within(Condition):
    """A condition with a time limit."""

    condition: Condition
    seconds: float

    def holds(self, container: Container) -> bool:
        """Ask the condition."""
        return self.condition.holds(container)

    def __str__(self) -> str:
        return str(self.condition)


def log(pattern: str | re.Pattern[str]) -> Log:
    """Wait for a log line in which the regular expression is found."""
    return Log(re.compile(pattern))


def port(number: int) -> Port:
    """Wait until something listens on a TCP port inside the container."""
    return Port(number)


def healthy() -> Healthy:
    """Wait until the health check succeeds."""
    return Healthy()


def exit(code: int | None = None) -> Exit:  # noqa: A001  # read as wait.exit()
    """Wait until the container has ended, with `code` if given."""
    return Exit(code)


def await_condition(container: Container, condition: Condition, timeout: float | None = None) -> None:
    """Wait until a condition holds.

    Args:
        container: of which.
        condition: what.
        timeout: seconds; None: the condition's own limit, or 60.

    Raises:
        WaitFailedError: the container ended before.
        WaitTimeoutError: the time is up.
    """
    own = condition.seconds if isinstance(condition, Within) else _DEFAULT_SECONDS
    limit = own if timeout is None else timeout
    deadline = time.monotonic() + limit
    pause = container.pauser()
    while True:
        ended = container.exit_code  # before the condition: what an ended container wrote is all there
        if condition.holds(container):
            return
        if ended is not None:
            raise WaitFailedError(container=container.name, exit_code=ended, log_tail=container.log_tail())
        if time.monotonic() >= deadline:
            raise WaitTimeoutError(
                waiting_for=f"{condition} of container {container.name}", timeout=limit, log_tail=container.log_tail()
            )
        pause()
