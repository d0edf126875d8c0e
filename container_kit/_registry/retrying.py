"""When a request is repeated, and after which pause.

All requests of this package may be repeated: GET and HEAD change nothing, a manifest or blob that is PUT twice
is the same (its name is its digest), an upload that is begun twice is one session more that the registry
forgets. A PATCH is never repeated blindly: the registry is asked first how far it got.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable

import attrs

from container_kit._registry.connection_errors import ConnectionFailedError, Trouble
from container_kit.errors import RateLimitedError, RegistryError

REPEATED = frozenset({408, 425, 429, 500, 502, 503, 504})
_MOST_PAUSE = 30.0
_MOST_RETRY_AFTER = 60.0
_PASSING = frozenset({Trouble.NAME, Trouble.REFUSED, Trouble.STALLED, Trouble.BROKEN})

_log = logging.getLogger("container_kit.registry")


@attrs.frozen(kw_only=True)
class Patience:
    """How often and how long: `attempts` in all, pauses from `first_pause` s on, doubled each time, with jitter.

    `stall_timeout`: seconds without (next to) any bytes after which a connection is given up; `document_timeout`:
    seconds of waiting for a whole answer that is no blob. `pause` (None: by the client, until it is closed), `jitter`
    (0 to 1) and the clocks are replaced by tests.
    """

    attempts: int = 5
    first_pause: float = 0.2
    connect_timeout: float = 10.0
    stall_timeout: float = 30.0
    document_timeout: float = 60.0  # 70 kB/s for the largest, and most have a few kB
    pause: Callable[[float], object] | None = None
    jitter: Callable[[], float] = random.random
    monotonic: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time

    def before_attempt(self, number: int, error: RegistryError) -> float:
        """Return the seconds to wait after `number` failures in a row, the last of which was `error`."""
        if isinstance(error, RateLimitedError) and error.retry_after is not None:
            return min(max(error.retry_after, 0.0), _MOST_RETRY_AFTER)
        pause = min(self.first_pause * 2.0 ** (number - 1), _MOST_PAUSE)
        return pause * (0.5 + self.jitter() / 2)


class Attempts:
    """The attempts at one thing: counts failures, pauses between them, and raises the last one."""

    def __init__(self, patience: Patience, most: int, pause: Callable[[float], object]) -> None:
        self._patience = patience
        self._most = most
        self._pause = pause
        self._failed = 0

    def begin_anew(self) -> None:
        """Forget the failures: there was progress."""
        self._failed = 0

    def pause_or_raise(self, error: RegistryError) -> None:
        """Wait before the next attempt; raise the error when there is none, or when another would fail alike."""
        self._failed += 1
        if self._failed >= self._most or not is_transient(error):
            raise error
        seconds = self._patience.before_attempt(self._failed, error)
        _log.info("%s; again in %.1f s", error, seconds)
        self._pause(seconds)


def is_transient(error: RegistryError) -> bool:
    """Tell whether another attempt may succeed."""
    if isinstance(error, ConnectionFailedError):
        return error.trouble in _PASSING
    return isinstance(error, RateLimitedError) or error.status in REPEATED
