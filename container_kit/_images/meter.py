"""Counts the bytes of one transfer and says so now and then.

The first and the last event of a subject are always told, those between at most every 50 ms.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Literal, TypeAlias

from container_kit._spec.progress import Progress

Action: TypeAlias = Literal["resolve", "download", "upload", "verify", "unpack", "pack", "done"]

_PAUSE = 0.05  # seconds


class Meter:
    """Reports how far one action on one subject has come. Used by one thread at a time.

    Args:
        report: Where events go.
        action: What is done.
        subject: What it is done to: a short digest, or a name.
        total: Its size in bytes, where that is known.
    """

    def __init__(
        self, report: Callable[[Progress], None], action: Action, *, subject: str, total: int | None = None
    ) -> None:
        self._report = report
        self._action: Action = action
        self._subject = subject
        self._total = total
        self._current = 0
        self._told_at = 0.0

    def advance(self, current: int) -> None:
        """Note that `current` bytes are done; a smaller number than before means that it began again."""
        self._current = current
        now = time.monotonic()
        if now - self._told_at >= _PAUSE:
            self._told_at = now
            self._report(self._event(finished=False))

    def finish(self, message: str = "") -> None:
        """Report that it is done; `message` says what was special about it."""
        if self._total is not None:
            self._current = self._total
        self._report(self._event(finished=True, message=message))

    def _event(self, *, finished: bool, message: str = "") -> Progress:
        return Progress(
            action=self._action,
            subject=self._subject,
            current=self._current,
            total=self._total,
            finished=finished,
            message=message,
        )
