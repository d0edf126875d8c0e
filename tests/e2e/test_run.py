"""Story: run a command in a container to its end, as `subprocess.run` would."""

from __future__ import annotations

import subprocess

import pytest

import container_kit as ck
from container_kit import errors

MIB = 1 << 20


def test_run_returns_a_completed_process(engine: ck.Engine, image: ck.Image) -> None:
    """The result is subprocess's own, with what a container adds."""
    completed = ck.run(image, ["payload", "echo", "hello", "world"], engine=engine)

    assert isinstance(completed, subprocess.CompletedProcess)
    assert ("payload", "echo", "hello", "world") == completed.args
    assert (b"hello world\n", b"", 0) == (completed.stdout, completed.stderr, completed.returncode)
    assert not (completed.timed_out or completed.oom_killed or completed.truncated)


def test_run_reports_what_was_used(engine: ck.Engine, image: ck.Image) -> None:
    """CPU time and memory of the command come with the result."""
    completed = ck.run(image, ["payload", "spin", "0.1"], engine=engine)

    assert completed.usage.user_seconds + completed.usage.system_seconds > 0.05
    assert completed.usage.max_rss_bytes > 4096


def test_run_keeps_the_streams_apart(engine: ck.Engine, image: ck.Image) -> None:
    """What was written in turns to stdout and stderr arrives apart, each in order."""
    completed = ck.run(image, ["payload", "interleave", "500"], engine=engine, text=True)

    assert [f"out {n}" for n in range(500)] == completed.stdout.splitlines()
    assert [f"err {n}" for n in range(500)] == completed.stderr.splitlines()


def test_stdin_is_empty_unless_given(engine: ck.Engine, image: ck.Image) -> None:
    """A command that reads stdin sees its end at once, whatever the caller's stdin is."""
    completed = ck.run(image, ["payload", "cat"], engine=engine, timeout=20)

    assert (b"", 0) == (completed.stdout, completed.returncode)


@pytest.mark.parametrize("data", [b"\x00\xff bytes", "text \N{SNOWMAN}"])
def test_input_reaches_stdin(engine: ck.Engine, image: ck.Image, data: bytes | str) -> None:
    """Bytes arrive as they are, text as UTF-8."""
    expected = data.encode() if isinstance(data, str) else data

    completed = ck.run(image, ["payload", "cat"], engine=engine, input=data)

    assert expected == completed.stdout


