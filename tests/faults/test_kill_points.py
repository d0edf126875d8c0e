"""SIGKILL of the caller, the monitor or a container's process at any moment leaves nothing that the next open minds.

A sample here, hundreds of points in `make soak`. A failure prints its points; each can be played again with `strike`.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.faults.aftermath import complaints_after, directories_of
from tests.faults.kill_points import Point, Scene, scenes, spread, strike, survey

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_tools("strace")]

SAMPLE = 30
MANY = 300


class Blows:
    """Plays points one after the other and keeps what went wrong."""

    def __init__(self, base: Path, image: Path) -> None:
        self.base = base
        self.image = image
        self.played = 0
        self.reached: list[Point] = []
        self.faults: list[str] = []

    def points_of(self, scene: Scene, count: int) -> list[Point]:
        """Survey a scene and return so many of its points."""
        self.played += 1
        return spread(survey(directories_of(self.base, self.played, self.image), scene), count)

    def strike_all(self, points: Iterable[Point]) -> None:
        """Strike at each point and look at what came of it."""
        for point in points:
            self.played += 1
            stage = directories_of(self.base, self.played, self.image)
            try:
                outcome = strike(stage, point)
                if outcome.reached(point):
                    self.reached.append(point)
                complaints = complaints_after(stage, point, outcome)
            except Exception as err:  # noqa: BLE001  # each point is judged, whatever befell the one before
                complaints = [f"{type(err).__name__}: {err}"]
            self.faults += [f"{point}: {complaint}" for complaint in complaints]


def test_a_kill_at_a_sample_of_points_leaves_nothing(tmp_path: Path, payload_rootfs: Path) -> None:
    """One point of each scene, some two: each scene's middle, and the ends of the first scenes."""
    blows = Blows(tmp_path, payload_rootfs)
    everything = scenes()

    for number, scene in enumerate(everything):
        wanted = 1 + (number < SAMPLE - len(everything))
        blows.strike_all(blows.points_of(scene, wanted))

    assert [] == blows.faults, "\n".join(blows.faults)
    assert len(blows.reached) >= SAMPLE * 0.8, f"only these were reached: {', '.join(map(str, blows.reached))}"


@pytest.mark.soak
def test_a_kill_at_hundreds_of_points_leaves_nothing(tmp_path: Path, payload_rootfs: Path) -> None:
    """Points spread evenly over every scene; at least 200 distinct ones are reached."""
    blows = Blows(tmp_path, payload_rootfs)
    everything = scenes()

    for scene in everything:
        blows.strike_all(blows.points_of(scene, MANY // len(everything) + 1))

    assert [] == blows.faults, "\n".join(blows.faults)
    assert len(set(blows.reached)) >= 200, f"only these were reached: {', '.join(map(str, blows.reached))}"
