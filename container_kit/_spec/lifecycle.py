"""The states of a container and what may be done in each: one table.

The status itself is never stored, it is asked of the kernel; this module only says
which action is possible when, and what it leads to.
"""

from __future__ import annotations

import enum

from container_kit.errors import InvalidTransitionError


class Status(enum.Enum):
    """Docker's words; `DEAD` is one whose removal was begun and not finished, or whose PID 1 survives SIGKILL."""

    CREATED = "created"
    RUNNING = "running"
    PAUSED = "paused"
    RESTARTING = "restarting"
    EXITED = "exited"
    DEAD = "dead"
    REMOVED = "removed"


class Action(enum.Enum):
    """What a caller can do to a container."""

    START = "start"
    STOP = "stop"
    KILL = "kill"
    RESTART = "restart"
    PAUSE = "pause"
    UNPAUSE = "unpause"
    EXEC = "exec"
    ATTACH = "attach"
    EXAMINE = "examine"
    WAIT = "wait"
    UPDATE = "update"
    RENAME = "rename"
    REMOVE = "remove"


_CREATED, _RUNNING, _PAUSED = Status.CREATED, Status.RUNNING, Status.PAUSED
_RESTARTING, _EXITED, _DEAD, _REMOVED = Status.RESTARTING, Status.EXITED, Status.DEAD, Status.REMOVED

# action → {status before: status after}. Stopping what has stopped is a success that changes nothing.
TRANSITIONS: dict[Action, dict[Status, Status]] = {
    Action.START: {_CREATED: _RUNNING, _EXITED: _RUNNING},
    Action.STOP: {
        _CREATED: _CREATED, _RUNNING: _EXITED, _PAUSED: _EXITED, _RESTARTING: _EXITED, _EXITED: _EXITED, _DEAD: _DEAD,
    },
    Action.KILL: {_RUNNING: _RUNNING, _PAUSED: _PAUSED, _RESTARTING: _EXITED},
    Action.RESTART: {
        _CREATED: _RUNNING, _RUNNING: _RUNNING, _PAUSED: _RUNNING, _RESTARTING: _RUNNING, _EXITED: _RUNNING,
    },
    Action.PAUSE: {_RUNNING: _PAUSED},
    Action.UNPAUSE: {_PAUSED: _RUNNING},
    Action.EXEC: {_RUNNING: _RUNNING},
    Action.ATTACH: {_RUNNING: _RUNNING, _PAUSED: _PAUSED, _RESTARTING: _RESTARTING},
    Action.EXAMINE: {_RUNNING: _RUNNING, _PAUSED: _PAUSED},
    Action.WAIT: {
        _CREATED: _EXITED, _RUNNING: _EXITED, _PAUSED: _EXITED, _RESTARTING: _EXITED, _EXITED: _EXITED, _DEAD: _DEAD,
    },
    Action.UPDATE: {
        _CREATED: _CREATED, _RUNNING: _RUNNING, _PAUSED: _PAUSED, _RESTARTING: _RESTARTING, _EXITED: _EXITED,
    },
    Action.RENAME: {
        _CREATED: _CREATED, _RUNNING: _RUNNING, _PAUSED: _PAUSED, _RESTARTING: _RESTARTING, _EXITED: _EXITED,
    },
    Action.REMOVE: {_CREATED: _REMOVED, _EXITED: _REMOVED, _DEAD: _REMOVED},
}  # fmt: skip

_HINTS: dict[tuple[Action, Status], str] = {
    (Action.START, _RUNNING): "restart() ends it first",
    (Action.START, _PAUSED): "unpause() lets it go on",
    (Action.START, _RESTARTING): "its restart policy will start it; stop() ends that",
    (Action.START, _DEAD): "its removal was begun; remove() finishes it",
    (Action.EXEC, _PAUSED): "unpause() it first",
    (Action.EXEC, _CREATED): "start() it first",
    (Action.EXEC, _EXITED): "start() it first",
    (Action.REMOVE, _RUNNING): "stop() it first, or remove(force=True)",
    (Action.REMOVE, _PAUSED): "stop() it first, or remove(force=True)",
    (Action.REMOVE, _RESTARTING): "stop() it first, or remove(force=True)",
    (Action.UNPAUSE, _RUNNING): "it is not paused: there is nothing to do",
    (Action.PAUSE, _PAUSED): "it is paused already: there is nothing to do",
}
_USUAL_HINTS = {
    _CREATED: "start() it first",
    _EXITED: "start() it first",
    _PAUSED: "unpause() it first",
    _RESTARTING: "wait for its next run, or stop() it",
    _DEAD: "its removal was begun; remove() finishes it",
}


def check_transition(action: Action, status: Status, container: str = "") -> Status:
    """Return the status an action leads to, or raise `InvalidTransitionError`."""
    after = TRANSITIONS[action].get(status)
    if after is None:
        hint = _HINTS.get((action, status), _USUAL_HINTS.get(status))
        raise InvalidTransitionError(action=action.value, status=status.value, container=container, hint=hint)
    return after


def draw_lifecycle() -> str:
    """Return the table as text for the docs: a row an action, a column a status; `–` is an error."""
    columns = [status for status in Status if status is not Status.REMOVED]
    width = max(len(action.value) for action in Action) + 2
    rows = [["", *(status.value for status in columns)]]
    for action, after in TRANSITIONS.items():
        cells = (after[status].value if status in after else "–" for status in columns)
        rows.append([action.value, *cells])
    return "".join(f"{row[0]:<{width}}{''.join(f'{cell:<12}' for cell in row[1:])}".rstrip() + "\n" for row in rows)
