"""Progress: which screen is chosen, what a row says, and what reaches the stream."""

from __future__ import annotations

import builtins
import io
import sys
import types
from collections.abc import Callable
from typing import Any

import pytest

from container_kit._spec.progress import Progress
from container_kit.progress_bars import ProgressBars, describe, progress


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        """Say so."""
        return True


def download(current: int, *, finished: bool = False) -> Progress:
    """Return an event of one layer of 2 MB."""
    return Progress(action="download", subject="0123456789ab", current=current, total=2_000_000, finished=finished)


DONE = Progress(action="done", subject="debian:12", message="sha256:abc")


def test_a_row_shows_how_far_it_is() -> None:
    """Half of the bar, half of the bytes."""
    row = describe(download(1_000_000))

    assert "0123456789ab" in row
    assert "█" * 12 + "░" * 12 in row
    assert "50%" in row
    assert "1.0 MB of 2.0 MB" in row


def test_a_row_never_shows_more_than_all() -> None:
    """A peer that sends too much does not break the drawing."""
    assert "100%" in describe(download(9_000_000))


def test_a_row_without_a_total_shows_what_there_is() -> None:
    """Bytes so far, or a message."""
    assert "verify  3.0 kB" in describe(Progress(action="verify", subject="x", current=3000))
    assert "resolve  asking" in describe(Progress(action="resolve", subject="x", message="asking"))


def test_a_pipe_gets_a_line_for_each_thing_that_is_finished() -> None:
    """Once, whatever comes after it, and nothing for what is under way."""
    stream = io.StringIO()
    bars = progress(stream=stream)

    for event in (download(1), download(2_000_000, finished=True), download(2_000_000, finished=True), DONE):
        bars(event)

    assert ["0123456789ab  downloaded  2.0 MB", "debian:12  done  sha256:abc"] == stream.getvalue().splitlines()


def test_a_terminal_is_written_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without rich: the cursor goes up by the rows that were drawn before."""
    without(monkeypatch, "rich")
    stream = Terminal()
    bars = progress(stream=stream)

    bars(download(1))
    bars(download(2_000_000, finished=True))
    bars(DONE)

    assert "\x1b[1A" in stream.getvalue()
    assert stream.getvalue().endswith("debian:12  done  sha256:abc\n")


def test_events_in_quick_succession_are_not_all_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand events within a moment cost a few drawings."""
    without(monkeypatch, "rich")
    stream = Terminal()
    bars = progress(stream=stream)

    for count in range(1000):
        bars(download(count))

    assert stream.getvalue().count("\n") < 100


def test_rich_draws_where_it_is_installed() -> None:
    """The last line is ours; the bar was rich's."""
    stream = Terminal()
    bars = progress(stream=stream)

    bars(download(1_000_000))
    bars(download(2_000_000, finished=True))
    bars(DONE)

    assert "downloaded" in stream.getvalue()
    assert "debian:12" in stream.getvalue()


def test_a_notebook_gets_one_output_that_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    """IPython's display is asked once, then its handle is updated."""
    shown: list[str] = []

    class Handle:
        def update(self, content: dict[str, str], *, raw: bool) -> None:
            assert raw
            shown.append(content["text/plain"])

    def display(content: dict[str, str], **options: Any) -> Handle:
        assert options == {"raw": True, "display_id": True}
        shown.append(content["text/plain"])
        return Handle()

    monkeypatch.setitem(sys.modules, "IPython", notebook(display))

    bars = progress()
    bars(download(2_000_000, finished=True))
    bars(DONE)

    assert 2 == len(shown)
    assert "downloaded" in shown[0]
    assert shown[1].endswith("debian:12  done  sha256:abc")


HOSTILE = Progress(
    action="failed",
    subject="\x1b]0;own\x07[red]<b>:eyes:",
    finished=True,
    message="\x9b2J\u202e\udcff[/nothing] [link=file:///etc]\r<script>",
)
SHOWN = " ]0;own [red]<b>:eyes:  failed   2J  [/nothing] [link=file:///etc] <script>"


def test_a_pipe_gets_nothing_that_cannot_be_printed() -> None:
    """Escape sequences, what changes the direction of text, and halves of characters are spaces."""
    stream = io.StringIO()

    progress(stream=stream)(HOSTILE)

    assert f"{SHOWN}\n" == stream.getvalue()


def test_a_terminal_gets_no_escape_sequences_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only ours."""
    without(monkeypatch, "rich")
    monkeypatch.setenv("COLUMNS", "200")
    stream = Terminal()

    progress(stream=stream)(HOSTILE)

    assert f"\r\x1b[2K{SHOWN}\n" == stream.getvalue()


def test_rich_reads_no_markup_in_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither in a row nor in the last line; brackets that are no markup are no error."""
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("TERM", "xterm")
    stream = Terminal()
    bars = progress(stream=stream)

    bars(Progress(action="verify", subject="[red]row:eyes:[/nothing]", finished=True))
    bars(HOSTILE)

    assert "[red]row:eyes:[/nothing]" in stream.getvalue()
    assert SHOWN in stream.getvalue()
    assert "\x1b]" not in stream.getvalue()


def test_a_notebook_gets_plain_text_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """A notebook shows plain text as it is; there is no HTML that it could choose instead."""
    shown: list[dict[str, str]] = []

    def display(content: dict[str, str], **_: Any) -> None:
        shown.append(content)

    monkeypatch.setitem(sys.modules, "IPython", notebook(display))

    progress()(HOSTILE)

    assert [{"text/plain": SHOWN}] == shown


def test_bars_can_be_used_again() -> None:
    """A second pull tells its layers again."""
    stream = io.StringIO()
    bars: ProgressBars = progress(stream=stream)

    for event in (download(2_000_000, finished=True), DONE, download(2_000_000, finished=True), DONE):
        bars(event)

    assert 2 == stream.getvalue().count("downloaded")


def notebook(display: Callable[..., object]) -> types.ModuleType:
    """Return IPython in a notebook."""
    shell = type("ZMQInteractiveShell", (), {})()
    ipython: Any = types.ModuleType("IPython")
    ipython.get_ipython = lambda: shell
    ipython.display = types.SimpleNamespace(display=display)
    return ipython  # type: ignore[no-any-return]  # a module with attributes of ours


def without(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    """Make a package as good as not installed."""
    real = builtins.__import__

    def refuse(name: str, *arguments: Any, **options: Any) -> Any:
        if name.partition(".")[0] == package:
            raise ImportError(name)
        return real(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", refuse)
