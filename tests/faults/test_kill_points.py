"""SIGKILL of the caller, the monitor or a container's process at any moment leaves nothing that the next open minds.

A sample here, hundreds of points in `make soak`. A failure prints its points; each can be played again with `strike`.
"""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.faults.aftermath import clear, complaints_after
from tests.faults.kill_points import Point, Scene, Stage, scenes, spread, strike, survey
from tests.probes import probe_idmapped_mounts

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_tools("strace")]

SAMPLE = 38
MANY = 300
AT_ONCE = 4


class Blows:
    """Plays points, some at once, and keeps what was reached and what went wrong."""

    def __init__(self, base: Path, image: Path) -> None:
        self.base = base
        self.image = image
        self.reached: list[Point] = []
        self.faults: list[str] = []
        self._numbers = itertools.count(1)

    def fall(self, wanted: dict[Scene, int]) -> None:
        """Strike at so many points of each scene."""
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(self._play, wanted, wanted.values()))

    def _play(self, scene: Scene, count: int) -> None:
        try:
            stage = self._stage()
            points = spread(survey(stage, scene), count)
            clear(stage)
        except Exception as err:  # noqa: BLE001  # the other scenes are played all the same
            self.faults.append(f"{scene}, undisturbed: {type(err).__name__}: {err}")
            return
        for point in points:
            self._strike(point)

    def _strike(self, point: Point) -> None:
        stage = self._stage()
        try:
            outcome = strike(stage, point)
            if outcome.reached(point):
                self.reached.append(point)
            complaints = complaints_after(stage, point, outcome)
        except BaseException as err:  # noqa: BLE001  # each point is judged, also by failed assertions
            complaints = [f"{type(err).__name__}: {err}"]
        self.faults += [f"{point}: {complaint}" for complaint in complaints]

    def _stage(self) -> Stage:
        place = self.base / str(next(self._numbers))
        place.mkdir()
        return Stage(root=place / "s", runtime=place / "r", image=self.image, log=place / "strace")

    def report(self) -> str:
        """Return what failed and where it struck."""
        return "\n".join(["", *self.faults, f"{len(self.reached)} points were reached:", *map(str, self.reached)])


def test_a_kill_at_a_sample_of_points_leaves_nothing(tmp_path: Path, payload_rootfs: Path) -> None:
    """One point of each scene, some two: each scene's middle, and the ends of the first scenes."""
    blows = Blows(tmp_path, payload_rootfs)
    everything = scenes(mapped=not probe_idmapped_mounts())

    blows.fall({scene: 1 + (number < SAMPLE - len(everything)) for number, scene in enumerate(everything)})

    assert [] == blows.faults, blows.report()
    assert len(blows.reached) >= SAMPLE * 0.8, blows.report()


@pytest.mark.soak
def test_a_kill_at_hundreds_of_points_leaves_nothing(tmp_path: Path, payload_rootfs: Path) -> None:
    """Points spread evenly over every scene; at least 200 distinct ones are reached."""
    blows = Blows(tmp_path, payload_rootfs)
    everything = scenes(mapped=not probe_idmapped_mounts())

    blows.fall(dict.fromkeys(everything, MANY // len(everything) + 1))

    assert [] == blows.faults, blows.report()
    assert len(set(blows.reached)) >= 200, blows.report()
