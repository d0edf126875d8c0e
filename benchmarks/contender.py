"""One process that measures, one that asks: lines of JSON over pipes, so that contenders take turns.

Each contender lives in a process of its own (a Python with a big heap, another user, a private network namespace),
and noise of the machine hits all alike when they are asked in turns.
"""

from __future__ import annotations

import json
import subprocess
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

Handler = Callable[..., Any]  # what comes back is JSON


def serve(handlers: Mapping[str, Handler]) -> None:
    """Answer requests on stdin until it ends. The answer goes to what was stdout; stray prints go to stderr."""
    answers = sys.stdout
    sys.stdout = sys.stderr
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = {"result": handlers[request.pop("do")](**request)}
        except Exception as err:  # noqa: BLE001  # whatever it is, the one who asked must know
            answer = {"error": f"{type(err).__name__}: {err}", "traceback": traceback.format_exc()}
        print(json.dumps(answer), file=answers, flush=True)


class MeasurementError(Exception):
    """A contender could not do what it was asked."""


class Contender:
    """The asking end: a child process that runs `serve`."""

    def __init__(self, command: Sequence[str], env: Mapping[str, str] | None = None) -> None:
        """Start the process."""
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=None if env is None else dict(env)
        )

    def ask(self, do: str, **arguments: object) -> Any:
        """Have a handler run and return its result.

        Raises:
            MeasurementError: it failed, or the process is gone.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            print(json.dumps({"do": do, **arguments}), file=self._process.stdin, flush=True)
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise MeasurementError(f"{do}: the measuring process is gone")
        answer = json.loads(line)
        if "error" in answer:
            raise MeasurementError(f"{do}: {answer['error']}")
        return answer["result"]

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the process: its stdin ends."""
        self._process.communicate()
