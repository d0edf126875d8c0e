"""Story: hold a process in a container by its streams."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import container_kit as ck
from container_kit import errors
from tests.e2e.interpreters import Interpreters
from tests.e2e.patience import eventually


@pytest.fixture
def box(engine: ck.Engine, image: ck.Image) -> Iterator[ck.Container]:
    """Give a container that does nothing."""
    with ck.start(image, ["payload", "sleep", "1000"], name="web", engine=engine) as box:
        yield box


def inside(box: ck.Container) -> list[str]:
    """Return what runs besides the container's own command."""
    return [process.command for process in box.top()][1:]


def test_events_stream_output_and_keep_the_exit_code(engine: ck.Engine, host: ck.Image) -> None:
    """What subprocess makes hard: both streams as they come, and the code at last."""
    script = ck.shell("read name; echo hello $name; echo done >&2; exit 3")
    with ck.start(host, ["sleep", "1000"], engine=engine) as box, box.spawn(script, stdin=ck.PIPE) as process:
        assert process.stdin is not None
        process.stdin.write(b"world\n")

        events = list(process.events(idle_timeout=20))

        assert {ck.Stdout(b"hello world\n"), ck.Stderr(b"done\n")} == set(events[:-1])
        assert ck.Exited(3) == events[-1]
        assert (3, 3, 3) == (process.returncode, process.poll(), process.wait())


def test_silence_can_be_bounded(box: ck.Container) -> None:
    """Events give up when nothing happens for so long; the process goes on."""
    with box.spawn(["payload", "cat"], stdin=ck.PIPE) as process:
        with pytest.raises(errors.WaitTimeoutError):
            list(process.events(idle_timeout=0.2))
        with pytest.raises(TimeoutError):
            process.wait(timeout=0.1)

        assert process.returncode is None


def test_streams_may_go_elsewhere(box: ck.Container, tmp_path: Path) -> None:
    """To a file, to nowhere, to each other."""
    command = ["payload", "interleave", "5"]
    with (tmp_path / "out").open("wb") as file, box.spawn(command, stdout=file, stderr=ck.STDOUT) as merged:
        assert (None, None, 0) == (merged.stdout, merged.stderr, merged.wait(timeout=20))
    with box.spawn(command, stdout=ck.DEVNULL) as half:
        out, err = half.communicate(timeout=20)

    assert [f"{kind} {n}" for n in range(5) for kind in ("out", "err")] == (tmp_path / "out").read_text().splitlines()
    assert (b"", 5) == (out, err.count(b"err"))


def test_stdin_may_come_from_a_file(box: ck.Container, tmp_path: Path) -> None:
    """Handed over as it is, nothing is copied."""
    (tmp_path / "in").write_bytes(b"from a file")
    with (tmp_path / "in").open("rb") as file, box.spawn(["payload", "cat"], stdin=file) as process:
        assert (b"from a file", b"") == process.communicate(timeout=20)


def test_much_data_both_ways(box: ck.Container) -> None:
    """communicate() feeds and reads at the same time."""
    data = bytes(range(256)) * (1 << 14)
    with box.spawn(["payload", "cat"], stdin=ck.PIPE) as process:
        out, _ = process.communicate(data, timeout=60)

    assert data == out


def test_signals_go_to_the_process_alone(box: ck.Container) -> None:
    """By name or number; terminate is SIGTERM."""
    with box.spawn(["payload", "trap", "HUP", "USR1"]) as process:
        assert process.stdout is not None
        said = [process.stdout.read(6)]
        process.send_signal("HUP")
        said.append(process.stdout.read(7))
        process.send_signal(10)
        said.append(process.stdout.read(8))
        process.terminate()

        assert [b"ready\n", b"SIGHUP\n", b"SIGUSR1\n"] == said
        assert 15 == process.wait(timeout=20)
    assert "running" == box.status


