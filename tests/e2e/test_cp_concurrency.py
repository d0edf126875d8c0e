"""Story: several at a container's files at once: other copies, starts, restarts, removals, callers that die."""

from __future__ import annotations

import signal
import threading

import pytest

import container_kit as ck
from container_kit import errors
from container_kit._linux.processes import own_process_id
from container_kit._spec.ids import ContainerId
from container_kit._state import records
from container_kit._state.container_record import Phase
from tests.e2e.boxes import Box, make, run
from tests.e2e.interpreters import Interpreters, first_line
from tests.e2e.patience import eventually


def in_background(action: object) -> tuple[threading.Thread, threading.Event]:
    """Do something in a thread; the event says that it is done."""
    done = threading.Event()

    def work() -> None:
        assert callable(action)
        action()
        done.set()

    thread = threading.Thread(target=work)
    thread.start()
    return thread, done


def test_who_comes_while_a_container_is_being_started_waits(engine: ck.Engine, image: ck.Image) -> None:
    """Its monitor lives and has said nothing yet: which tree it will have is not known."""
    box = make(engine, image)
    database, name = engine.site.database, ContainerId(box.id)
    records.set_phase(database, name, Phase.STARTED, monitor=str(own_process_id()))

    thread, done = in_background(lambda: box.path("/srv/x").write_text("x"))
    waited = not done.wait(0.2)
    records.set_phase(database, name, Phase.CREATED, monitor="")
    thread.join(20)

    assert waited
    assert "x" == box.path("/srv/x").read_text()


def test_copies_into_a_container_that_does_not_run_come_one_after_the_other(engine: ck.Engine, image: ck.Image) -> None:
    """Each has the tree for itself; all of them arrive."""
    box = make(engine, image)

    def copy(number: int) -> None:
        for round_ in range(5):
            box.copy_in(f"{number}".encode(), f"/srv/{number}.{round_}")

    threads = [threading.Thread(target=copy, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert 20 == len(list(box.path("/srv").iterdir()))


def test_a_caller_that_dies_in_the_middle_holds_nobody_up(
    engine: ck.Engine, image: ck.Image, interpreters: Interpreters
) -> None:
    """Its lock and its worker go with it; what it wrote is there."""
    box = make(engine, image)
    other = interpreters.start(f"""
        with ck.Container.get({box.id!r}, engine=engine).files() as files:
            files.path("/srv/x").write_text("x")
            print("written", flush=True)
            signal.pause()
    """)
    assert "written" == first_line(other)

    other.send_signal(signal.SIGKILL)
    other.wait(20)
    box.start()

    assert b"x" == box.exec(["payload", "cat", "/srv/x"]).stdout


def test_another_process_waits_for_a_copy(engine: ck.Engine, image: ck.Image, interpreters: Interpreters) -> None:
    """The lock is between processes, not only between threads."""
    box = make(engine, image)
    with box.files() as files:
        other = interpreters.start(f"""
            box = ck.Container.get({box.id!r}, engine=engine)
            print("here", flush=True)
            print(box.path("/srv/x").read_text(), flush=True)
        """)
        assert "here" == first_line(other)
        files.path("/srv/x").write_text("complete")

    assert "complete" == first_line(other)


def test_a_container_that_restarts_all_the_time_can_be_read(engine: ck.Engine, image: ck.Image) -> None:
    """Whatever moment it is; writing is refused while its monitor may mount the tree, and says why."""
    started = ck.start(image, ["payload", "false"], restart="always", detach=True, engine=engine)
    box = Box(started.id, engine)
    eventually(lambda: "restarting" == box.status, "it restarts")
    written = 0
    refused: list[errors.InvalidTransitionError] = []

    for _ in range(30):
        assert "payload" in box.path("/etc/os-release").read_text()
        try:
            box.copy_in(b"x", "/srv/x")
            written += 1
        except errors.InvalidTransitionError as err:
            refused.append(err)
    box.stop(timeout=0)

    assert (written > 0) == box.path("/srv/x").exists()
    assert {"restarting"} >= {err.status for err in refused}
    assert all(err.hint for err in refused)


def test_a_container_that_ends_all_the_time_is_reached_all_the_same(engine: ck.Engine, image: ck.Image) -> None:
    """Short runs, and looks at every moment of them: before, in, at the end of, after."""
    box = make(engine, image, "true")
    for number in range(10):
        box.start()
        box.copy_in(b"x", f"/srv/{number}")
        box.wait(timeout=20)

    assert 10 == len(list(box.path("/srv").iterdir()))


@pytest.mark.parametrize("state", ["created", "running"])
def test_a_container_can_be_removed_while_somebody_looks_at_it(engine: ck.Engine, image: ck.Image, state: str) -> None:
    """Who looks keeps what it has open; nothing is left afterwards."""
    box = run(engine, image) if state == "running" else make(engine, image)
    with box.path("/etc/os-release").open("rb") as file:
        box.remove(force=True)
        assert b"payload" in file.read()

    with pytest.raises(errors.ContainerNotFoundError):
        box.path("/etc/os-release").read_text()


def test_many_files_may_be_open_at_once(engine: ck.Engine, image: ck.Image) -> None:
    """Each has its own place in the tree; all are closed and nothing is left."""
    box = run(engine, image)
    files = [box.path(f"/srv/{number}").open("wb") for number in range(20)]
    for number, file in enumerate(files):
        file.write(f"{number}".encode())
    for file in files:
        file.close()

    assert ["0", "19"] == [box.path(f"/srv/{number}").read_text() for number in (0, 19)]
