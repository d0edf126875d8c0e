"""Where time goes: the phases of an operation, for the benchmark.

Off unless an engine is given a stopwatch; then a mark costs one clock reading.
"""

from __future__ import annotations

import time


class Stopwatch:
    """Sums the ns spent in each phase. The time between two marks belongs to the later one."""

    def __init__(self) -> None:
        self._spent: dict[str, int] = {}
        self._last_ns: int | None = None

    def mark(self, phase: str) -> None:
        """Note that a phase ended now."""
        self.mark_parts(phase)

    def mark_parts(self, phase: str, **parts_ns: int) -> None:
        """Note that a phase ended now of which others, measured elsewhere, were parts."""
        now = time.perf_counter_ns()
        if self._last_ns is not None:
            for part, nanoseconds in parts_ns.items():
                self._add(part, nanoseconds)
            self._add(phase, now - self._last_ns - sum(parts_ns.values()))
        self._last_ns = now

    def durations(self) -> dict[str, int]:
        """Return the ns of each phase since the last call, and start over."""
        spent, self._spent, self._last_ns = self._spent, {}, None
        return spent

    def _add(self, phase: str, nanoseconds: int) -> None:
        self._spent[phase] = self._spent.get(phase, 0) + nanoseconds
