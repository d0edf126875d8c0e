"""What containers are, as text: a change of a plan is a change of a golden file, for a reviewer to see.

Run with CONTAINER_KIT_UPDATE_GOLDEN=1 to write the files anew.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.unit.plan.cases import GOLDEN

FOLDER = Path(__file__).parents[2] / "golden"


@pytest.mark.parametrize("name", sorted(GOLDEN))
def test_plan_is_the_golden_one(name: str) -> None:
    """A plan's text is the one in the file of its name."""
    path = FOLDER / f"{name}.plan"
    actual = f"{GOLDEN[name]()}\n"
    if os.environ.get("CONTAINER_KIT_UPDATE_GOLDEN"):
        path.write_text(actual, encoding="utf-8")

    expected = path.read_text(encoding="utf-8")

    assert expected == actual


def test_every_golden_file_has_a_plan() -> None:
    """No file is left over from a plan that is gone."""
    assert {path.stem for path in FOLDER.glob("*.plan")} == set(GOLDEN)
