"""Story: many threads and processes use the same containers; what happens is some order of what each did."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

import container_kit as ck
from container_kit import errors
from tests.e2e.interpreters import Interpreters, first_line

LOSES = (errors.InvalidTransitionError, errors.ContainerNotFoundError)


def race(*actions: Callable[[], object]) -> list[object]:
    """Do all at the same time; return results, or the errors of those who lost."""
    barrier = Barrier(len(actions))

    def act(action: Callable[[], object]) -> object:
        barrier.wait(30)
        try:
            return action()
        except LOSES as err:
            return err

    with ThreadPoolExecutor(len(actions)) as pool:
        return list(pool.map(act, actions, timeout=120))


@pytest.mark.slow
def test_eight_threads_run_twenty_containers_each(engine: ck.Engine, image: ck.Image) -> None:
    """Every one gets its own answer, and all are gone."""

    def work(thread: int) -> list[bytes]:
        return [ck.run(image, ["payload", "echo", f"{thread}.{n}"], engine=engine).stdout for n in range(20)]

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(work, range(8)))

    assert [[f"{thread}.{n}\n".encode() for n in range(20)] for thread in range(8)] == answers
    assert [] == ck.Container.list(all=True, engine=engine)


def test_of_many_processes_that_start_one_container_one_wins(
    engine: ck.Engine, image: ck.Image, interpreters: Interpreters
) -> None:
    """The others learn that it runs, or is being started."""
    box = ck.Container.create(image, ["payload", "sleep", "1000"], name="web", detach=True, engine=engine)
    script = """
    box = ck.Container.get("web", engine=engine)
    print("ready", flush=True)
    sys.stdin.readline()
    try:
        box.start()
    except ck.errors.InvalidTransitionError:
        print("lost", flush=True)
    else:
        print("won", flush=True)
    """
    starters = [interpreters.start(script) for _ in range(4)]
    for starter in starters:
        assert "ready" == first_line(starter)

    for starter in starters:
        assert starter.stdin is not None
        starter.stdin.write("go\n")
        starter.stdin.flush()

    assert ["lost", "lost", "lost", "won"] == sorted(first_line(starter) for starter in starters)
    assert "running" == box.status
    assert 1 == len(box.top())


def test_of_many_threads_that_take_one_name_one_gets_it(engine: ck.Engine, image: ck.Image) -> None:
    """The rest leaves nothing."""

    def take() -> str:
        try:
            return ck.Container.create(image, ["payload", "true"], name="web", engine=engine).id
        except errors.NameInUseError:
            return ""

    taken = [got for got in race(*[take] * 8) if got]

    assert taken == [box.id for box in ck.Container.list(all=True, engine=engine)]
    assert 1 == len(taken)


@pytest.mark.parametrize("attempt", range(5))
def test_remove_and_start(engine: ck.Engine, image: ck.Image, attempt: int) -> None:
    """It runs or it is gone: nothing in between, and nothing is left."""
    box = ck.Container.create(image, ["payload", "sleep", "1000"], engine=engine)

    race(box.start, lambda: box.remove(force=True))

    assert [one.status for one in ck.Container.list(all=True, engine=engine)] in ([], ["running"])
    box.remove(force=True, missing_ok=True)
    assert [] == ck.Container.list(all=True, engine=engine)


@pytest.mark.parametrize("attempt", range(5))
def test_stop_and_start(engine: ck.Engine, image: ck.Image, attempt: int) -> None:
    """One comes after the other."""
    box = ck.Container.create(image, ["payload", "sleep", "1000"], engine=engine)

    race(box.start, lambda: box.stop(timeout=0))
    after_first = box.status
    race(lambda: box.stop(timeout=0), lambda: box.stop(timeout=0), lambda: box.restart(timeout=0))

    assert after_first in ("running", "created", "exited")
    assert box.status in ("running", "created", "exited")
    if box.status == "running":
        assert b"works\n" == box.exec(["payload", "echo", "works"]).stdout


@pytest.mark.parametrize("attempt", range(5))
def test_two_removals_are_one(engine: ck.Engine, image: ck.Image, attempt: int) -> None:
    """With missing_ok none of them fails."""
    box = ck.start(image, ["payload", "sleep", "1000"], engine=engine)

    results = race(*[lambda: box.remove(force=True, missing_ok=True)] * 3)

    assert [None] * 3 == results
    assert [] == ck.Container.list(all=True, engine=engine)


@pytest.mark.parametrize("attempt", range(5))
def test_exec_and_stop(engine: ck.Engine, image: ck.Image, attempt: int) -> None:
    """The command ends with the container, or never began."""
    box = ck.start(image, ["payload", "sleep", "1000"], engine=engine)

    result, _ = race(lambda: box.exec(["payload", "sleep", "1000"]), lambda: box.stop(timeout=0))

    if isinstance(result, ck.Completed):
        assert 137 == result.returncode
    else:
        assert isinstance(result, errors.InvalidTransitionError)


def test_listing_does_not_stumble_over_what_comes_and_goes(engine: ck.Engine, image: ck.Image) -> None:
    """Containers that end while they are looked at are not an error."""

    def churn() -> None:
        for _ in range(15):
            ck.run(image, ["payload", "true"], engine=engine)

    def look() -> None:
        for _ in range(60):
            for box in ck.Container.list(all=True, engine=engine):
                assert len(box.id) == 64

    assert [None] * 4 == race(churn, churn, look, look)
