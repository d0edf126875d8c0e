"""What was measured against what was promised: rows, targets, verdicts, and how they are printed."""

from __future__ import annotations

import enum
import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import attrs


class Against(enum.Enum):
    """What a target limits."""

    FLOOR = "x"  # the ratio to the floor
    VALUE = ""  # the value itself


@attrs.frozen(kw_only=True)
class Row:
    """One line of the table."""

    key: str
    title: str
    unit: str
    must: float
    aim: float
    against: Against = Against.FLOOR
    more_is_better: bool = False
    peer_limits: Mapping[str, tuple[float, float]] = attrs.field(factory=dict[str, tuple[float, float]])
    """peer → (must, aim): the most that ours may be of the peer's."""


HALF: dict[str, tuple[float, float]] = dict.fromkeys(("podman", "docker", "skopeo+umoci"), (0.5, 0.33))
AS_TAR = {"tar": (1.0, 0.8)}

ROWS = (
    Row(
        key="run",
        title="run true to its end",
        unit="ms",
        must=2.0,
        aim=1.3,
        peer_limits={"crun": (0.2, 0.2), "bwrap": (math.inf, 1.0)},
    ),
    Row(key="run_big", title="run, big caller / small", unit="x", must=1.1, aim=1.0, against=Against.VALUE),
    Row(key="start", title="start, until the process runs", unit="ms", must=2.0, aim=1.3),
    Row(key="exec", title="exec true in a running container", unit="ms", must=2.0, aim=1.5),
    Row(key="throughput", title="runs per second, 8 threads", unit="/s", must=2.0, aim=1.4, more_is_better=True),
    Row(key="memory", title="private memory, idle detached", unit="KiB", must=512, aim=205, against=Against.VALUE),
    Row(key="import", title="import, above bare Python", unit="ms", must=40, aim=15, against=Against.VALUE),
    Row(key="rootless", title="rootless run / root's", unit="x", must=1.3, aim=1.1, against=Against.VALUE),
    Row(key="userns", title="run with ids of its own / run", unit="x", must=math.inf, aim=1.3, against=Against.VALUE),
    Row(key="untrusted", title="untrusted run / run", unit="x", must=math.inf, aim=1.5, against=Against.VALUE),
    Row(key="stats", title="read what a container uses", unit="ms", must=1, aim=0.3, against=Against.VALUE),
    Row(key="list", title="list 1000 containers", unit="ms", must=50, aim=15, against=Against.VALUE),
    Row(key="pull_gzip", title="pull and unpack, gzip", unit="s", must=math.inf, aim=math.inf, peer_limits=HALF),
    Row(key="pull_gzip_fast", title="the same, isa-l", unit="s", must=math.inf, aim=math.inf, peer_limits=HALF),
    Row(key="pull_zstd", title="pull and unpack, zstd", unit="s", must=math.inf, aim=math.inf, peer_limits=HALF),
    Row(key="unpack_gzip", title="unpack, gzip", unit="s", must=math.inf, aim=math.inf, peer_limits=AS_TAR),
    Row(key="unpack_gzip_fast", title="the same, isa-l", unit="s", must=math.inf, aim=math.inf, peer_limits=AS_TAR),
    Row(key="unpack_zstd", title="unpack, zstd", unit="s", must=math.inf, aim=math.inf, peer_limits=AS_TAR),
    Row(key="pull_unchanged", title="pull an unchanged tag", unit="ms", must=10, aim=4, against=Against.VALUE),
    Row(key="pull_memory", title="peak memory of a pull", unit="MiB", must=96, aim=64, against=Against.VALUE),
    Row(key="save", title="save an archive", unit="s", must=math.inf, aim=math.inf, peer_limits=HALF),
    Row(key="load", title="load an archive", unit="s", must=math.inf, aim=math.inf, peer_limits=HALF),
)


@attrs.define
class Result:
    """What one row came to; values in the row's unit."""

    ours: float | None = None
    floor: float | None = None
    peers: dict[str, float] = attrs.Factory(dict[str, float])
    detail: dict[str, Any] = attrs.Factory(dict[str, Any])


def summarise(samples: Sequence[float]) -> dict[str, float]:
    """Return the figures that describe samples."""
    ordered = sorted(samples)
    last = len(ordered) - 1
    return {
        "n": len(ordered),
        "min": ordered[0],
        "p10": ordered[round(last * 0.10)],
        "median": statistics.median(ordered),
        "p99": ordered[round(last * 0.99)],
    }


def ratio(row: Row, ours: float | None, other: float | None) -> float | None:
    """Return how much worse than another we are; below 1 we are better."""
    if not ours or not other:
        return None
    return other / ours if row.more_is_better else ours / other


def best_peer(row: Row, result: Result) -> tuple[str, float] | None:
    """Return the peer that comes closest, or None."""
    choose = max if row.more_is_better else min
    return choose(result.peers.items(), key=lambda item: item[1]) if result.peers else None


def verdict(row: Row, result: Result) -> str:
    """Return aim, must or MISSED, whatever is the best that holds."""
    figure = result.ours if row.against is Against.VALUE else ratio(row, result.ours, result.floor)
    if figure is None and (result.ours is None or row.must < math.inf):
        return "not measured"
    judged = [] if figure is None else [(figure, row.must, row.aim)]
    for peer, (must, aim) in row.peer_limits.items():
        against_peer = ratio(row, result.ours, result.peers.get(peer))
        if against_peer is not None:
            judged.append((against_peer, must, aim))
    if all(value <= aim for value, _, aim in judged):
        return "aim"
    return "must" if all(value <= must for value, must, _ in judged) else "MISSED"


def as_dicts(results: Mapping[str, Result]) -> list[dict[str, Any]]:
    """Return the table for machines."""
    table: list[dict[str, Any]] = []
    for row in (row for row in ROWS if row.key in results):
        result = results[row.key]
        peer = best_peer(row, result)
        table.append(
            {
                "row": row.key,
                "title": row.title,
                "unit": row.unit,
                **attrs.asdict(result),
                "ratio": ratio(row, result.ours, result.floor),
                "best_peer": peer[0] if peer else None,
                "peer_ratio": ratio(row, result.ours, peer[1]) if peer else None,
                "must": row.must,
                "aim": row.aim,
                "verdict": verdict(row, result),
            }
        )
    return table


def _number(value: float | None, unit: str = "") -> str:
    if value is None:
        return "–"
    digits = 2 if value < 100 else 0
    return f"{value:.{digits}f}{' ' + unit if unit else ''}"


def _limit(value: float, mark: str) -> str:
    return "–" if value == math.inf else f"≤ {value:g}{mark}"


def _against_peers(row: Row, result: Result) -> str:
    shown = (
        f"{peer} {_number(value, row.unit)} ({_number(ratio(row, result.ours, value))})"
        for peer, value in result.peers.items()
    )
    return ", ".join(shown) or "–"


def as_text(results: Mapping[str, Result]) -> str:
    """Return the table for people."""
    lines = [("", "ours", "floor", "ratio", "must", "aim", "peers (ours / theirs)", "verdict")]
    for row in (row for row in ROWS if row.key in results):
        result = results[row.key]
        mark = row.against.value
        lines.append(
            (
                row.title,
                _number(result.ours, row.unit),
                _number(result.floor, row.unit),
                _number(ratio(row, result.ours, result.floor)),
                _limit(row.must, mark),
                _limit(row.aim, mark),
                _against_peers(row, result),
                verdict(row, result),
            )
        )
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)
