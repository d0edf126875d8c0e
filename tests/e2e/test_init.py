"""Story: init=True puts a small process 1 in front of the command."""

from __future__ import annotations

import container_kit as ck
from container_kit import wait


def test_init_reaps_orphans(engine: ck.Engine, image: ck.Image) -> None:
    """Processes that lost their parents do not stay as zombies."""
    completed = ck.run(image, ["payload", "zombies", "50"], init=True, engine=engine)

    assert b"0\n" == completed.stdout


def test_the_command_is_not_process_one(engine: ck.Engine, image: ck.Image) -> None:
    """Process 1 is init, which the command has as parent."""
    completed = ck.run(image, ["payload", "status", "Pid", "PPid"], init=True, engine=engine, text=True)

    assert ["Pid:", "2", "PPid:", "1"] == completed.stdout.split()


def test_init_forwards_signals(engine: ck.Engine, image: ck.Image) -> None:
    """What is sent to the container reaches the command."""
    box = ck.start(image, ["payload", "trap", "HUP", "USR1"], init=True, wait=wait.log("ready"), engine=engine)

    box.kill("HUP")
    box.wait(condition=wait.log("SIGHUP").within(10))
    box.kill("USR1")
    box.wait(condition=wait.log("SIGUSR1").within(10))

    assert ["ready", "SIGHUP", "SIGUSR1"] == [line.text for line in box.logs()]


def test_stop_reaches_a_command_that_as_process_one_would_not_notice(engine: ck.Engine, image: ck.Image) -> None:
    """SIGTERM's default action works again, so stopping needs no killing."""
    box = ck.start(image, ["payload", "sleep", "1000"], init=True, engine=engine)

    box.stop(timeout=20)

    assert 143 == box.exit_code


def test_init_passes_the_exit_code_on(engine: ck.Engine, image: ck.Image) -> None:
    """As if it were not there."""
    assert 9 == ck.run(image, ["payload", "exit", "9"], init=True, engine=engine).returncode


def test_what_is_behind_an_init_can_be_joined_and_looked_into(engine: ck.Engine, image: ck.Image) -> None:
    """Executing, health checks and paths work for users too: they may look into process 1 (ptrace(2))."""
    check = ck.Healthcheck(["payload", "true"], interval=0.05)
    box = ck.start(image, ["payload", "sleep", "1000"], init=True, healthcheck=check, engine=engine)

    box.wait(timeout=20, condition=wait.healthy())
    executed = box.exec(["payload", "id"], text=True).stdout
    box.path("/tmp/note").write_text("seen")

    assert executed.startswith("uid=0 ")
    assert "seen" == box.exec(["payload", "cat", "/tmp/note"], text=True).stdout
