"""The caller in the kill-point tests: prepares, says where it is, acts, and is killed or sees its monitor killed.

A program, run with `OPERATION MODE ACTOR ROOT RUNTIME IMAGE`. It prints `caller PID` or, when the actor to be killed is
not itself, `monitor PID`, waits for a line on stdin, acts, and prints `done` and how its operation ended.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence

import container_kit as ck
from container_kit._linux import shim
from container_kit._runtime import own_ids
from container_kit._runtime.state_file import read_state

NAME = "target"
SLEEP = ["payload", "sleep", "1000"]


def tell(what: str, pid: int) -> None:
    """Say which process is to be struck and wait until somebody watches it."""
    sys.stdout.write(f"{what} {pid}\n")
    sys.stdout.flush()
    sys.stdin.readline()


def announce_next_monitor() -> None:
    """Let the next monitor be announced as soon as it is there, before it gets GO."""
    begin_monitor = shim.begin_monitor
    told: list[int] = []

    def announced(fds: Sequence[int]) -> shim.Starting:
        starting = begin_monitor(fds)
        if not told:
            told.append(starting.pid)
            tell("monitor", starting.pid)
        return starting

    shim.begin_monitor = announced


class Operations:
    """Each method prepares what its operation needs and returns the operation."""

    def __init__(self, engine: ck.Engine, image: ck.Image, mode: str) -> None:
        self.engine = engine
        self.image = image
        self.detach = mode == "detached"
        self.security = ck.Security(userns="auto" if mode == "mapped" else "host")
        if mode == "mapped":
            own_ids.find_support(engine.site)  # asked of a monitor, which is none of those to be struck
        self.running: ck.Container | None = None

    def created(self) -> ck.Container:
        """Make the container."""
        return ck.Container.create(
            self.image, SLEEP, name=NAME, detach=self.detach, security=self.security, engine=self.engine
        )

    def started(self) -> ck.Container:
        """Make the container and start it."""
        self.running = self.created()
        self.running.start()
        return self.running

    def prepare_create(self) -> Callable[[], object]:
        """Nothing is there."""
        return self.created

    def prepare_start(self) -> Callable[[], object]:
        """The container is there."""
        return self.created().start

    def prepare_run(self) -> Callable[[], object]:
        """Nothing is there."""
        command = ["payload", "echo", "hello"]
        return lambda: ck.run(self.image, command, name=NAME, security=self.security, engine=self.engine)

    def prepare_exec(self) -> Callable[[], object]:
        """The container runs."""
        container = self.started()
        return lambda: container.exec(["payload", "true"])

    def prepare_stop(self) -> Callable[[], object]:
        """The container runs."""
        container = self.started()
        return lambda: container.stop(timeout=0)

    def prepare_remove(self) -> Callable[[], object]:
        """The container ran and is stopped."""
        container = self.started()
        container.stop(timeout=0)
        self.running = None
        return container.remove

    def prepare_force(self) -> Callable[[], object]:
        """The container runs and is going to be removed all the same."""
        container = self.started()
        return lambda: container.remove(force=True)


def main() -> None:
    """Prepare, announce, act."""
    operation, mode, actor, root, runtime, image = sys.argv[1:]
    engine = ck.Engine(root, runtime=runtime)
    operations = Operations(engine, ck.Image.from_directory(image), mode)
    act = getattr(operations, f"prepare_{operation}")()
    if actor == "caller":
        tell("caller", os.getpid())
    elif operations.running is None:
        announce_next_monitor()
    else:
        state = read_state(engine.site.home.state_file(operations.running.id))
        assert state is not None
        tell("monitor", state.monitor.pid)
    try:
        act()
    except ck.ContainerKitError as err:
        sys.stdout.write(f"done {type(err).__name__} {err}\n")
    else:
        sys.stdout.write("done\n")


if __name__ == "__main__":
    main()
