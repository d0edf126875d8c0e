"""Health checks, restart policies and log limits."""

from __future__ import annotations

import math

import pytest

from container_kit._spec.healthcheck import Healthcheck, RestartKind, RestartPolicy, parse_restart_policy
from container_kit._spec.log_config import LogConfig
from container_kit.errors import InvalidSpecError


def test_shell_form_runs_the_containers_shell() -> None:
    """A command line is a command for /bin/sh."""
    assert ("/bin/sh", "-c", "curl -f localhost") == Healthcheck.shell("curl -f localhost").test


def test_none_switches_the_images_check_off() -> None:
    """A disabled check is something else than no check: the latter leaves it to the image."""
    assert Healthcheck.none().disabled
    assert not Healthcheck(("true",)).disabled


@pytest.mark.parametrize("field", ["interval", "timeout", "start_interval"])
@pytest.mark.parametrize("seconds", [0.0, -1.0, math.inf, math.nan])
def test_durations_must_be_positive_and_finite(field: str, seconds: float) -> None:
    """A check every 0 seconds would be a busy loop."""
    with pytest.raises(InvalidSpecError, match=field):
        Healthcheck(("true",), **{field: seconds})  # type: ignore[arg-type]


def test_at_least_one_failure_is_needed() -> None:
    """Unhealthy after no failure at all has no meaning."""
    with pytest.raises(InvalidSpecError, match="retries"):
        Healthcheck(("true",), retries=0)


@pytest.mark.parametrize(
    ("text", "policy"),
    [
        ("no", RestartPolicy.no()),
        ("always", RestartPolicy.always()),
        ("unless-stopped", RestartPolicy.unless_stopped()),
        ("on-failure", RestartPolicy.on_failure()),
        ("on-failure:3", RestartPolicy.on_failure(3)),
    ],
)
def test_restart_policy_reads_and_writes_dockers_text(text: str, policy: RestartPolicy) -> None:
    """Parsing and printing are inverse."""
    assert policy == parse_restart_policy(text)
    assert text == str(policy)


@pytest.mark.parametrize("text", ["", "sometimes", "always:3", "on-failure:", "on-failure:-1", "on-failure:x", "no:1"])
def test_other_restart_texts_are_refused(text: str) -> None:
    """Only on-failure has a bound."""
    with pytest.raises(InvalidSpecError, match="restart"):
        parse_restart_policy(text)


def test_maximum_without_on_failure_cannot_exist() -> None:
    """The class itself checks."""
    with pytest.raises(InvalidSpecError, match="only on-failure"):
        RestartPolicy(kind=RestartKind.ALWAYS, maximum=2)


def test_log_is_bounded_and_reads_sizes_as_text() -> None:
    """There is no unlimited log."""
    assert LogConfig().max_bytes == 10 << 20
    assert LogConfig(max_bytes="1m").max_bytes == 1 << 20
    with pytest.raises(InvalidSpecError, match="max_bytes"):
        LogConfig(max_bytes=100)
    with pytest.raises(InvalidSpecError, match="max_files"):
        LogConfig(max_files=0)
