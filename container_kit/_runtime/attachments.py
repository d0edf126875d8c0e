"""Listen to, and talk to, a container's own process while it runs.

The monitor copies output to the attached as well as to the log. stdin is the container's
own pipe or terminal, handed over as a descriptor: what is typed goes nowhere else.
"""

from __future__ import annotations

import os
import signal

from container_kit._runtime.control import Connection, MonitorGoneError
from container_kit._runtime.failures import typed_refusals
from container_kit._runtime.messages import AttachFlag, Message, MessageType
from container_kit._runtime.session import Session
from container_kit._runtime.site import Site
from container_kit._spec.container_config import check_tty_size
from container_kit.errors import HostError, InvalidTransitionError


class Attachment(Session):
    """One attached client: its pipes' reading ends and stdin if granted, all owned by whoever takes them."""

    def __init__(self, connection: Connection, stdin: int, stdout: int, stderr: int) -> None:
        super().__init__(connection)
        self.stdin = stdin
        self.stdout = stdout
        self.stderr = stderr

    def kill_tree(self) -> None:
        """Kill the container."""
        self.signal(signal.SIGKILL)

    def close_stdin(self) -> None:
        """Let the container see the end of its stdin, once every client has closed its own."""
        self.tell(Message(MessageType.CLOSE_STDIN))


@typed_refusals("cannot attach to the container")
def attach(site: Site, container_id: str, *, stdin: bool, tty: bool) -> Attachment:
    """Attach to a running container. The caller owns the attachment's descriptors.

    Raises:
        InvalidTransitionError: it does not run.
        HostError: the monitor refused.
    """
    try:
        connection = Connection.open(site.home.container_runtime_dir(container_id))
    except MonitorGoneError as err:
        raise _not_running(container_id) from err
    pipes: list[tuple[int, int]] = []
    try:
        pipes.extend(os.pipe() for _ in range(1 if tty else 2))
        flags = AttachFlag.STDIN if stdin else AttachFlag.NONE
        connection.send(Message(MessageType.ATTACH, flags=flags), [write for _, write in pipes])
        received = connection.receive()
        assert received is not None  # no deadline was given
        message, fds = received
    except MonitorGoneError as err:
        _close_all(connection, [read for read, _ in pipes])
        raise _not_running(container_id) from err
    except BaseException:
        _close_all(connection, [read for read, _ in pipes])
        raise
    finally:
        for _, write in pipes:
            os.close(write)
    outputs = [read for read, _ in pipes]
    if message.type != MessageType.OK:
        _close_all(connection, outputs)
        raise HostError(attempted=f"cannot attach to container {container_id[:12]}", errno=message.error)
    return Attachment(connection, fds[0] if fds else -1, outputs[0], outputs[1] if len(outputs) > 1 else -1)


def resize(site: Site, container_id: str, rows: int, columns: int) -> None:
    """Set the size of a container's terminal; without one nothing happens."""
    check_tty_size((rows, columns))
    try:
        with Connection.open(site.home.container_runtime_dir(container_id)) as connection:
            connection.ask(Message(MessageType.RESIZE, value=rows << 16 | columns))
    except MonitorGoneError:
        pass  # it has just ended


def _close_all(connection: Connection, fds: list[int]) -> None:
    connection.close()
    for fd in fds:
        os.close(fd)


def _not_running(container_id: str) -> InvalidTransitionError:
    return InvalidTransitionError(
        action="attach to", status="not running", container=container_id[:12], hint="start the container first"
    )
