"""Each row of the list of known escapes has tests that carry its number."""

from __future__ import annotations

import re
from pathlib import Path

TESTS = Path(__file__).parents[1]
# The rows about starting and executing; 10, 17 and 18 are no numbers of rows.
ROWS = tuple(f"A{number}" for number in (*range(1, 10), *range(11, 17), *range(19, 32)))
_TEST = re.compile(r"^ *def test((?:_A\d+)+)_\w+\(", re.MULTILINE)


def rows_with_tests() -> dict[str, set[str]]:
    """Return the rows and the files that have tests named after them."""
    found: dict[str, set[str]] = {}
    for path in TESTS.rglob("test_*.py"):
        for rows in _TEST.findall(path.read_text(encoding="utf-8")):
            for row in rows.strip("_").split("_"):
                found.setdefault(row, set()).add(str(path.relative_to(TESTS)))
    return found


def test_every_row_has_tests() -> None:
    """Named after it, in a file whose name has the number too."""
    found = rows_with_tests()

    without = [row for row in ROWS if not any(f"a{int(row[1:]):02}" in path for path in found.get(row, ()))]

    assert [] == without


def test_no_test_is_named_after_a_row_that_there_is_not() -> None:
    """A typing error would hide a row that has no test."""
    assert [] == sorted(set(rows_with_tests()) - set(ROWS))


def test_every_test_that_the_threat_model_names_is_there() -> None:
    """A promise whose test was renamed or removed is no promise."""
    text = (TESTS.parent / "docs" / "security.md").read_text(encoding="utf-8")
    named = re.findall(r"`([\w/*]*test_[\w*]+\.py)`", text)

    missing = [name for name in named if not list(TESTS.parent.glob(name if "/" in name else f"tests/security/{name}"))]

    assert len(named) > 30
    assert [] == missing
