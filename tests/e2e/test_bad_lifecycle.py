"""Story: what a container cannot do now, and what cannot be found, is said with the way out."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest

import container_kit as ck
from container_kit import errors

SLEEP = ["payload", "sleep", "1000"]


def refused(action: Callable[[], object]) -> errors.InvalidTransitionError:
    """Return the error of an action that does not exist now."""
    with pytest.raises(errors.InvalidTransitionError) as caught:
        action()
    return caught.value


def test_start_of_a_running_container_is_refused(engine: ck.Engine, image: ck.Image) -> None:
    """The hint offers restart()."""
    with ck.start(image, SLEEP, name="web", engine=engine) as box:
        error = refused(box.start)

        assert ("start", "running", "web") == (error.action, error.status, error.container)
        assert "restart()" in (error.hint or "")
        assert "running" == box.status


def test_stop_of_a_stopped_container_is_fine(engine: ck.Engine, image: ck.Image) -> None:
    """Also twice, and before the first start."""
    box = ck.Container.create(image, SLEEP, engine=engine, detach=True)

    box.stop()
    before = box.status
    box.start()
    box.stop(timeout=0)
    box.stop()

    assert ("created", "exited") == (before, box.status)


def test_remove_of_a_running_container_is_refused(engine: ck.Engine, image: ck.Image) -> None:
    """Unless it is forced."""
    with ck.start(image, SLEEP, engine=engine) as box:
        error = refused(box.remove)

        assert ("remove", "running") == (error.action, error.status)
        assert "remove(force=True)" in (error.hint or "")
        assert "running" == box.status


ACTIONS: dict[str, Callable[[ck.Container], object]] = {
    "kill": lambda box: box.kill(),
    "pause": lambda box: box.pause(),
    "unpause": lambda box: box.unpause(),
    "exec": lambda box: box.exec(["payload", "true"]),
    "spawn": lambda box: box.spawn(["payload", "true"]),
    "attach": lambda box: box.attach(),
}


@pytest.mark.parametrize("name", ACTIONS)
@pytest.mark.parametrize("status", ["created", "exited"])
def test_what_needs_a_running_container_is_refused_without_one(
    engine: ck.Engine, image: ck.Image, name: str, status: str
) -> None:
    """The hint is to start it."""
    box = ck.Container.create(image, SLEEP, engine=engine, detach=True)
    if status == "exited":
        box.start()
        box.stop(timeout=0)

    error = refused(lambda: ACTIONS[name](box))

    assert (status, "start() it first") == (error.status, error.hint)


def test_an_unknown_name_comes_with_similar_ones(engine: ck.Engine, image: ck.Image) -> None:
    """`near` has them."""
    ck.Container.create(image, SLEEP, name="web-server", engine=engine)

    with pytest.raises(LookupError) as caught:
        ck.Container.get("web-servr", engine=engine)

    assert isinstance(caught.value, errors.ContainerNotFoundError)
    assert ("web-servr", ("web-server",)) == (caught.value.name, caught.value.near)
    assert "Container.list" in (caught.value.hint or "")


@pytest.mark.parametrize("name", ["", "zzzz", "../etc", "a\0b", "ü", "\udcff"], ids=repr)
def test_what_cannot_be_a_name_is_not_found(engine: ck.Engine, name: str) -> None:
    """Whatever is asked for, the answer is the same kind of error."""
    with pytest.raises(errors.ContainerNotFoundError) as caught:
        ck.Container.get(name, engine=engine)

    assert (name, ()) == (caught.value.name, caught.value.near)


def test_a_name_of_another_type_is_refused(engine: ck.Engine) -> None:
    """A number is no name."""
    number: Any = 5

    with pytest.raises(errors.InvalidNameError) as caught:
        ck.Container.get(number, engine=engine)

    assert ("name", 5) == (caught.value.field, caught.value.value)


def test_an_ambiguous_beginning_of_an_id_lists_the_ids(engine: ck.Engine, image: ck.Image) -> None:
    """Seventeen containers have two ids that begin with the same digit."""
    ids = sorted(ck.Container.create(image, SLEEP, engine=engine).id for _ in range(17))
    digit = next(first[0] for first, second in itertools.pairwise(ids) if first[0] == second[0])

    with pytest.raises(errors.AmbiguousIdError) as caught:
        ck.Container.get(digit, engine=engine)

    assert digit == caught.value.prefix
    assert set(caught.value.matches) <= {one for one in ids if one.startswith(digit)}
    assert len(caught.value.matches) > 1
    assert "more digits" in (caught.value.hint or "")


def test_a_name_that_is_taken_names_its_holder(engine: ck.Engine, image: ck.Image) -> None:
    """By create, by run and by rename alike."""
    holder = ck.Container.create(image, SLEEP, name="taken", engine=engine)
    other = ck.Container.create(image, SLEEP, name="other", engine=engine)
    attempts: list[Callable[[], object]] = [
        lambda: ck.Container.create(image, SLEEP, name="taken", engine=engine),
        lambda: ck.run(image, SLEEP, name="taken", engine=engine),
        lambda: other.rename("taken"),
    ]

    for attempt in attempts:
        with pytest.raises(errors.NameInUseError) as caught:
            attempt()
        assert ("taken", holder.id) == (caught.value.name, caught.value.holder)
        assert "choose another name" in (caught.value.hint or "")


@pytest.mark.parametrize("signal", ["NOTHING", 0, 65, -9, 1.5])
def test_a_signal_that_is_none_is_refused(engine: ck.Engine, image: ck.Image, signal: Any) -> None:
    """And nothing is sent."""
    with ck.start(image, SLEEP, engine=engine) as box:
        with pytest.raises(errors.InvalidSpecError) as caught:
            box.kill(signal)

        assert "signal" == caught.value.field
        assert "running" == box.status


@pytest.mark.parametrize("timeout", [-1, float("nan"), float("inf"), "1"], ids=repr)
def test_a_timeout_that_is_no_duration_is_refused(engine: ck.Engine, image: ck.Image, timeout: Any) -> None:
    """By whatever takes one; the container is not touched."""
    with ck.start(image, SLEEP, engine=engine) as box:
        attempts: list[Callable[[], object]] = [
            lambda: box.stop(timeout=timeout),
            lambda: box.wait(timeout=timeout),
            lambda: box.exec(["payload", "true"], timeout=timeout),
        ]
        for attempt in attempts:
            with pytest.raises(errors.InvalidSpecError) as caught:
                attempt()
            assert "timeout" == caught.value.field
        assert "running" == box.status


def test_a_timeout_of_a_month_is_fine(engine: ck.Engine, image: ck.Image) -> None:
    """More milliseconds than poll(2) can count."""
    month = 31 * 86400.0

    completed = ck.run(image, ["payload", "true"], timeout=month, engine=engine)
    with ck.start(image, SLEEP, engine=engine) as box:
        executed = box.exec(["payload", "true"], timeout=month)
        box.kill()
        code = box.wait(timeout=month)

    assert (0, 0, 137) == (completed.returncode, executed.returncode, code)


@pytest.mark.parametrize("timeout", [0, 1e-9, 0.001, 0.002, 0.003, 0.005])
def test_a_timeout_that_ends_the_launch_is_a_timeout(engine: ck.Engine, image: ck.Image, timeout: float) -> None:
    """However early it strikes, the result says so, and no launch error does."""
    completed = ck.run(image, SLEEP, timeout=timeout, engine=engine)

    assert (True, 137) == (completed.timed_out, completed.returncode)


def test_a_removed_container_is_not_found(engine: ck.Engine, image: ck.Image) -> None:
    """Whatever is asked of it; removing it once more is fine when that is said."""
    box = ck.Container.create(image, SLEEP, engine=engine)
    box.remove()
    actions: list[Callable[[], object]] = [
        lambda: box.status,
        box.start,
        box.stop,
        box.remove,
        lambda: list(box.logs()),
        lambda: box.exec(["payload", "true"]),
    ]

    for action in actions:
        with pytest.raises(errors.ContainerNotFoundError) as caught:
            action()
        assert box.id == caught.value.name
    box.remove(missing_ok=True)