def test_much_input_and_output_at_once_do_not_block_each_other(engine: ck.Engine, image: ck.Image) -> None:
    """Four MiB go in and come out again, though a pipe holds far less."""
    data = bytes(range(256)) * (4 * MIB // 256)

    completed = ck.run(image, ["payload", "cat"], engine=engine, input=data, timeout=60)

    assert data == completed.stdout


def test_input_that_nobody_reads_is_no_error(engine: ck.Engine, image: ck.Image) -> None:
    """The command ends without having read its stdin; nothing breaks."""
    completed = ck.run(image, ["payload", "true"], engine=engine, input=b"x" * MIB)

    assert 0 == completed.returncode


def test_output_is_binary_safe(engine: ck.Engine, image: ck.Image) -> None:
    """All 256 byte values arrive as they were written."""
    completed = ck.run(image, ["payload", "binary"], engine=engine)

    assert bytes(range(256)) == completed.stdout


def test_text_replaces_what_is_not_utf8(engine: ck.Engine, image: ck.Image) -> None:
    """With text=True output is str whatever was written."""
    completed = ck.run(image, ["payload", "binary"], engine=engine, text=True)

    assert bytes(range(256)).decode("utf-8", "replace") == completed.stdout


@pytest.mark.parametrize("code", [0, 1, 125, 126, 127, 255])
def test_exit_codes_arrive(engine: ck.Engine, image: ck.Image, code: int) -> None:
    """Codes with a special meaning to shells are codes like others."""
    completed = ck.run(image, ["payload", "exit", str(code)], engine=engine)

    assert code == completed.returncode


@pytest.mark.parametrize(("name", "code"), [("TERM", 143), ("SEGV", 139), ("KILL", 137)])
def test_death_by_signal_is_128_and_the_number(engine: ck.Engine, host: ck.Image, name: str, code: int) -> None:
    """A command that a signal ended has the code that shells and Docker give it."""
    completed = ck.run(host, ck.shell(f"kill -{name} $$"), engine=engine, init=True)

    assert code == completed.returncode


def test_check_raises_with_both_streams(engine: ck.Engine, host: ck.Image) -> None:
    """A failed command becomes a CalledProcessError that has kept all output."""
    with pytest.raises(errors.ExitError) as caught:
        ck.run(host, ck.shell("echo out; echo err >&2; exit 3"), engine=engine, text=True, check=True)

    assert isinstance(caught.value, subprocess.CalledProcessError)
    assert (3, "out\n", "err\n") == (caught.value.returncode, caught.value.output, caught.value.stderr)


def test_output_beyond_the_bound_is_dropped_and_said(engine: ck.Engine, image: ck.Image) -> None:
    """The command is not stopped by the bound; the beginning of its output is kept."""
    completed = ck.run(image, ["payload", "flood", "1000000"], engine=engine, max_output=1000)

    expected = bytes(ord("a") + n % 26 for n in range(1000))
    assert (expected, True, 0) == (completed.stdout, completed.truncated, completed.returncode)


def test_output_that_just_fits_is_not_truncated(engine: ck.Engine, image: ck.Image) -> None:
    """The bound itself is allowed."""
    completed = ck.run(image, ["payload", "flood", "1000"], engine=engine, max_output=1000)

    assert (1000, False) == (len(completed.stdout), completed.truncated)


def test_output_is_bounded_by_ten_mebibytes_unless_said(engine: ck.Engine, image: ck.Image) -> None:
    """A flood cannot fill the caller's memory by default."""
    completed = ck.run(image, ["payload", "flood", str(12 * MIB)], engine=engine)

    assert (10 * MIB, True, 0) == (len(completed.stdout), completed.truncated, completed.returncode)


def test_a_process_left_in_the_background_does_not_hold_the_result_up(engine: ck.Engine, host: ck.Image) -> None:
    """The command's end is the end, though another process still has its stdout open."""
    completed = ck.run(host, ck.shell("sleep 1000 & echo done"), engine=engine, timeout=30)

    assert (b"done\n", False) == (completed.stdout, completed.timed_out)


def test_the_image_says_what_runs_when_the_caller_does_not(engine: ck.Engine, image: ck.Image) -> None:
    """Entrypoint and command of the image are defaults; a command of the caller replaces the image's."""
    config = ck.ImageConfig(entrypoint=("payload",), command=("echo", "from the image"))
    image = ck.Image.from_directory(image.name, config=config)

    of_image = ck.run(image, engine=engine)
    of_caller = ck.run(image, ["echo", "from the caller"], engine=engine)
    without_entrypoint = ck.run(image, ["payload", "pwd"], entrypoint=[], engine=engine)

    assert b"from the image\n" == of_image.stdout
    assert b"from the caller\n" == of_caller.stdout
    assert b"/\n" == without_entrypoint.stdout


def test_a_run_leaves_no_container(engine: ck.Engine, image: ck.Image) -> None:
    """The container is gone when `run` returns, so its name is free again."""
    first = ck.run(image, ["payload", "true"], name="once", engine=engine)
    second = ck.run(image, ["payload", "false"], name="once", engine=engine)

    assert (0, 1) == (first.returncode, second.returncode)
    assert [] == ck.Container.list(all=True, engine=engine)


def test_run_refuses_options_that_contradict_it(engine: ck.Engine, image: ck.Image) -> None:
    """What outlives the call or needs a terminal is for `start`; the error names the option."""
    with pytest.raises(errors.InvalidSpecError) as caught:
        ck.run(image, ["payload", "true"], detach=True, engine=engine)

    assert "detach" == caught.value.field
