"""CPU time in percent: what was used since the reading before, over the time that passed."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict

from container_kit._linux.processes import ProcessId

_MOST_RUNS = 4096


class CpuClock:
    """Remembers the last reading of each run. Thread-safe; of many runs, those read last are remembered."""

    def __init__(self) -> None:
        """Know no run yet."""
        self._lock = threading.Lock()
        self._readings: OrderedDict[ProcessId, tuple[float, float]] = OrderedDict()

    def percent(self, run: ProcessId, cpu_seconds: float) -> float | None:
        """Note a reading and return the percentage since the one before; None when there was none.

        Args:
            run: the container's PID 1: another run counts from zero.
            cpu_seconds: CPU time used so far.
        """
        now = time.monotonic()
        with self._lock:
            before = self._readings.pop(run, None)
            self._readings[run] = now, cpu_seconds
            if len(self._readings) > _MOST_RUNS:
                self._readings.popitem(last=False)
        if before is None or now <= before[0]:
            return None
        # Where processes are added up, those that ended take their time with them.
        return max(0.0, cpu_seconds - before[1]) / (now - before[0]) * 100
