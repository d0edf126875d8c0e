"""Story: talk to a container's own process while it runs."""

from __future__ import annotations

import pytest

import container_kit as ck
from container_kit import errors, wait

CAT = ["payload", "cat"]


def read_until(process: ck.Process, wanted: bytes, limit: float = 20) -> bytes:
    """Return output up to and with the wanted bytes."""
    seen = b""
    for event in process.events(idle_timeout=limit):
        if isinstance(event, ck.Stdout):
            seen += event.data
            if wanted in seen:
                return seen
    raise AssertionError(f"{wanted!r} did not come, only {seen!r}")


def test_an_attached_client_talks_and_listens(engine: ck.Engine, image: ck.Image) -> None:
    """What is typed reaches stdin, what it writes comes back and is logged too."""
    box = ck.start(image, CAT, stdin=True, engine=engine)

    with box.attach(stdin=True) as client:
        assert client.stdin is not None
        client.stdin.write(b"hello\n")
        answer = read_until(client, b"\n")
        client.close_stdin()
        last = list(client.events(idle_timeout=20))

    assert b"hello\n" == answer
    assert [ck.Exited(0)] == last
    assert ["hello"] == [line.text for line in box.logs()]
    assert 0 == box.wait(timeout=20)


def test_stdout_and_stderr_come_apart(engine: ck.Engine, host: ck.Image) -> None:
    """To clients as to the log."""
    box = ck.start(host, ck.shell("read go; echo out; echo err >&2"), stdin=True, engine=engine)

    with box.attach(stdin=True) as client:
        output = client.communicate(b"go\n", timeout=20)

    assert (b"out\n", b"err\n") == output


def test_a_client_hears_only_what_comes_after_it(engine: ck.Engine, image: ck.Image) -> None:
    """What was before is in the log."""
    box = ck.start(image, ["payload", "trap", "HUP"], wait=wait.log("ready"), engine=engine)

    with box.attach() as client:
        box.kill("HUP")
        heard = read_until(client, b"\n")

    assert b"SIGHUP\n" == heard


def test_detaching_leaves_the_container_alone(engine: ck.Engine, image: ck.Image) -> None:
    """Its stdin stays open for the next client."""
    box = ck.start(image, CAT, stdin=True, engine=engine)
    box.attach(stdin=True).close()

    with box.attach(stdin=True) as client:
        assert client.stdin is not None
        client.stdin.write(b"second\n")
        answer = read_until(client, b"\n")

    assert b"second\n" == answer
    assert "running" == box.status


def test_two_clients_hear_the_same(engine: ck.Engine, image: ck.Image) -> None:
    """And both may talk."""
    box = ck.start(image, CAT, stdin=True, engine=engine)

    with box.attach(stdin=True) as first, box.attach(stdin=True) as second:
        assert first.stdin is not None
        assert second.stdin is not None
        first.stdin.write(b"from first\n")
        heard = [read_until(first, b"first\n"), read_until(second, b"first\n")]
        second.stdin.write(b"from second\n")
        heard += [read_until(first, b"second\n"), read_until(second, b"second\n")]

    assert [b"from first\n"] * 2 + [b"from second\n"] * 2 == heard


@pytest.mark.slow
def test_a_client_that_does_not_read_is_dropped(engine: ck.Engine, image: ck.Image) -> None:
    """It holds the others up for ten seconds at most; nothing is missing in the log or for who does read."""
    size = 8 << 20
    box = ck.start(image, CAT, stdin=True, engine=engine)

    with box.attach(), box.attach(stdin=True) as client:
        output = client.communicate(b"x" * size + b"\n", timeout=60)[0]
        code = box.wait(timeout=60)

    logged = sum(len(line.data) for line in box.logs())
    assert (0, size, size + 1) == (code, logged, len(output))


def test_the_end_of_the_container_ends_the_conversation(engine: ck.Engine, image: ck.Image) -> None:
    """With its exit code."""
    box = ck.start(image, ["payload", "trap", "HUP"], wait=wait.log("ready"), engine=engine)

    with box.attach() as client:
        box.kill()
        events = list(client.events(idle_timeout=20))

    assert ck.Exited(137) == events[-1]


def test_signals_can_be_sent_through_an_attachment(engine: ck.Engine, image: ck.Image) -> None:
    """They go to process 1, as kill() does."""
    box = ck.start(image, ["payload", "trap", "HUP"], wait=wait.log("ready"), engine=engine)

    with box.attach() as client:
        client.send_signal("HUP")
        assert b"SIGHUP\n" == read_until(client, b"\n")


def test_a_terminal_has_one_stream(engine: ck.Engine, image: ck.Image) -> None:
    """With tty=True the container has a controlling terminal of the size asked for, which can change."""
    box = ck.start(image, ["payload", "winch", "1"], tty=True, tty_size=(30, 90), wait=wait.log("ready"), engine=engine)

    with box.attach() as client:
        box.resize(40, 100)
        output = client.communicate(timeout=20)

    assert (b"40 100\r\n", b"") == output


def test_what_does_not_run_cannot_be_attached_to(engine: ck.Engine, image: ck.Image) -> None:
    """A typed error."""
    box = ck.Container.create(image, CAT, engine=engine)

    with pytest.raises(errors.InvalidTransitionError) as caught:
        box.attach()

    assert ("attach", "created") == (caught.value.action, caught.value.status)
