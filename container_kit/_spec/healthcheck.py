"""When a container counts as healthy, and when it is started again."""

from __future__ import annotations

import enum
import math
from collections.abc import Sequence

import attrs

from container_kit._spec.text import check_strings
from container_kit.errors import InvalidSpecError

_LONGEST = 10 * 365 * 86400.0


def check_seconds(value: object, field: str) -> float:
    """Return a duration of at least 0 seconds, or raise."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
        raise InvalidSpecError(field=field, value=value, reason="must be a number of seconds, at least 0")
    return min(float(value), _LONGEST)


def check_timeout(value: object, field: str = "timeout") -> float | None:
    """Return how long to wait at most, in seconds; None, for ever, is fine."""
    return None if value is None else check_seconds(value, field)


def check_count(value: object, field: str, *, least: int = 0) -> int:
    """Return a whole number of at least `least`, or raise."""
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value < 2**31:
        raise InvalidSpecError(field=field, value=value, reason=f"must be a whole number, at least {least}")
    return value


def _test_of(test: Sequence[str]) -> tuple[str, ...]:
    return check_strings(test, "healthcheck test")


@attrs.frozen
class Healthcheck:
    """A command run again and again in the container; status 0 means healthy. Durations are seconds.

    Failures during `start_period` do not count; until the first success in it, the
    command runs every `start_interval`. `retries` failures in a row make the container
    unhealthy.
    """

    test: tuple[str, ...] = attrs.field(converter=_test_of)
    interval: float = attrs.field(default=30.0, kw_only=True)
    timeout: float = attrs.field(default=30.0, kw_only=True)
    retries: int = attrs.field(default=3, kw_only=True)
    start_period: float = attrs.field(default=0.0, kw_only=True)
    start_interval: float = attrs.field(default=5.0, kw_only=True)

    def __attrs_post_init__(self) -> None:
        for name in ("interval", "timeout", "start_interval"):
            if check_seconds(getattr(self, name), f"healthcheck {name}") < 0.001:
                raise InvalidSpecError(field=f"healthcheck {name}", reason="must be at least a millisecond")
        check_seconds(self.start_period, "healthcheck start_period")
        check_count(self.retries, "healthcheck retries", least=1)

    @classmethod
    def shell(
        cls,
        command: str,
        *,
        interval: float = 30.0,
        timeout: float = 30.0,
        retries: int = 3,
        start_period: float = 0.0,
        start_interval: float = 5.0,
    ) -> Healthcheck:
        """Return a check that the container's /bin/sh runs."""
        return cls(
            ("/bin/sh", "-c", command),
            interval=interval,
            timeout=timeout,
            retries=retries,
            start_period=start_period,
            start_interval=start_interval,
        )

    @classmethod
    def none(cls) -> Healthcheck:
        """Return the check that switches the image's off."""
        return cls(())

    @property
    def disabled(self) -> bool:
        """Whether nothing is checked at all."""
        return not self.test


class RestartKind(enum.Enum):
    """When a container that ended is started again; Docker's words."""

    NO = "no"
    ALWAYS = "always"
    ON_FAILURE = "on-failure"
    UNLESS_STOPPED = "unless-stopped"


@attrs.frozen(kw_only=True)
class RestartPolicy:
    """A kind and, for `ON_FAILURE`, the most restarts in a row (0: no bound)."""

    kind: RestartKind = RestartKind.NO
    maximum: int = 0

    def __attrs_post_init__(self) -> None:
        check_count(self.maximum, "restart maximum")
        if self.maximum and self.kind is not RestartKind.ON_FAILURE:
            raise InvalidSpecError(field="restart", value=self.kind.value, reason="only on-failure has a maximum")

    @classmethod
    def no(cls) -> RestartPolicy:
        """Never start again."""
        return cls()

    @classmethod
    def always(cls) -> RestartPolicy:
        """Start again whenever it ended, until it is stopped on request."""
        return cls(kind=RestartKind.ALWAYS)

    @classmethod
    def on_failure(cls, maximum: int = 0) -> RestartPolicy:
        """Start again after a status other than 0, at most `maximum` times in a row (0: no bound)."""
        return cls(kind=RestartKind.ON_FAILURE, maximum=maximum)

    @classmethod
    def unless_stopped(cls) -> RestartPolicy:
        """As `always`, and stay down after a stop even when the engine recovers from a reboot."""
        return cls(kind=RestartKind.UNLESS_STOPPED)

    def __str__(self) -> str:
        return f"{self.kind.value}:{self.maximum}" if self.maximum else self.kind.value


def parse_restart_policy(text: str) -> RestartPolicy:
    """Return the policy of Docker's text form: `no`, `always`, `on-failure`, `on-failure:3`, `unless-stopped`."""
    name, colon, count = text.partition(":")
    kinds = {kind.value: kind for kind in RestartKind}
    if name not in kinds or (colon and not (count.isascii() and count.isdigit())):
        reason = f"must be one of {', '.join(kinds)}, or on-failure:N"
        raise InvalidSpecError(field="restart", value=text, reason=reason)
    return RestartPolicy(kind=kinds[name], maximum=int(count) if colon else 0)
