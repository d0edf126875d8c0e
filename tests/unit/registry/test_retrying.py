"""Pauses between attempts."""

from __future__ import annotations

import pytest

from container_kit._registry.connection_errors import ConnectionFailedError, Trouble
from container_kit._registry.retrying import Attempts, Patience, is_transient
from container_kit.errors import AuthenticationError, ManifestUnknownError, RateLimitedError, RegistryError

PASSING = {Trouble.NAME, Trouble.REFUSED, Trouble.STALLED, Trouble.BROKEN}
ILL = RegistryError(url="x", status=500)


@pytest.mark.parametrize(("jitter", "least"), [(1.0, 1.0), (0.0, 0.5)])
def test_pauses_double_up_to_half_a_minute(jitter: float, least: float) -> None:
    """With jitter they are between half and all of that."""
    patience = Patience(jitter=lambda: jitter)

    pauses = [patience.before_attempt(number, ILL) for number in range(1, 11)]

    assert [least * pause for pause in (0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30, 30)] == pytest.approx(pauses)


def test_attempts_are_counted_and_may_begin_anew() -> None:
    """The last error comes out."""
    waited: list[float] = []
    attempts = Attempts(Patience(jitter=lambda: 1.0), 3, waited.append)

    attempts.pause_or_raise(ILL)
    attempts.pause_or_raise(ILL)
    attempts.begin_anew()
    attempts.pause_or_raise(ILL)
    attempts.pause_or_raise(ILL)
    with pytest.raises(RegistryError):
        attempts.pause_or_raise(ILL)

    assert [0.2, 0.4, 0.2, 0.4] == waited


@pytest.mark.parametrize(
    ("error", "transient"),
    [
        (RegistryError(url="x", status=503), True),
        (RegistryError(url="x", status=501), False),
        (RegistryError(url="x"), False),
        (RateLimitedError(url="x", status=429), True),
        (AuthenticationError(url="x", status=401), False),
        (ManifestUnknownError(url="x", status=404), False),
        *((ConnectionFailedError(url="x", trouble=one), True) for one in PASSING),
        *((ConnectionFailedError(url="x", trouble=one), False) for one in set(Trouble) - PASSING),
    ],
)
def test_only_what_may_pass_is_tried_again(error: RegistryError, transient: bool) -> None:
    """A certificate does not become trusted by waiting."""
    assert transient == is_transient(error)
