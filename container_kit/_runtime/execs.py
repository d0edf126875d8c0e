"""Run a further process inside a running container: plan, session with the monitor, its end.

The process joins all the container's namespaces under the container's own confinement. The
session is a connection: when it closes and the process is not detached, the process and
everything it has started are killed, also when the caller dies.
"""

from __future__ import annotations

import errno
import os
import signal
import time
from collections.abc import Callable, Sequence

from container_kit._linux import processes
from container_kit._linux.memfd import sealed_memfd
from container_kit._linux.processes import ProcessId
from container_kit._plan.encode import encode_exec_request
from container_kit._plan.launch import compile_exec_plan
from container_kit._plan.plans import ExecPlan
from container_kit._runtime import accounts, own_ids, security_labels
from container_kit._runtime.capture import Capture, Pipes
from container_kit._runtime.control import Connection, MonitorGoneError
from container_kit._runtime.failures import launch_failure, typed_refusals
from container_kit._runtime.launch import Specification
from container_kit._runtime.messages import ExecFlag, Message, MessageType
from container_kit._runtime.session import Ending, Session
from container_kit._runtime.site import Site
from container_kit._runtime.state_file import read_state
from container_kit._spec.container_config import ProcessConfig
from container_kit._spec.healthcheck import check_timeout
from container_kit.errors import ContainerKitError, HostError, InvalidTransitionError

_TREE_GONE_SECONDS = 10.0
_ENDING_SECONDS = 1.0
_NUDGE = 1.0
# What entering a container fails with while it ends.
_ENDING = (errno.ESRCH, errno.ECHILD, errno.ENOMEM)  # the last: fork(2) in a PID namespace without its init


class ExecSession(Session):
    """A process running inside a container. Closing the session ends the process unless it is detached."""

    def __init__(self, connection: Connection, pid: int, terminal: int) -> None:
        super().__init__(connection)
        self.pid = pid
        self.terminal = terminal  # the pty's master, owned by whoever takes it; -1 without a tty

    def kill_tree(self) -> None:
        """Kill the process and everything it has started, however detached, and wait for its end."""
        self.tell(Message(MessageType.KILL_TREE))
        self.poll(time.monotonic() + _TREE_GONE_SECONDS)


@typed_refusals("cannot start a process in the container")
def open_session(
    site: Site, spec: Specification, init: ProcessId, process: ProcessConfig, stdio: Sequence[int]
) -> ExecSession:
    """Start a process in a running container.

    Args:
        site: where the container lives.
        spec: the container.
        init: its PID 1.
        process: what to run.
        stdio: the process's stdin, stdout and stderr, borrowed; empty for a tty.

    Raises:
        InvalidTransitionError: the container stopped meanwhile.
        ContainerKitError: what kept the process from running.
    """
    try:
        plan = _plan(site, spec, init, process)
    except (FileNotFoundError, ProcessLookupError) as err:
        if _has_ended(site, spec):
            raise _not_running(spec) from err
        raise
    request = encode_exec_request(plan)
    try:
        connection = Connection.open(site.home.container_runtime_dir(spec.id))
    except MonitorGoneError as err:
        raise _not_running(spec) from err
    try:
        session = _converse(site, spec, plan, request, process, stdio, connection)
        _check_labels(plan, session)
    except BaseException:
        connection.close()
        raise
    return session


@typed_refusals("cannot run a process in the container")
def run_captured(
    site: Site,
    spec: Specification,
    init: ProcessId,
    process: ProcessConfig,
    *,
    data: bytes | None,
    timeout: float | None,
    limit: int,
    begun: Callable[[], None],
) -> tuple[Ending, Capture, bool]:
    """Run a process to its end and collect its output; `begun` is called once it runs.

    Returns:
        The result, the output, and whether the timeout (seconds) ended it.
    """
    timeout = check_timeout(timeout)
    deadline = None if timeout is None else time.monotonic() + timeout
    pipes = Pipes(site.devnull(), feed=data is not None)
    try:
        capture = Capture(pipes, data or b"", limit)
        with open_session(site, spec, init, process, pipes.theirs) as session:
            pipes.close_theirs()
            begun()
            try:
                finished = capture.collect(session.fileno(), lambda: session.poll() is not None, deadline)
            except BaseException:  # Ctrl-C, for example: when that is caught, nothing may be left running
                session.kill_tree()
                raise
            if not finished:
                session.kill_tree()
                capture.drain()
            return session.poll() or Ending.killed(), capture, not finished
    finally:
        pipes.close_all()


