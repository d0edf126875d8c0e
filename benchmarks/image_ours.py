"""container_kit's side of the image rows: `python -m benchmarks.image_ours STATE RUNTIME INFLATER WHAT [ARGUMENT…]`.

A process for each measurement: its largest resident set is that of one operation, and all that is loaded lazily is
loaded within it. INFLATER is zlib, or isal where the extra `fast` is installed. Prints one line of JSON: seconds, and
the peak in KiB of this process and of its largest child.
"""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable

import container_kit as ck


def pull(engine: ck.Engine, name: str) -> None:
    """Fetch and unpack."""
    ck.Image.pull(name, engine=engine)


def unpack(engine: ck.Engine, name: str) -> None:
    """Unpack what is in the store already."""
    ck.Container.create(name, ["true"], engine=engine)


def save(engine: ck.Engine, name: str, target: str) -> None:
    """Write an archive."""
    ck.Image.get(name, engine=engine).save(target)


def load(engine: ck.Engine, source: str) -> None:
    """Take an archive in."""
    ck.Image.load(source, engine=engine)


WORK: dict[str, Callable[..., None]] = {"pull": pull, "unpack": unpack, "save": save, "load": load}


def main() -> None:
    """Do one thing and say what it took."""
    state, runtime, inflater, what, *arguments = sys.argv[1:]
    if inflater == "zlib":
        sys.modules["isal"] = None  # type: ignore[assignment]  # as good as not installed (docs: sys.modules)
    engine = ck.Engine(state, runtime=runtime)
    if what == "unpack":  # a rate: what is loaded when the first image is unpacked is not part of it
        with tempfile.TemporaryDirectory() as empty:
            ck.Image.from_directory(empty, "loaded:1", engine=engine)
    if what == "pull_unchanged":  # in a process that has pulled before: only what asking again takes
        pull(engine, *arguments)
        what = "pull"
    began = time.perf_counter()
    WORK[what](engine, *arguments)
    seconds = time.perf_counter() - began
    peak = [resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    engine.close()
    print(json.dumps({"seconds": seconds, "peak_kib": peak}))


if __name__ == "__main__":
    main()
