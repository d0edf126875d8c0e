"""Where time goes: marks at the end of each phase of an operation, for the benchmark.

Off unless a list is installed; then `mark` costs one clock reading.
"""

from __future__ import annotations

import time

import attrs


@attrs.frozen
class Mark:
    """A phase and when it ended, in ns on CLOCK_MONOTONIC."""

    phase: str
    at_ns: int


class Stopwatch:
    """Collects marks; the one of an engine is `None` unless somebody measures."""

    def __init__(self) -> None:
        self.marks: list[Mark] = []

    def mark(self, phase: str) -> None:
        """Note that a phase ended now."""
        self.marks.append(Mark(phase, time.perf_counter_ns()))

    def durations(self) -> dict[str, int]:
        """Return the ns from each mark to the one after, summed by the later mark's phase, and clear."""
        total: dict[str, int] = {}
        for before, after in zip(self.marks, self.marks[1:], strict=False):
            total[after.phase] = total.get(after.phase, 0) + after.at_ns - before.at_ns
        self.marks.clear()
        return total
