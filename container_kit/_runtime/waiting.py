"""Wait for a container's end, whoever owns it."""

from __future__ import annotations

import select
import time
from collections.abc import Callable

from container_kit._linux import processes
from container_kit._linux.processes import ProcessId
from container_kit._runtime import status
from container_kit._runtime.control import Connection, MonitorGoneError
from container_kit._runtime.messages import Message, MessageType
from container_kit._runtime.site import Site
from container_kit._runtime.state_file import exit_code_of as _code_of
from container_kit._runtime.status import Look
from container_kit._spec.healthcheck import check_timeout
from container_kit._spec.ids import ContainerId
from container_kit._spec.lifecycle import Action, Status, check_transition
from container_kit._state import journal, records
from container_kit._state.container_record import Phase
from container_kit.errors import ContainerNotFoundError, WaitTimeoutError

_SHORTEST_PAUSE = 0.005
_LONGEST_PAUSE = 0.1
_END_SECONDS = 5.0


def wait_for_exit(site: Site, container_id: str, timeout: float | None) -> int:
    """Wait for the end of a container's run (its restarts included) and return the exit code.

    Raises:
        WaitTimeoutError: `timeout` seconds passed.
        ContainerNotFoundError: it is gone, and its end was not noted.
    """
    timeout = check_timeout(timeout)
    deadline = None if timeout is None else time.monotonic() + timeout
    code = _ask_supervision(site, container_id, deadline)
    if code is None:
        try:
            code = _ask_monitor(site, container_id, deadline)
        except ContainerNotFoundError:
            code = _code_of_removed(site, container_id)
            if code is None:
                raise
    if code is None:
        raise WaitTimeoutError(waiting_for=f"container {container_id[:12]} to end", timeout=timeout or 0.0)
    return code


def exit_code_of(site: Site, container_id: str) -> int | None:
    """Return the exit code of the last run; None before the first end and while it runs."""
    try:
        seen = status.find(site, container_id)
    except ContainerNotFoundError:
        code = _code_of_removed(site, container_id)
        if code is None:
            raise
        return code
    return _ended(seen)


def pauser(site: Site, container_id: str) -> Callable[[], bool]:
    """Return a function that waits a little, and says False once the container is not running any more."""
    pause = _SHORTEST_PAUSE

    def wait_a_little() -> bool:
        nonlocal pause
        monitor = _monitor_of(site, container_id)
        if monitor is None or processes.wait_gone(monitor, pause):
            return False
        pause = min(pause * 1.5, _LONGEST_PAUSE)
        return True

    return wait_a_little


def _ask_supervision(site: Site, container_id: str, deadline: float | None) -> int | None:
    supervision = site.supervision_of(container_id)
    if supervision is None:
        return None
    message = supervision.await_exited(deadline)
    if message is None or _was_started_since(site, container_id, supervision.identity):
        return None
    supervision.let_go()  # it is about to end: who is told of the exit finds all of it done
    return _code_of(message.value)


def _was_started_since(site: Site, container_id: str, monitor: ProcessId) -> bool:
    try:
        return records.get(site.database, container_id).monitor != str(monitor)
    except ContainerNotFoundError:
        return False


def _code_of_removed(site: Site, container_id: str) -> int | None:
    # It removed itself. Its owner heard the last word, all others find it in the journal.
    supervision = site.supervision_of(container_id)
    if supervision is not None and supervision.exited is not None:
        return _code_of(supervision.exited.value)
    return journal.last_exit_code(site.database, ContainerId(container_id))


def _ask_monitor(site: Site, container_id: str, deadline: float | None) -> int | None:
    seen = status.find(site, container_id)
    if seen.status is Status.CREATED and seen.record.phase is Phase.CREATED:
        return _wait_for_start(site, container_id, deadline)
    check_transition(Action.WAIT, seen.status, seen.record.name)
    if (code := _ended(seen)) is not None:
        return _when_done(seen, code)
    try:
        with Connection.open(site.home.container_runtime_dir(container_id)) as connection:
            answer = connection.ask(Message(MessageType.WAIT), deadline)
            if answer is None:
                return None
            if answer.type == MessageType.EXITED:
                return _when_done(seen, _code_of(answer.value))
    except MonitorGoneError:
        pass
    if seen.state is not None:
        processes.wait_gone(seen.state.monitor, None if deadline is None else deadline - time.monotonic())
    return _ended(status.find(site, container_id))


def _when_done(seen: Look, code: int) -> int:
    # The monitor is about to end: who is told of the exit finds all of it done.
    if seen.state is not None:
        processes.wait_gone(seen.state.monitor, _END_SECONDS)
    return code


def _wait_for_start(site: Site, container_id: str, deadline: float | None) -> int | None:
    # Waiting for one that was never started means waiting for its first run, as in Docker.
    while deadline is None or time.monotonic() < deadline:
        if status.find(site, container_id).status is not Status.CREATED:
            return _ask_monitor(site, container_id, deadline)
        select.select([], [], [], _LONGEST_PAUSE)
    return None


def _ended(seen: Look) -> int | None:
    if seen.status is not Status.EXITED or seen.ended is None:
        return None
    return seen.ended.exit_code


def _monitor_of(site: Site, container_id: str) -> ProcessId | None:
    try:
        seen = status.find(site, container_id)
    except ContainerNotFoundError:
        return None
    running = seen.status in (Status.RUNNING, Status.PAUSED, Status.RESTARTING)
    return seen.state.monitor if seen.state is not None and running else None
