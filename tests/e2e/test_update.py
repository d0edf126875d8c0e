"""Story: `update`, and limits where none can be kept: refused before anything is made, in words that help."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

import container_kit as ck
from container_kit import RestartPolicy, errors
from tests.e2e.patience import eventually
from tests.e2e.worlds import AS_STRANGER, run_in

SLEEP = ["payload", "sleep", "1000"]

REFUSALS = """
from container_kit import Resources
answer = {}
tight = {"resources": Resources(memory="64m", pids=5)}
command = ["payload", "sleep", "1000"]
with open_engine() as engine:
    answer["run"] = attempt(lambda: ck.run(image, command, engine=engine, **tight))
    answer["start"] = attempt(lambda: ck.start(image, command, engine=engine, **tight))
    answer["create"] = attempt(lambda: ck.Container.create(image, command, engine=engine, **tight))
    lifted = ck.run(image, ["payload", "true"], resources=Resources(memory=-1, pids=-1), engine=engine)
    answer["lifted"] = lifted.returncode
    box = ck.Container.create(image, command, engine=engine)
    answer["update"] = attempt(lambda: box.update(resources=Resources(pids=5)))
    answer["config"] = box.inspect().config.resources == Resources()
    box.remove()
    recorded = ck.Container.list(all=True, engine=engine)
    answer["left"] = os.listdir(engine.site.home.containers) + [one.name for one in recorded]
    answer["capability"] = {one.name: [one.reason, one.remedy] for one in engine.capabilities() if not one}
print(json.dumps(answer))
"""


@pytest.mark.needs_root
def test_limits_that_cannot_be_kept_are_refused(tmp_path: Path, payload_rootfs: Path) -> None:
    """For a user whom nothing is delegated to; the error says what `capabilities` says. Lifting one needs nothing."""
    answer: dict[str, Any] = run_in(AS_STRANGER, REFUSALS, tmp_path, payload_rootfs)

    refused = [answer[name] for name in ("run", "start", "create")]
    assert ["UnsupportedHostError"] * 3 == [one["type"] for one in refused]
    assert {"memory, pids limits"} == {one["feature"] for one in refused}
    assert ("UnsupportedHostError", "pids limits") == (answer["update"]["type"], answer["update"]["feature"])
    assert [answer["update"]["reason"], answer["update"]["hint"]] == answer["capability"]["pids limits"]
    assert (0, True, []) == (answer["lifted"], answer["config"], answer["left"])


def test_a_restart_policy_can_be_changed(engine: ck.Engine, image: ck.Image) -> None:
    """Of a running container: its monitor is told; the config says what holds."""
    box = ck.start(image, SLEEP, detach=True, engine=engine)

    box.update(restart=RestartPolicy.always())
    assert box.pid is not None
    os.kill(box.pid, signal.SIGKILL)
    eventually(lambda: box.inspect().restarts == 1 and box.status == "running", "a restart")
    box.update(restart=RestartPolicy())
    os.kill(box.pid, signal.SIGKILL)

    assert 137 == box.wait(timeout=20)
    assert RestartPolicy() == box.inspect().config.restart


def test_a_policy_given_before_the_start_counts(engine: ck.Engine, image: ck.Image) -> None:
    """A container that does not run is changed as well, and nothing else of it is."""
    box = ck.Container.create(image, ["payload", "exit", "3"], labels={"a": "b"}, detach=True, engine=engine)

    box.update(restart=RestartPolicy.on_failure(2))
    box.start()
    code = box.wait(timeout=20)

    assert (3, 2, {"a": "b"}) == (code, box.inspect().restarts, box.labels)


def test_an_update_must_change_something_that_makes_sense(engine: ck.Engine, image: ck.Image) -> None:
    """Values are checked together with those that stay."""
    box = ck.start(image, SLEEP, remove=True, engine=engine)

    with pytest.raises(errors.InvalidSpecError, match="changes nothing"):
        box.update()
    with pytest.raises(errors.InvalidSpecError, match="contradicts restart"):
        box.update(restart=RestartPolicy.always())
    with pytest.raises(errors.InvalidSpecError, match="oom_score_adj"):
        box.update(resources=ck.Resources(oom_score_adj=500))

    assert RestartPolicy() == box.inspect().config.restart


@pytest.mark.parametrize("path", ["no-such-cgroup", "/a/../b", "x" * 256, ""])
@pytest.mark.needs_cgroup2
def test_an_engine_takes_only_a_cgroup_that_is_there(tmp_path: Path, path: str) -> None:
    """Nothing is made of a directory for an engine that cannot be opened."""
    with pytest.raises(errors.InvalidSpecError) as caught:
        ck.Engine(tmp_path / "s", cgroup_parent=path)

    assert "cgroup_parent" == caught.value.field
    assert not (tmp_path / "s").exists()
