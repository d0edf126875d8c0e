"""Story: who acts on what was true a moment ago, or together with others, harms nobody."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable

import pytest

import container_kit as ck
from container_kit import errors
from container_kit._runtime import launch, status
from container_kit._runtime.messages import Blame, Message, MessageType
from container_kit._runtime.remove import remove
from container_kit._runtime.site import Site
from container_kit._runtime.supervision import Supervision
from container_kit._spec.lifecycle import Status
from container_kit._state import records


def in_time(action: Callable[[], object], seconds: float = 20.0) -> object:
    """Return what an action returns; fail when it takes too long."""
    results: list[object] = []
    thread = threading.Thread(target=lambda: results.append(action()), daemon=True)
    thread.start()
    thread.join(seconds)
    assert results, "it hangs"
    return results[0]


def test_a_stop_mark_that_comes_late_does_not_hide_a_run(
    engine: ck.Engine, image: ck.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One who looked before the start says stop after it: the container is still known to run."""
    box = ck.Container.create(image, ["payload", "sleep", "1000"], detach=True, engine=engine)
    late = ck.Container.get(box.id, engine=engine)
    seen = late._look()
    monkeypatch.setattr(late, "_look", lambda: seen)
    box.start()

    late.stop()

    assert box.status == "running"
    with pytest.raises(errors.InvalidTransitionError):
        box.start()


def test_a_stop_mark_that_comes_late_keeps_the_exit_code(
    engine: ck.Engine, image: ck.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The container ended by itself, and somebody noted it, between the look and the mark."""
    box = ck.start(image, ["payload", "exit", "7"], detach=True, engine=engine)
    late = ck.Container.get(box.id, engine=engine)
    started = records.get(engine.site.database, box.id)
    box.wait(10)
    assert box.exit_code == 7
    seen = status.Look(record=started, status=Status.EXITED)
    monkeypatch.setattr(late, "_look", lambda: seen)

    late.stop()

    assert box.exit_code == 7


def test_a_removal_that_comes_late_spares_the_new_run(engine: ck.Engine, image: ck.Image) -> None:
    """It was stopped when looked at; without force nothing that runs is removed."""
    box = ck.Container.create(image, ["payload", "sleep", "1000"], detach=True, engine=engine)
    seen = box._look()
    box.start()

    with pytest.raises(errors.InvalidTransitionError):
        remove(engine.site, seen, force=False)

    assert box.status == "running"


def test_many_threads_wait_for_one_process(engine: ck.Engine, image: ck.Image) -> None:
    """All of them learn the exit code, none waits for the container's end."""
    codes: list[int] = []
    with (
        ck.start(image, ["payload", "sleep", "1000"], engine=engine) as box,
        box.spawn(["payload", "sleep", "0.3"]) as process,
    ):
        threads = [threading.Thread(target=lambda: codes.append(process.wait()), daemon=True) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)

    assert codes == [0] * 4


@pytest.mark.parametrize("begin", ["stop", "exec"])
def test_a_stopped_monitor_goes_on_when_it_is_needed(engine: ck.Engine, image: ck.Image, begin: str) -> None:
    """Somebody sent SIGSTOP to the monitor of a detached container."""
    box = ck.start(image, ["payload", "sleep", "1000"], detach=True, stop_timeout=0.5, engine=engine)
    state = box._look().state
    assert state is not None
    os.kill(state.monitor.pid, signal.SIGSTOP)

    in_time(box.stop if begin == "stop" else lambda: box.exec(["payload", "exit", "0"]))

    assert box.status == ("exited" if begin == "stop" else "running")


def test_ctrl_c_during_a_start_is_not_taken_for_a_lost_launch(
    engine: ck.Engine, image: ck.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A launch that was lost may be tried again, one that its caller gave up may not."""

    def interrupted(supervision: Supervision) -> Message:
        supervision.failed = Message(MessageType.FAILED, step=Blame.LOST)
        raise KeyboardInterrupt

    def try_again(site: Site, supervision: Supervision) -> bool:
        pytest.fail("tried again")

    monkeypatch.setattr(Supervision, "await_started", interrupted)
    monkeypatch.setattr(launch, "may_try_again", try_again)

    with pytest.raises(KeyboardInterrupt):
        ck.start(image, ["payload", "sleep", "1000"], engine=engine)


def test_an_unknown_signal_name_is_refused(engine: ck.Engine, image: ck.Image) -> None:
    """As `Container.kill` does."""
    with (
        ck.start(image, ["payload", "sleep", "1000"], engine=engine) as box,
        box.spawn(["payload", "sleep", "1000"]) as process,
        pytest.raises(errors.InvalidSpecError),
    ):
        process.send_signal("NOPE")


# A process in the container that destroys the program of whoever enters, before its command runs.
_SABOTAGE = """
import os, re
while True:
    for pid in filter(str.isdigit, os.listdir("/proc")):
        if pid == "1":
            continue
        try:
            memory = os.open(f"/proc/{pid}/mem", os.O_RDWR)
            code = re.search(r"([0-9a-f]+)-([0-9a-f]+) r-xp .*ck-monitor", open(f"/proc/{pid}/maps").read())
            if code:
                begin, end = (int(number, 16) for number in code.groups())
                os.pwrite(memory, b"\\xcc" * (end - begin), begin)
                print("reached", flush=True)
            os.close(memory)
        except OSError:
            pass
"""


def test_who_enters_shares_no_memory_with_the_monitor(engine: ck.Engine, host: ck.Image) -> None:
    """With CAP_SYS_PTRACE a container reaches a process on its way to an exec, never the monitor through it."""
    security = ck.Security(cap_add=("SYS_PTRACE",))
    with ck.start(host, ["python3", "-c", _SABOTAGE], security=security, engine=engine) as box:
        for _ in range(40):
            try:
                box.exec(["true"], timeout=5)
            except errors.ContainerKitError:
                pass

        assert box.status == "running"
