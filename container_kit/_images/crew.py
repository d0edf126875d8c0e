"""Threads that carry several blobs at once and end together: the first failure ends the others.

A task goes to a *lane*, which says how many of its kind run at a time; threads start when
they are needed. Events of all threads come out in the thread that called `finish`, so a
progress callback need not be thread-safe and an exception out of it is an ordinary
failure. Leaving the `with` block stops what still runs and joins every thread, also
after Ctrl-C.

Tasks learn that they should end from `check`, which they call wherever bytes pass by.
"""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable, Mapping
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Self

import attrs

from container_kit._spec.progress import Progress, ProgressCallback
from container_kit.errors import HostError, InvalidSpecError

_LOOK = 0.2  # seconds
_LONGEST_START = 1.0  # seconds, until a thread that was interrupted in starting is taken for one that never will

Task = Callable[[], None]


class Stopped(Exception):  # noqa: N818  # no failure of its own: it unwinds a task after somebody else's
    """Raised by `Crew.check` inside a task that is no longer wanted; never leaves the crew."""


@attrs.frozen
class _Worker:
    """A thread, and whether it runs: an interrupt of `Thread.start` leaves that open."""

    thread: threading.Thread
    begun: threading.Event


@attrs.define
class _Lane:
    """Tasks of one kind and the threads that do them."""

    name: str
    limit: int
    queue: SimpleQueue[Task | None] = attrs.field(factory=SimpleQueue["Task | None"])
    workers: list[_Worker] = attrs.field(factory=list["_Worker"])
    unfinished: int = 0


class Crew:
    """Does tasks in named threads, at most so many of a lane at a time. Used as a context manager by one thread.

    Args:
        name: What the threads' names begin with.
        lanes: Each kind of task and how many of it may run at a time.
        progress: Called with each event, in the thread that calls `finish`.

    Raises:
        InvalidSpecError: a lane has no thread.
    """

    def __init__(self, name: str, lanes: Mapping[str, int], *, progress: ProgressCallback | None = None) -> None:
        for lane, limit in lanes.items():
            if limit < 1:
                raise InvalidSpecError(field=f"number of threads that {lane}", value=limit, reason="must be at least 1")
        self._name = name
        self._lanes = {lane: _Lane(lane, limit) for lane, limit in lanes.items()}
        self._progress = progress
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._error: BaseException | None = None
        self._wakes: list[Callable[[], None]] = []
        self._closes: list[Callable[[], None]] = []
        # What the threads tell the caller: events, and None for each task that has ended.
        self._outbox: SimpleQueue[Progress | None] = SimpleQueue()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        interrupt: KeyboardInterrupt | None = None
        while True:  # a second Ctrl-C must not leave threads behind either
            try:
                self._dismiss()
            except KeyboardInterrupt as another:
                interrupt = another
            else:
                break
        if interrupt is not None:
            raise interrupt

    def submit(self, lane: str, task: Task) -> None:
        """Have a task done by a thread of the lane. It must not wait for a later one of its lane.

        Called by any thread. When tasks should end, it does nothing: `finish` tells why.
        """
        place = self._lanes[lane]
        with self._lock:
            if self.is_stopping:  # asked under the lock: a thread that starts later would not be joined
                return
            if len(place.workers) < min(place.limit, place.unfinished + 1):
                self._hire(place)
            place.unfinished += 1
            place.queue.put(task)

    def _hire(self, lane: _Lane) -> None:
        name = f"{self._name}-{lane.name}-{len(lane.workers) + 1}"
        begun = threading.Event()
        worker = _Worker(threading.Thread(target=self._work, args=(lane, begun), name=name), begun)
        lane.workers.append(
            worker
        )  # first: an interrupt may come when the thread is there and `start` has not returned
        try:
            worker.thread.start()
        except RuntimeError as error:
            lane.workers.remove(worker)
            if not lane.workers:  # with others, it takes longer
                raise HostError(attempted="cannot start a thread", errno=errno.EAGAIN) from error

    def report(self, event: Progress) -> None:
        """Hand an event to the caller's callback; called by any thread, returns at once."""
        if self._progress is not None:
            self._outbox.put(event)

    def check(self) -> None:
        """Raise `Stopped` when tasks should end."""
        if self._stopping.is_set():
            raise Stopped

    def pause(self, seconds: float) -> None:
        """Wait so long, or raise `Stopped` as soon as tasks should end."""
        self._stopping.wait(seconds)
        self.check()

    @property
    def is_stopping(self) -> bool:
        """Whether tasks should end."""
        return self._stopping.is_set()

    def at_stop(self, wake: Callable[[], None]) -> None:
        """Have something called when tasks should end early: what wakes those that are blocked."""
        self._wakes.append(wake)

    def at_end(self, close: Callable[[], None]) -> None:
        """Have something called when all threads have ended; called by any thread."""
        self._closes.append(close)

    def finish(self) -> None:
        """Wait until every task has ended, calling the callback with their events; raise the first error of one."""
        while self._is_busy():
            # Not for ever: a signal that comes right before the wait would not end it.
            self._take(_LOOK)
        while not self._outbox.empty():
            self._take(0)
        if self._error is not None:
            raise self._error

    def _take(self, timeout: float) -> None:
        try:
            event = self._outbox.get(timeout=timeout)
        except Empty:
            return
        # After a failure there is nothing more to tell.
        if event is not None and self._progress is not None and not self.is_stopping:
            self._progress(event)

    def _is_busy(self) -> bool:
        with self._lock:
            return any(lane.unfinished for lane in self._lanes.values())

    def _work(self, lane: _Lane, begun: threading.Event) -> None:
        begun.set()
        while (task := lane.queue.get()) is not None:
            try:
                if not self.is_stopping:
                    task()
            except Stopped:
                pass
            except BaseException as error:  # noqa: BLE001  # raised again by `finish`
                self._fail(error)
            finally:
                del task  # it may hold descriptors
                with self._lock:
                    lane.unfinished -= 1
                self._outbox.put(None)

    def _fail(self, error: BaseException) -> None:
        with self._lock:
            if self._error is None and not self.is_stopping:
                self._error = error  # what fails later fails because of it
        self._stop()

    def _stop(self) -> None:
        with self._lock:
            self._stopping.set()
        for wake in self._wakes:
            wake()

    def _dismiss(self) -> None:
        if self._is_busy():
            self._stop()
        for lane in self._lanes.values():
            for _ in lane.workers:
                lane.queue.put(None)
        for lane in self._lanes.values():
            for worker in lane.workers:
                if worker.begun.wait(_LONGEST_START):
                    worker.thread.join()
        while self._closes:
            self._closes.pop()()
