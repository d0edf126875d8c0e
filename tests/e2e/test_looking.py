"""Story: look at containers: processes, usage, everything at once, the plan, and what happened."""

from __future__ import annotations

import os
import pickle
from datetime import UTC
from pathlib import Path

import attrs
import pytest

import container_kit as ck
from container_kit import wait
from tests.e2e.interpreters import Interpreters, first_line
from tests.e2e.patience import eventually


def test_top_shows_the_processes_from_both_sides(engine: ck.Engine, image: ck.Image) -> None:
    """Host and inner ids, parents, user, command."""
    box = ck.start(image, ["payload", "sleep", "1000"], engine=engine)
    with box.spawn(["payload", "cat"], stdin=ck.PIPE):
        eventually(lambda: "sleeping" == box.top()[0].state, "it sleeps")
        first, second = box.top()

    assert (box.pid, 1, "payload sleep 1000") == (first.pid, first.inner_pid, first.command)
    assert "payload cat" == second.command
    assert second.inner_pid > 1
    assert os.geteuid() == first.uid
    assert first.rss_bytes > 0
    assert "sleeping" == first.state


def test_inspection_is_a_frozen_value_with_everything(engine: ck.Engine, image: ck.Image) -> None:
    """It does not change when the container does, and survives pickling."""
    box = ck.start(
        image, ["payload", "exit", "6"], name="web", labels={"app": "x"}, env={"A": "b"}, detach=True, engine=engine
    )
    box.wait()

    seen = box.inspect()
    box.rename("other")

    assert ("web", "exited", 6, None, 0) == (seen.name, seen.status, seen.exit_code, seen.pid, seen.restarts)
    assert (box.id, image.name) == (seen.id, seen.image)
    assert (("app", "x"),) == seen.config.labels
    assert ("payload", "exit", "6") == seen.config.command
    assert Path(seen.log).exists()
    assert seen == pickle.loads(pickle.dumps(seen))  # noqa: S301  # our own bytes
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        seen.name = "changed"  # type: ignore[misc]  # that it cannot be set is what is tested


def test_a_plan_says_what_a_start_does(engine: ck.Engine, image: ck.Image, tmp_path: Path) -> None:
    """Numbered steps for people to read, before anything is done."""
    mounts = [ck.Mount.bind(tmp_path, "/data", read_only=True)]
    box = ck.Container.create(image, ["payload", "echo", "hi"], mounts=mounts, hostname="web", engine=engine)

    text = str(box.plan)

    lines = text.splitlines()
    assert any(str(tmp_path) in line for line in lines)
    assert any("/data" in line and "attach" in line for line in lines)
    assert any("web" in line for line in lines)
    assert "payload" in lines[-1]


def test_events_tell_what_happened_in_order(engine: ck.Engine, image: ck.Image) -> None:
    """A container's life in Docker's words, each with a time and a growing number."""
    box = ck.start(image, ["payload", "trap", "HUP"], name="web", wait=wait.log("ready"), detach=True, engine=engine)
    box.kill("HUP")
    box.rename("new")
    box.stop()
    box.wait()
    box.remove()

    events = list(engine.events())

    actions = [event.action for event in events]
    numbers = [event.sequence for event in events]
    assert ["create", "start", "kill", "rename"] == actions[:4]
    assert {"stop", "die"} == set(actions[4:-1])
    assert "destroy" == actions[-1]
    assert sorted(set(numbers)) == numbers
    assert {box.id} == {event.id for event in events}
    assert {"web", "new"} == {event.name for event in events}
    assert all(event.time.tzinfo is UTC for event in events)


def test_events_can_be_read_on_from_a_cursor(engine: ck.Engine, image: ck.Image) -> None:
    """Nothing is told twice, nothing is left out."""
    ck.Container.create(image, ["payload", "true"], name="first", engine=engine)
    seen = list(engine.events())
    ck.Container.create(image, ["payload", "true"], name="second", engine=engine)

    later = list(engine.events(since=seen[-1].sequence))

    assert ["second"] == [event.name for event in later]


def test_events_can_be_followed_across_processes(
    engine: ck.Engine, image: ck.Image, interpreters: Interpreters
) -> None:
    """Another process hears at once what happens here; following ends when its time is up."""
    stranger = interpreters.start(
        """
        print("listening", flush=True)
        for event in engine.events(follow=True, timeout=60):
            print(event.action, dict(event.attributes).get("exit_code", ""), flush=True)
            if event.action == "destroy":
                break
        """
    )
    heard = [first_line(stranger)]

    ck.run(image, ["payload", "exit", "8"], engine=engine)

    heard += [first_line(stranger) for _ in range(4)]
    assert ["listening", "create", "start", "die 8", "destroy"] == heard


def test_capabilities_are_listed_with_reasons(engine: ck.Engine) -> None:
    """Each feature is there or not, says how or why, and what to change."""
    capabilities = engine.capabilities()

    assert len(capabilities) > 5
    assert all(capability.name and capability.reason for capability in capabilities)
    assert all(capability.remedy for capability in capabilities if not capability)
