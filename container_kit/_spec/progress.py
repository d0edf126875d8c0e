"""What a pull, a push and the like report while they work, as typed events."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Literal, TypeAlias

import attrs

Action: TypeAlias = Literal["resolve", "download", "upload", "verify", "unpack", "pack", "done", "failed"]


def _printable(text: str) -> str:
    return text if text.isprintable() else "".join(letter if letter.isprintable() else " " for letter in text)


@attrs.frozen(kw_only=True)
class Progress:
    """How far one part of the work is: `current` of `total` bytes of `subject`.

    `subject` is a layer's short digest or its number, or the name of the image. `total` is None
    where it is not known. `finished` is set on the last event of a subject and action;
    `message` is for people. The last event of all is `done` or `failed`.

    Both texts may have words of a registry or an archive in them and go to a terminal: what
    cannot be printed, such as the escape character, is a space.
    """

    action: Action
    subject: str = attrs.field(converter=_printable)
    current: int = 0
    total: int | None = None
    finished: bool = False
    message: str = attrs.field(default="", converter=_printable)


ProgressCallback: TypeAlias = Callable[[Progress], None]
"""Called in the thread that does the work, perhaps in several at once; what it raises ends the work."""


@contextmanager
def telling_failure(progress: ProgressCallback | None, subject: str) -> Generator[None, None, None]:
    """Report it when the block fails, so that whoever draws progress can come to an end."""
    try:
        yield
    except BaseException as err:
        if progress is not None:
            progress(Progress(action="failed", subject=subject, finished=True, message=str(err)))
        raise
