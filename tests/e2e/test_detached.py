"""Story: a detached container outlives the Python that made it; any later one finds it."""

from __future__ import annotations

import container_kit as ck
from container_kit import wait
from tests.e2e.interpreters import Interpreters


def test_a_second_interpreter_finds_logs_enters_and_removes_it(engine: ck.Engine, interpreters: Interpreters) -> None:
    """Everything can be done from the outside, knowing nothing but the name."""
    interpreters.run(
        """
        ck.start(image, ["payload", "trap", "HUP"], name="web", detach=True, wait=wait.log("ready"), engine=engine)
        """
    )

    output = interpreters.run(
        """
        box = ck.Container.get("web", engine=engine)
        print(box.status, [line.text for line in box.logs()])
        print(box.exec(["payload", "echo", "inside"], text=True).stdout.strip())
        box.kill("HUP")
        box.wait(condition=wait.log("SIGHUP"))
        box.stop(timeout=30)
        print(box.status, box.exit_code)
        box.remove()
        """
    )

    assert ["running ['ready']", "inside", "exited 15"] == output.splitlines()
    assert [] == ck.Container.list(all=True, engine=engine)


def test_its_end_is_known_though_nobody_watched(engine: ck.Engine, interpreters: Interpreters) -> None:
    """It ended while no Python was there; exit code, times and log are kept."""
    container_id = interpreters.run(
        """
        box = ck.start(host, ck.shell("echo last words; exit 7"), name="job", detach=True, engine=engine)
        print(box.id)
        """
    ).strip()

    box = ck.Container.get(container_id, engine=engine)

    code = box.wait(timeout=20)
    seen = box.inspect()
    assert (7, "exited", 7) == (code, seen.status, seen.exit_code)
    assert seen.started_at is not None
    assert seen.finished_at is not None
    assert seen.created_at <= seen.started_at <= seen.finished_at <= seen.read_at
    assert ["last words"] == [line.text for line in box.logs()]


def test_another_interpreter_can_start_it_again(engine: ck.Engine, interpreters: Interpreters) -> None:
    """It stays detached, and has kept its files."""
    interpreters.run(
        """
        box = ck.start(image, ["payload", "sleep", "1000"], name="web", detach=True, engine=engine)
        box.exec(["payload", "write", "/srv/kept", "x"], check=True)
        box.stop(timeout=0)
        """
    )
    interpreters.run('ck.Container.get("web", engine=engine).start()')

    box = ck.Container.get("web", engine=engine)

    assert ("running", b"x") == (box.status, box.exec(["payload", "cat", "/srv/kept"]).stdout)


def test_auto_removal_works_without_anybody(engine: ck.Engine, interpreters: Interpreters) -> None:
    """A detached container with remove=True that ended alone is not there any more; its end is an event."""
    container_id = interpreters.run(
        """
        box = ck.start(image, ["payload", "exit", "5"], name="once", detach=True, remove=True, engine=engine)
        print(box.id)
        """
    ).strip()

    with_exit = ck.Container(container_id, engine)

    assert 5 == with_exit.wait(timeout=20)
    assert [] == ck.Container.list(all=True, engine=engine)
    assert ["create", "start", "die", "destroy"] == [event.action for event in engine.events()]


def test_a_condition_may_be_waited_for_from_outside(engine: ck.Engine, interpreters: Interpreters) -> None:
    """wait() with a condition needs no owner."""
    interpreters.run('ck.start(image, ["payload", "listen", "8080"], name="web", detach=True, engine=engine)')

    box = ck.Container.get("web", engine=engine)

    assert 0 == box.wait(timeout=20, condition=wait.port(8080) & wait.log("ready"))
