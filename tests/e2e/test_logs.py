"""Story: read what a container wrote, then and now."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import container_kit as ck
from container_kit import wait
from tests.e2e.patience import eventually


def finished(engine: ck.Engine, image: ck.Image, *command: str, log: ck.LogConfig | None = None) -> ck.Container:
    """Return a container that has run its command to the end."""
    box = ck.start(image, ["payload", *command], engine=engine, log=log, detach=True)
    box.wait(timeout=60)
    return box


def test_lines_have_their_stream_and_their_time(engine: ck.Engine, image: ck.Image) -> None:
    """Times are aware and grow; nothing of the format is in the text."""
    before = datetime.now(UTC)
    lines = list(finished(engine, image, "interleave", "50").logs())
    after = datetime.now(UTC)

    assert [f"out {n}" for n in range(50)] == [line.text for line in lines if line.stream == "stdout"]
    assert [f"err {n}" for n in range(50)] == [line.text for line in lines if line.stream == "stderr"]
    assert before - timedelta(milliseconds=50) <= lines[0].time
    assert lines[-1].time <= after + timedelta(milliseconds=50)
    for stream in ("stdout", "stderr"):
        times = [line.time for line in lines if line.stream == stream]
        assert times == sorted(times)


def test_one_stream_can_be_left_out(engine: ck.Engine, image: ck.Image) -> None:
    """Of either."""
    box = finished(engine, image, "interleave", "3")

    assert ["out 0", "out 1", "out 2"] == [line.text for line in box.logs(stderr=False)]
    assert ["err 0", "err 1", "err 2"] == [line.text for line in box.logs(stdout=False)]


@pytest.mark.parametrize("follow", [False, True])
def test_tail_begins_with_the_last_lines(engine: ck.Engine, image: ck.Image, follow: bool) -> None:
    """So many, or all when there are fewer, or none."""
    box = finished(engine, image, "echo", "a\nb\nc")

    def texts(tail: int) -> list[str]:
        return [line.text for line in box.logs(tail=tail, follow=follow)]

    assert (["b", "c"], ["a", "b", "c"], []) == (texts(2), texts(100), texts(0))


def test_since_and_until_cut_by_time(engine: ck.Engine, image: ck.Image) -> None:
    """Both ends are included."""
    box = ck.start(image, ["payload", "trap", "HUP", "USR1"], wait=wait.log("ready"), engine=engine)
    box.kill("HUP")
    box.wait(condition=wait.log("SIGHUP"))
    box.kill("USR1")
    box.wait(condition=wait.log("SIGUSR1"))
    first, middle, last = box.logs()

    assert ["SIGHUP", "SIGUSR1"] == [line.text for line in box.logs(since=middle.time)]
    assert ["ready", "SIGHUP"] == [line.text for line in box.logs(until=middle.time)]
    assert ["SIGHUP"] == [line.text for line in box.logs(since=middle.time, until=middle.time)]
    assert [] == list(box.logs(until=first.time - timedelta(seconds=1)))
    assert [] == list(box.logs(since=last.time + timedelta(seconds=1)))


def test_following_gives_lines_as_they_come_and_ends_with_the_container(engine: ck.Engine, image: ck.Image) -> None:
    """It does not hang after the exit, and loses nothing that was written just before."""
    box = ck.start(image, ["payload", "trap", "HUP"], engine=engine)
    lines = box.logs(follow=True)
    first = next(lines).text

    box.kill("HUP")
    second = next(lines).text
    box.stop()

    assert ("ready", "SIGHUP", []) == (first, second, list(lines))


def test_following_a_container_that_ended_shows_what_there_is(engine: ck.Engine, image: ck.Image) -> None:
    """And returns."""
    box = finished(engine, image, "interleave", "200")

    assert 400 == len(list(box.logs(follow=True)))


def test_following_until_a_time_ends_there(engine: ck.Engine, image: ck.Image) -> None:
    """Though the container goes on and writes more."""
    box = ck.start(image, ["payload", "trap", "HUP"], wait=wait.log("ready"), engine=engine)
    (ready,) = box.logs()
    lines = box.logs(follow=True, until=ready.time)
    seen = [next(lines).text]

    box.kill("HUP")

    assert ["ready"] == seen + [line.text for line in lines]


def test_output_is_binary_safe(engine: ck.Engine, image: ck.Image) -> None:
    """Every byte but the newline is kept in `data`; `text` replaces what is not UTF-8."""
    first, second = bytes(range(256)).split(b"\n")

    lines = list(finished(engine, image, "binary").logs())

    assert [first, second] == [line.data for line in lines]
    assert second.decode("utf-8", "replace") == lines[1].text


def test_a_very_long_line_is_one_line(engine: ck.Engine, image: ck.Image) -> None:
    """However many pieces the monitor wrote it in."""
    expected = bytes(ord("a") + n % 26 for n in range(200_000))

    (line,) = finished(engine, image, "flood", "200000").logs()

    assert expected == line.data


def test_a_line_that_is_not_ended_yet_can_be_seen(engine: ck.Engine, host: ck.Image) -> None:
    """A prompt, say: it is marked as partial until the rest comes."""
    box = ck.start(host, ck.shell("printf 'name? '; read answer; echo $answer"), stdin=True, engine=engine)

    eventually(lambda: ["name? "] == [line.text for line in box.logs()], "the prompt is there")
    partial = [line.partial for line in box.logs()]
    with box.attach(stdin=True) as client:
        assert client.stdin is not None
        client.stdin.write(b"me\n")
        box.wait(timeout=20)

    assert [True] == partial
    assert [("name? me", False)] == [(line.text, line.partial) for line in box.logs()]


def test_files_on_disk_are_bounded_and_hold_the_newest_lines(engine: ck.Engine, image: ck.Image) -> None:
    """Two MiB went by; three files of 64 KiB are kept, without a gap."""
    log = ck.LogConfig(max_bytes="64k", max_files=3)

    box = finished(engine, image, "flood", str(2 << 20), "--lines", "128", log=log)

    used = sum(file.stat().st_size for file in Path(box.inspect().log).parent.glob("log*"))
    lines = [line.data for line in box.logs()]
    everything = _flood(2 << 20, 128)
    assert 64 << 10 <= used <= 3 * (64 << 10)
    assert len(lines) > 200
    assert everything[-len(lines) :] == lines
    assert everything[-10:] == [line.data for line in box.logs(tail=10)]


def _flood(size: int, line: int) -> list[bytes]:
    data = bytes(ord("\n") if at % line == line - 1 else ord("a") + at % 26 for at in range(size))
    return data.removesuffix(b"\n").split(b"\n")


def test_a_flood_neither_blocks_the_container_nor_grows_the_monitor(
    engine: ck.Engine, host: ck.Image, payload_rootfs: Path
) -> None:
    """200 MiB that nobody reads: the command gets rid of them, disk and memory stay as they are."""
    program = ck.Mount.bind(payload_rootfs / "bin" / "payload", "/payload", read_only=True)
    script = ck.shell(f"/payload flood {200 << 20} --lines 100; echo; echo flooded; exec sleep 1000")

    box = ck.start(host, script, mounts=[program], wait=wait.log("^flooded$").within(120), engine=engine)

    used = sum(file.stat().st_size for file in Path(box.inspect().log).parent.glob("log*"))
    assert box.pid is not None
    assert used <= 3 * (10 << 20)
    assert _peak_memory(_parent(box.pid)) < 4 << 20


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def _peak_memory(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in status if line.startswith("VmHWM:"))