def test_kill_takes_the_whole_tree(box: ck.Container) -> None:
    """Also what made itself a session of its own."""
    with box.spawn(["payload", "fork-tree", "3"]) as process:
        assert process.stdout is not None
        ready = process.stdout.read(6)
        during = len(inside(box))

        process.kill()

        assert (b"ready\n", 4, 137) == (ready, during, process.wait(timeout=20))
    assert [] == inside(box)


def test_leaving_the_block_ends_the_tree(box: ck.Container) -> None:
    """Nothing that was spawned is forgotten."""
    with box.spawn(["payload", "fork-tree", "3"]) as process:
        assert process.stdout is not None
        process.stdout.read(6)

    eventually(lambda: [] == inside(box), "all of it is gone")


def test_a_detached_process_stays(box: ck.Container, interpreters: Interpreters) -> None:
    """It outlives the object and the interpreter that spawned it, and ends with the container."""
    box.spawn(["payload", "sleep", "501"], detach=True, stdout=ck.DEVNULL, stderr=ck.DEVNULL).close()
    interpreters.run(
        """
        box = ck.Container.get("web", engine=engine)
        box.spawn(["payload", "sleep", "502"], detach=True, stdout=ck.DEVNULL, stderr=ck.DEVNULL).close()
        """
    )

    commands = inside(box)

    assert ["payload sleep 501", "payload sleep 502"] == sorted(commands)


def test_a_terminal_can_be_had(box: ck.Container) -> None:
    """It is the controlling one and has the size asked for; output has the terminal's line ends."""
    with box.spawn(["payload", "tty"], tty=True, tty_size=(33, 99)) as process:
        out, err = process.communicate(timeout=20)

    assert b"33 99 controlling\r\n" == out.partition(b" ")[2]
    assert b"" == err


def test_a_terminal_can_be_resized(box: ck.Container) -> None:
    """The process gets SIGWINCH and sees the new size."""
    with box.spawn(["payload", "winch", "1"], tty=True) as process:
        assert process.stdout is not None
        ready = process.stdout.read(7)

        process.resize(50, 120)

        assert (b"ready\r\n", b"50 120\r\n") == (ready, process.communicate(timeout=20)[0])


def test_control_keys_reach_the_process_through_its_terminal(box: ck.Container) -> None:
    """Ctrl-C typed into the terminal is SIGINT for the foreground process."""
    with box.spawn(["payload", "trap", "INT"], tty=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        ready = process.stdout.read(7)
        process.stdin.write(b"\x03")
        echoed = b""
        while not echoed.endswith(b"SIGINT\r\n"):
            echoed += process.stdout.read(64) or b""

        assert b"ready\r\n" == ready
        process.kill()


def test_usage_comes_with_the_end(box: ck.Container) -> None:
    """As for `run`."""
    with box.spawn(["payload", "spin", "0.1"]) as process:
        process.wait(timeout=20)

        assert process.usage.user_seconds + process.usage.system_seconds > 0.05


def test_what_cannot_be_spawned_leaves_nothing(box: ck.Container) -> None:
    """Neither process nor descriptor, also with a terminal that was made already."""
    for tty in (False, True):
        with pytest.raises(errors.CommandNotFoundError):
            box.spawn(["no-such-command"], tty=tty)

    eventually(lambda: [] == inside(box), "nothing is left inside")


def test_communicate_ends_waiting_although_output_keeps_coming(box: ck.Container) -> None:
    """Its timeout is for the whole conversation, as `subprocess` has it."""
    with box.spawn(["sh", "-c", "while true; do echo again; sleep 0.05; done"]) as process:
        with pytest.raises(errors.WaitTimeoutError):
            process.communicate(timeout=0.5)

        assert process.returncode is None


@pytest.mark.parametrize("size", [(0, 80), (24, 65536), (-1, 1)])
def test_a_terminal_cannot_have_an_impossible_size(box: ck.Container, size: tuple[int, int]) -> None:
    """The error names what can be."""
    with box.spawn(["payload", "cat"], tty=True) as process, pytest.raises(errors.InvalidSpecError, match="65535"):
        process.resize(*size)
