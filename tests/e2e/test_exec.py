"""Story: run further commands in a running container, to their end."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

import container_kit as ck
from container_kit import errors
from tests.e2e.patience import eventually


@pytest.fixture
def box(engine: ck.Engine, image: ck.Image) -> Iterator[ck.Container]:
    """Give a container that does nothing."""
    with ck.start(
        image, ["payload", "sleep", "1000"], env={"OF": "container"}, working_dir="/srv", engine=engine
    ) as box:
        yield box


def test_exec_returns_a_result_like_run(box: ck.Container) -> None:
    """Streams apart, exit code, input, text."""
    echoed = box.exec(["payload", "cat"], input="over there", text=True)
    mixed = box.exec(["payload", "interleave", "100"])
    failed = box.exec(["payload", "exit", "42"])

    assert ("over there", 0) == (echoed.stdout, echoed.returncode)
    assert (100, 100) == (mixed.stdout.count(b"out"), mixed.stderr.count(b"err"))
    assert 42 == failed.returncode


def test_exec_sees_what_the_container_sees(box: ck.Container) -> None:
    """The same files, processes, host name; the container's environment and directory unless said."""
    assert "payload sleep 1000" in [process.command for process in box.top()]
    assert b"container\n" == box.exec(["payload", "env", "OF"]).stdout
    assert b"/srv\n" == box.exec(["payload", "pwd"]).stdout
    assert b"command\n" == box.exec(["payload", "env", "OF"], env={"OF": "command"}).stdout
    assert b"/tmp\n" == box.exec(["payload", "pwd"], working_dir="/tmp").stdout


@pytest.mark.needs_subids
def test_exec_may_run_as_another_user(box: ck.Container) -> None:
    """Found in the container's own /etc/passwd."""
    output = box.exec(["payload", "id"], user="app:daemon", text=True).stdout

    assert output.startswith("uid=1000 euid=1000 gid=1 egid=1 ")


def test_exec_of_what_is_not_there_is_an_error(box: ck.Container) -> None:
    """127 and 126 in the language of shells; here they have types."""
    with pytest.raises(errors.CommandNotFoundError):
        box.exec(["no-such-command"])
    with pytest.raises(errors.CommandNotExecutableError):
        box.exec(["/etc/passwd"])

    assert "running" == box.status


def test_exec_check_and_bounds_work_as_in_run(box: ck.Container) -> None:
    """One vocabulary."""
    flooded = box.exec(["payload", "flood", "100000"], max_output=10)

    assert (b"abcdefghij", True, 0) == (flooded.stdout, flooded.truncated, flooded.returncode)
    with pytest.raises(errors.ExitError):
        box.exec(["payload", "false"], check=True)


def test_exec_needs_a_running_container(engine: ck.Engine, image: ck.Image) -> None:
    """The error says what to do."""
    box = ck.Container.create(image, ["payload", "true"], engine=engine)

    with pytest.raises(errors.InvalidTransitionError) as caught:
        box.exec(["payload", "true"])

    assert ("exec", "created") == (caught.value.action, caught.value.status)
    assert "start" in (caught.value.hint or "")


def test_exec_ends_with_the_container(box: ck.Container) -> None:
    """Whatever it was doing."""
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(box.exec, ["payload", "sleep", "1000"])
        with box.spawn(["payload", "cat"], stdin=ck.PIPE):
            eventually(
                lambda: [one.command.split()[0] for one in box.top()] == ["payload"] * 3, "its own and both others run"
            )
            box.stop(timeout=0)

        assert 137 == running.result(timeout=20).returncode


def test_a_hundred_execs_leave_nothing(box: ck.Container) -> None:
    """No process inside; descriptors and zombies outside are the ledger's matter."""
    codes = {box.exec(["payload", "exit", str(n % 7)]).returncode for n in range(100)}

    assert set(range(7)) == codes
    assert ["payload sleep 1000"] == [process.command for process in box.top()]


def test_execs_may_run_at_the_same_time(box: ck.Container) -> None:
    """Each gets its own answer."""

    def ask(number: int) -> str:
        return box.exec(["payload", "echo", str(number)], text=True).stdout

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(ask, range(64)))

    assert [f"{n}\n" for n in range(64)] == answers
