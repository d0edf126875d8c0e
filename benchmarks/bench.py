"""Measures container_kit, the floor and its peers side by side: `make bench`, or see --help.

The floor is limit.c: what the kernel itself charges for the same container, with nothing around it. Contenders are
asked in turns, so that the machine's noise hits all alike. Needs root; leaves nothing behind.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks.images import ImageMatch
from benchmarks.imports import measure_import
from benchmarks.lab import CHECKOUT, Lab, describe_machine, prepare_lab
from benchmarks.match import Match
from benchmarks.table import ROWS, Result, as_dicts, as_text

IMAGE_TURNS = 3
INSIDE = "CKIT_BENCH_INSIDE"  # set in the mount namespace of our own


def parse_arguments() -> argparse.Namespace:
    """Return what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the table with all figures there too")
    parser.add_argument("-n", type=int, default=10, metavar="TURNS", help="how often all take turns (%(default)s)")
    parser.add_argument("--quick", action="store_true", help="two turns, a smaller heap: to see that it works")
    parser.add_argument("--no-peers", action="store_true", help="only ours and the floor")
    parser.add_argument("--only", metavar="ROW,…", default="", help="only these rows, by the names that --json has")
    return parser.parse_args()


def install(options: argparse.Namespace) -> None:
    """Install what is missing; peers that cannot be had are reported as absent."""
    host = CHECKOUT / "tests" / "host"
    subprocess.run([host / "install", "tests"], check=True)
    subprocess.run([host / "make-users"], check=True)
    if not options.no_peers and subprocess.run([host / "install", "peers"], check=False).returncode:
        print("some peers could not be installed", file=sys.stderr)


def enter_namespace() -> None:
    """Start over in a mount namespace of our own: everything mounted there ends with this process."""
    prefix = ["unshare", "--mount", "--propagation", "private", sys.executable, "-m", "benchmarks.bench"]
    os.execvpe("unshare", [*prefix, *sys.argv[1:]], {**os.environ, INSIDE: "1"})  # noqa: S606


def measure(lab: Lab, options: argparse.Namespace) -> tuple[dict[str, Result], dict[str, Any]]:
    """Measure all rows; a row that fails is reported and the others go on."""
    turns = 2 if options.quick else options.n
    results: dict[str, Result] = {}
    with ExitStack() as stack:
        match = Match.prepare(stack, lab, turns=turns, quick=options.quick, with_peers=not options.no_peers)
        rows: dict[str, Callable[[], Result]] = {**match.rows(), "import": lambda: measure_import(5 * turns)}
        wanted = options.only.split(",") if options.only else [row.key for row in ROWS]
        parts: dict[str, float] = {}
        if set(wanted) - set(rows):
            images = ImageMatch.prepare(
                stack, lab, turns=1 if options.quick else IMAGE_TURNS, with_peers=not options.no_peers
            )
            rows |= images.rows()
            parts = images.parts()
        for key in wanted:
            results[key] = Result()
            print(f"   measuring {key} …", file=sys.stderr, flush=True)
            try:
                results[key] = rows[key]()
            except (RuntimeError, OSError, ArithmeticError, LookupError, ValueError) as err:
                print(f"   {key}: {err}", file=sys.stderr, flush=True)
        notes = {
            "peers": match.complaints,
            "heap_mib": match.heap_mib,
            "phases_us": match.phases(),
            "pull_parts_ms": parts,
        }
    return results, notes


def report(results: dict[str, Result], notes: dict[str, Any], machine: dict[str, Any], lab: Lab) -> None:
    """Print the table and what one must know to read it."""
    print(
        f"\n{machine['cpus']} CPUs ({machine['cpu']}), {machine['memory_gib']} GiB, Linux {machine['kernel']}, ", end=""
    )
    print(
        f"load before {machine['load']:.2f}; state on {lab.filesystem}; heap of the big caller {notes['heap_mib']} MiB"
    )
    for peer, complaint in notes["peers"].items():
        if complaint:
            print(f"{peer}: {complaint}")
    print(f"\n{as_text(results)}")
    if (first := results.get("import", Result()).detail.get("until_the_first_call")) is not None:
        print(f"\nimporting loads names when they are first used; all that a first `run` needs: {first:.0f} ms")
    if notes["phases_us"]:
        phases = ", ".join(f"{name} {value:.0f}" for name, value in notes["phases_us"].items())
        print(f"\nphases of a run, us (median): {phases}")
    if notes["pull_parts_ms"]:
        alone = ", ".join(f"{name} {value:.0f}" for name, value in notes["pull_parts_ms"].items())
        print(f"\nparts of a pull (gzip), each alone, one layer after another, ms: {alone}")


def main() -> int:
    """Measure and report."""
    options = parse_arguments()
    if os.geteuid() != 0:
        print("bench: needs root, for the floor, a fresh file system and the peers", file=sys.stderr)
        return 2
    if INSIDE not in os.environ:
        install(options)
        enter_namespace()
    machine = describe_machine()
    place = Path(tempfile.mkdtemp(prefix="ckbench", dir="/var/tmp"))
    try:
        lab = prepare_lab(place)
        results, notes = measure(lab, options)
        report(results, notes, machine, lab)
        if options.json:
            whole = {"machine": machine, "filesystem": lab.filesystem, **notes, "rows": as_dicts(results)}
            options.json.write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")
    finally:
        for mounted in ("fs", "run"):
            subprocess.run(["umount", "-R", "-l", place / mounted], check=False, capture_output=True)
        shutil.rmtree(place, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
