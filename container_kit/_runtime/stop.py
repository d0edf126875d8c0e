"""End, signal, freeze and thaw a running container.

The monitor does it, so that its restart policy knows; where the monitor is gone or does
not answer, the kernel is asked directly: the cgroup first, then init by its identity.
"""

from __future__ import annotations

import signal
import time

from container_kit._linux import cgroup, processes
from container_kit._linux.processes import ProcessId
from container_kit._runtime.control import Connection, MonitorGoneError
from container_kit._runtime.messages import DEFAULT_TIMEOUT, Message, MessageType
from container_kit._runtime.site import Site
from container_kit._runtime.state_file import MonitorState
from container_kit._spec.healthcheck import check_seconds, check_timeout
from container_kit._state.container_record import ContainerRecord
from container_kit.errors import HostError, UnsupportedHostError, WaitTimeoutError

_FORCE_SECONDS = 5.0  # beyond the stop timeout, for a kernel that is busy killing


def stop(site: Site, container_id: str, state: MonitorState, *, timeout: float | None, number: int = 0) -> None:
    """Ask the container to end, kill it when `timeout` seconds (None: as configured) have passed, wait for its end.

    Raises:
        WaitTimeoutError: even SIGKILL did not end it (a process stuck in the kernel).
    """
    timeout = check_timeout(timeout)
    wanted = DEFAULT_TIMEOUT if timeout is None else round(timeout * 1000)
    message = Message(MessageType.STOP, value=number, a=wanted)
    patience = None if timeout is None else time.monotonic() + timeout + _FORCE_SECONDS
    wake_monitor(state)
    try:
        with Connection.open(site.home.container_runtime_dir(container_id)) as connection:
            answer = connection.ask(message, patience)
    except MonitorGoneError:
        answer = None
        patience = None
    if answer is None:
        kill_without_monitor(site, container_id, state)
    if patience is not None and answer is None and processes.is_alive(state.monitor):
        processes.signal_process(state.monitor, signal.SIGKILL)
    _await_gone(state, _FORCE_SECONDS)


def wake_monitor(state: MonitorState) -> None:
    """Let a monitor go on that somebody may have stopped (SIGSTOP): what is waited for comes from it."""
    processes.signal_process(state.monitor, signal.SIGCONT)


def kill(site: Site, container_id: str, state: MonitorState, number: int) -> None:
    """Send a signal to the container's PID 1; SIGKILL goes to every process in it.

    Raises:
        WaitTimeoutError: the monitor does not answer, so another signal than SIGKILL may not have been sent.
    """
    wake_monitor(state)
    try:
        with Connection.open(site.home.container_runtime_dir(container_id)) as connection:
            answer = connection.ask(Message(MessageType.SIGNAL, value=number), time.monotonic() + _FORCE_SECONDS)
    except MonitorGoneError:
        return  # it has just ended
    if answer is not None and answer.type == MessageType.ERROR and answer.error:
        raise HostError(attempted=f"cannot signal container {container_id[:12]}", errno=answer.error)
    if answer is None:
        if number != signal.SIGKILL:
            raise WaitTimeoutError(waiting_for="the container's monitor to answer", timeout=_FORCE_SECONDS)
        kill_without_monitor(site, container_id, state)


def stop_unseen(site: Site, record: ContainerRecord, *, timeout: float | None) -> None:
    """End a container of which there is only a living monitor: no state file yet, or somebody took it away.

    Raises:
        WaitTimeoutError: even SIGKILL did not end it.
    """
    monitor = ProcessId.parse(record.monitor) if record.monitor else None
    if monitor is None or not processes.signal_process(monitor, signal.SIGTERM):
        return
    patience = record.config.stop_timeout if timeout is None else check_seconds(timeout, "timeout")
    if not processes.wait_gone(monitor, patience):
        kill_without_monitor(site, record.id, None)
        processes.signal_process(monitor, signal.SIGKILL)  # its container ends with it
    if not processes.wait_gone(monitor, _FORCE_SECONDS):
        raise WaitTimeoutError(waiting_for=f"process {monitor.pid} to end after SIGKILL", timeout=_FORCE_SECONDS)


def kill_without_monitor(site: Site, container_id: str, state: MonitorState | None) -> None:
    """End every process of a container whose monitor is gone or does not answer."""
    path = site.cgroup_of(container_id)
    if path is not None and cgroup.exists(path):
        cgroup.kill(path)
    if state is not None and state.init is not None:
        processes.signal_process(state.init, signal.SIGKILL)


def freeze(site: Site, container_id: str, *, frozen: bool) -> None:
    """Pause or unpause every process of a container (cgroup.freeze).

    Raises:
        UnsupportedHostError: the container has no cgroup.
        CgroupError: the kernel refused.
    """
    path = site.cgroup_of(container_id)
    if path is None or not cgroup.exists(path):
        raise UnsupportedHostError(
            feature="pause",
            reason=site.no_cgroup_reason or "the container has no control group",
            hint="run as root, or in a delegated cgroup (systemd-run --user --scope -p Delegate=yes …)",
        )
    cgroup.freeze(path, frozen=frozen)


def _await_gone(state: MonitorState, seconds: float) -> None:
    for process in (state.init, state.monitor):
        if process is not None and not processes.wait_gone(process, seconds):
            raise WaitTimeoutError(waiting_for=f"process {process.pid} to end after SIGKILL", timeout=seconds)
