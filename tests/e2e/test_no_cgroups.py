"""Story: no control group can be made here. Everything works all the same, but pausing, which says why it does not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.e2e.worlds import AS_STRANGER, run_in

# A user whom no cgroup was delegated to, on a host where no cgroup file system can be seen.
HIDDEN = "mount -t tmpfs hidden /sys/fs/cgroup"

WORLDS = {
    "not delegated": pytest.param(AS_STRANGER, "true", marks=pytest.mark.needs_root, id="not delegated"),
    "hidden": pytest.param([*AS_STRANGER, "--mount"], HIDDEN, marks=pytest.mark.needs_userns, id="hidden"),
    "hidden from root": pytest.param(["unshare", "--mount"], HIDDEN, marks=pytest.mark.needs_root, id="hidden, root"),
}

STORY = """
import signal, uuid
from container_kit._runtime.state_file import read_state
from tests.e2e.patience import ends_within, eventually
def alive(marker):
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                if marker.encode() in file.read().split(b"\\0"):
                    found.append(pid)
        except OSError:
            pass
    return found
answer = {}
with open_engine() as engine:
    answer["cgroup"] = engine.site.cgroup_parent
    ran = ck.run(image, ["payload", "echo", "hello"], text=True, engine=engine)
    answer["run"] = [ran.returncode, ran.stdout]

    marker = uuid.uuid4().hex
    late = ck.run(image, ["payload", "fork-tree", "3", marker], timeout=1, engine=engine)
    answer["run timeout"] = [late.timed_out, late.returncode, alive(marker)]

    with ck.start(image, ["payload", "sleep", "1000"], engine=engine) as box:
        marker = uuid.uuid4().hex
        late = box.exec(["payload", "fork-tree", "3", marker], timeout=1)
        answer["exec timeout"] = [late.timed_out, late.returncode, alive(marker), box.status]
        answer["pause"] = attempt(box.pause)
        seen = box.stats()
        answer["stats"] = [seen.pids, seen.memory_bytes > 0, seen.memory_limit_bytes]

        marker = uuid.uuid4().hex
        with box.spawn(["payload", "fork-tree", "3", marker]) as process:
            process.stdout.readline()
        eventually(lambda: not alive(marker), "the end of what the closed session had started")
        answer["hang up"] = box.status

    marker = uuid.uuid4().hex
    tree = ["payload", "fork-tree", "300", marker]
    box = ck.start(image, tree, detach=True, engine=engine)
    box.stop(timeout=0.1)
    answer["stop"] = [box.status, box.exit_code, alive(marker)]
    box.start()
    box.kill()
    answer["kill"] = [box.wait(timeout=10), alive(marker)]
    box.start()
    init, state = os.pidfd_open(box.pid), read_state(engine.site.home.state_file(box.id))
    monitor = os.pidfd_open(state.monitor.pid)
    os.kill(state.monitor.pid, signal.SIGKILL)
    assert ends_within(monitor, 20)
    answer["monitor killed"] = [box.status, ends_within(init, 0), alive(marker)]
    box.remove()
    answer["left"] = os.listdir(engine.site.home.containers) + os.listdir(engine.site.home.runtime)
    answer["capability"] = [one.reason for one in engine.capabilities() if one.name.startswith("control groups")]
print(json.dumps(answer))
"""


@pytest.mark.parametrize(("world", "setup"), WORLDS.values())
def test_all_but_pausing_works_without_a_control_group(
    tmp_path: Path, payload_rootfs: Path, world: list[str], setup: str
) -> None:
    """Time-outs, stop and kill end whole trees, also what made sessions of its own; pause names the reason."""
    answer: dict[str, Any] = run_in(world, STORY, tmp_path, payload_rootfs, setup=setup)

    pause = answer.pop("pause")
    reasons = answer.pop("capability")
    assert {
        "cgroup": None,
        "run": [0, "hello\n"],
        "run timeout": [True, 137, []],
        "exec timeout": [True, 137, [], "running"],
        "stats": [1, True, None],
        "hang up": "running",
        "stop": ["exited", 137, []],
        "kill": [137, []],
        "monitor killed": ["exited", True, []],
        "left": [],
    } == answer
    assert ("UnsupportedHostError", "pause") == (pause["type"], pause["feature"])
    assert [pause["reason"]] == reasons
    assert "delegated" in pause["hint"]
    assert "cgroup" in pause["reason"]