def _plan(site: Site, spec: Specification, init: ProcessId, process: ProcessConfig) -> ExecPlan:
    user = process.user
    if user is None:
        user = spec.config.user if spec.config.user is not None else spec.image.user
    return compile_exec_plan(
        process=process,
        config=spec.config,
        image=spec.image,
        identity=accounts.find_identity_inside(site, init, user, process.groups or spec.config.groups),
        facts=own_ids.facts_of_running(site, spec.config, init.pid),
        supervise=not spec.cgroup,
    )


def _converse(
    site: Site,
    spec: Specification,
    plan: ExecPlan,
    request: bytes,
    process: ProcessConfig,
    stdio: Sequence[int],
    connection: Connection,
) -> ExecSession:
    flags = ExecFlag.DETACH if process.detach else ExecFlag.NONE
    if plan.terminal:
        flags |= ExecFlag.TERMINAL
    if plan.own_memory:
        flags |= ExecFlag.OWN_MEMORY
    memfd = sealed_memfd("ck-exec", request)
    try:
        connection.send(Message(MessageType.EXEC, flags=flags), (memfd, *stdio))
    except MonitorGoneError as err:
        raise _not_running(spec) from err
    finally:
        os.close(memfd)
    terminal = -1
    try:
        message, fds = _answer(site, spec, connection)
        if message.type == MessageType.TTY:
            terminal = fds[0]
            message, _ = _answer(site, spec, connection)
        if message.type == MessageType.STARTED:
            return ExecSession(connection, message.value, terminal)
    except BaseException:
        _close(terminal)
        raise
    _close(terminal)
    if message.type != MessageType.FAILED:
        raise _refused(spec, message)
    if message.error in _ENDING and _has_ended(site, spec):
        raise _not_running(spec)
    raise launch_failure(plan, message, site.home.root)


def _check_labels(plan: ExecPlan, session: ExecSession) -> None:
    try:
        security_labels.check_started(plan, session.pid)
    except BaseException:
        session.kill_tree()
        _close(session.terminal)
        raise


def _answer(site: Site, spec: Specification, connection: Connection) -> tuple[Message, list[int]]:
    while True:
        try:
            received = connection.receive(time.monotonic() + _NUDGE)
        except MonitorGoneError as err:
            raise _not_running(spec) from err
        if received is not None:
            return received
        state = read_state(site.home.state_file(spec.id))
        if state is not None:  # somebody may have stopped it
            processes.signal_process(state.monitor, signal.SIGCONT)


def _has_ended(site: Site, spec: Specification) -> bool:
    # A PID 1 that is being killed cannot be entered any more, and takes its time to be seen as ended.
    state = read_state(site.home.state_file(spec.id))
    init = None if state is None else state.running_init
    return init is None or processes.wait_gone(init, _ENDING_SECONDS)


def _close(terminal: int) -> None:
    if terminal >= 0:
        os.close(terminal)


def _not_running(spec: Specification) -> InvalidTransitionError:
    return InvalidTransitionError(
        action="exec in", status="not running", container=spec.id[:12], hint="start the container first"
    )


def _refused(spec: Specification, message: Message) -> ContainerKitError:
    if message.error == errno.ESRCH:  # it is being started, or has just ended
        return _not_running(spec)
    if message.error == errno.EBUSY:
        return InvalidTransitionError(action="exec", status="paused", container=spec.id[:12], hint="unpause() it first")
    hint = "too many exec sessions at once in this container" if message.error == errno.EAGAIN else None
    return HostError(attempted=f"exec in container {spec.id[:12]} was refused", errno=message.error, hint=hint)
