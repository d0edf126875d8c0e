"""A pipe between two threads of ours, of which each closes its end when it is through."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Generator
from contextlib import contextmanager
from io import FileIO

_SIZE = 1 << 20  # as large as an unprivileged user may have it (pipe(7))


@contextmanager
def open_pipe() -> Generator[tuple[FileIO, FileIO], None, None]:
    """Give the reading and the writing end of a pipe; at the end of the block both are closed.

    Leave the block only when no other thread uses them any more: numbers of descriptors are used again.
    """
    incoming, outgoing = os.pipe2(os.O_CLOEXEC)
    with open(incoming, "rb", buffering=0) as reader, open(outgoing, "wb", buffering=0) as writer:
        with contextlib.suppress(PermissionError):  # a user who has many large ones gets small ones
            fcntl.fcntl(incoming, fcntl.F_SETPIPE_SZ, _SIZE)
        yield reader, writer
