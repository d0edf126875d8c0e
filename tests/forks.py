"""Forks of the caller's, such as `multiprocessing` makes: they hold copies of all descriptors as long as they live."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")

_FOR_EVER = 80.0  # seconds; only what would never end is not done by then


class Forks:
    """Children of this process that do nothing until `end`."""

    def __init__(self) -> None:
        self._pids: list[int] = []
        self._wait, self._go = os.pipe()

    def add(self) -> None:
        """Fork, in whatever thread this is."""
        pid = os.fork()
        if pid == 0:
            os.close(self._go)
            os.read(self._wait, 1)
            os._exit(0)
        self._pids.append(pid)

    def __len__(self) -> int:
        return len(self._pids)

    def during(self, work: Callable[[], T]) -> T:
        """Return what `work` returns; fail when it does not end before they do, and end them."""
        with ThreadPoolExecutor(1) as pool:
            try:
                return pool.submit(work).result(_FOR_EVER)
            finally:
                self.end()

    def end(self) -> None:
        """End and reap them. May be repeated."""
        if self._go < 0:
            return
        os.close(self._go)
        self._go = -1
        for pid in self._pids:
            os.waitpid(pid, 0)
        os.close(self._wait)


@contextmanager
def open_forks() -> Generator[Forks]:
    """Give forks that are gone at the end of the block."""
    forks = Forks()
    try:
        yield forks
    finally:
        forks.end()


@contextmanager
def forked() -> Generator[None]:
    """Have one fork, until the end of the block."""
    with open_forks() as forks:
        forks.add()
        yield
