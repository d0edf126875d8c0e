"""Progress as bars: in a terminal, in a notebook, or as plain lines where there is neither.

`progress()` returns something to pass as `progress=`; the events it is called with are
values (`Progress`), so drawing them in any other way takes no more than a function.
"""

from __future__ import annotations

import io
import shutil
import sys
import threading
import time
from typing import Any, Protocol, TextIO

from container_kit._spec.progress import Progress

_BAR_WIDTH = 24
_SHORTEST_PAUSE = 0.05  # seconds between two drawings
_UNITS = (("GB", 1e9), ("MB", 1e6), ("kB", 1e3))


class _Screen(Protocol):
    """Where bars are drawn."""

    def draw(self, rows: list[Progress]) -> None: ...
    def finish(self, rows: list[Progress]) -> None: ...


class ProgressBars:
    """Draws one row for each subject. Call it with events, from any thread; made by `progress()`."""

    def __init__(self, screen: _Screen) -> None:
        self._screen = screen
        self._rows: dict[str, Progress] = {}
        self._lock = threading.Lock()
        self._drawn_at = 0.0

    def __call__(self, event: Progress) -> None:
        """Take an event in; drawing it may wait for the next one."""
        with self._lock:
            self._rows[event.subject] = event
            rows = list(self._rows.values())
            if event.action in ("done", "failed"):
                self._screen.finish(rows)
                self._rows.clear()
            elif event.finished or time.monotonic() - self._drawn_at >= _SHORTEST_PAUSE:
                self._screen.draw(rows)
                self._drawn_at = time.monotonic()


def progress(*, stream: TextIO | None = None) -> ProgressBars:
    """Return what draws progress where the caller is looking.

    In a notebook one output that changes; in a terminal bars, by rich where it is installed
    (`pip install container-kit[progress]`); elsewhere a line for each thing that is finished.

    Args:
        stream: where to write; None: standard error.
    """
    if stream is None and _in_notebook():
        return ProgressBars(_Notebook())
    where = stream if stream is not None else sys.stderr
    if where is None:  # pyright: ignore[reportUnnecessaryComparison]  # a program without a console
        return ProgressBars(_Lines(io.StringIO()))
    if not where.isatty():
        return ProgressBars(_Lines(where))
    try:
        return ProgressBars(_RichTerminal(where))
    except ImportError:
        return ProgressBars(_Terminal(where))


def describe(event: Progress) -> str:
    """Return one row as text: subject, action, and how far it is."""
    if event.finished or event.action in ("done", "failed"):
        amount = _size(event.total or event.current) if event.total or event.current else ""
        return f"{event.subject}  {_done_word(event)}  {event.message or amount}".rstrip()
    if not event.total:
        return f"{event.subject}  {event.action}  {_size(event.current) if event.current else event.message}".rstrip()
    share = min(event.current / event.total, 1.0)
    filled = round(share * _BAR_WIDTH)
    bar = "█" * filled + "░" * (_BAR_WIDTH - filled)
    return f"{event.subject}  {event.action:8} {bar} {share:4.0%}  {_size(event.current)} of {_size(event.total)}"


def _done_word(event: Progress) -> str:
    words = {"download": "downloaded", "upload": "uploaded", "unpack": "unpacked", "verify": "verified"}
    return words.get(event.action, event.action)


def _size(count: int) -> str:
    for unit, worth in _UNITS:
        if count >= worth:
            return f"{count / worth:.1f} {unit}"
    return f"{count} B"


def _in_notebook() -> bool:
    # IPython says what it runs in; a module that is not loaded is not what we run in.
    ipython = sys.modules.get("IPython")
    shell: Any = ipython.get_ipython() if ipython is not None else None
    return shell is not None and type(shell).__name__ == "ZMQInteractiveShell"


class _Lines:
    """A line when something is finished: for logs and pipes."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._told: set[tuple[str, str]] = set()

    def draw(self, rows: list[Progress]) -> None:
        for row in rows:
            if row.finished and (row.subject, row.action) not in self._told:
                self._told.add((row.subject, row.action))
                self._write(row)

    def finish(self, rows: list[Progress]) -> None:
        self.draw(rows[:-1])
        self._write(rows[-1])
        self._told.clear()

    def _write(self, row: Progress) -> None:
        self._stream.write(f"{describe(row)}\n")
        self._stream.flush()


class _Terminal:
    """Rows that are written over: cursor movements of ECMA-48, which every terminal knows."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._height = 0

    def draw(self, rows: list[Progress]) -> None:
        size = shutil.get_terminal_size()
        shown = rows[-(size.lines - 1) :]
        text = io.StringIO()
        text.write(f"\x1b[{self._height}A" if self._height else "")
        for row in shown:
            text.write(f"\r\x1b[2K{describe(row)[: size.columns - 1]}\n")
        self._stream.write(text.getvalue())
        self._stream.flush()
        self._height = len(shown)

    def finish(self, rows: list[Progress]) -> None:
        self.draw(rows)
        self._height = 0


class _RichTerminal:
    """The same by rich."""

    def __init__(self, stream: TextIO) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, TextColumn
        from rich.progress import Progress as Bars
        from rich.text import Text

        self._plain = Text  # names and messages may have brackets: they are no markup
        self._bars = Bars(
            TextColumn("{task.fields[subject]}", markup=False),
            TextColumn("{task.description:10}", markup=False),
            BarColumn(),
            DownloadColumn(),
            console=Console(file=stream),
        )
        self._tasks: dict[str, Any] = {}

    def draw(self, rows: list[Progress]) -> None:
        self._bars.start()
        for row in rows:
            if row.subject not in self._tasks:
                self._tasks[row.subject] = self._bars.add_task(row.action, subject=row.subject, total=row.total)
            total = row.total or (max(row.current, 1) if row.finished else None)
            done = total if row.finished and total else row.current
            word = _done_word(row) if row.finished else row.action
            self._bars.update(self._tasks[row.subject], description=word, completed=done, total=total)

    def finish(self, rows: list[Progress]) -> None:
        self.draw(rows[:-1])
        self._bars.stop()
        self._bars.console.print(self._plain(describe(rows[-1])))
        for task in self._tasks.values():
            self._bars.remove_task(task)
        self._tasks.clear()


class _Notebook:
    """One output cell that is replaced. It is plain text, of which notebooks show `<` as it is."""

    def __init__(self) -> None:
        self._handle: Any = None

    def draw(self, rows: list[Progress]) -> None:
        display: Any = sys.modules["IPython"].display
        content = {"text/plain": "\n".join(describe(row) for row in rows)}
        if self._handle is None:
            self._handle = display.display(content, raw=True, display_id=True)
        else:
            self._handle.update(content, raw=True)

    def finish(self, rows: list[Progress]) -> None:
        self.draw(rows)
        self._handle = None
