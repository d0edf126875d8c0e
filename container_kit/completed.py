"""What a finished command came to: `subprocess.CompletedProcess`, with what a container adds."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from typing import Generic, TypeVar

from container_kit._runtime.capture import Capture
from container_kit._runtime.state_file import Usage
from container_kit.errors import ExecTimeoutError, ExitError, OutOfMemoryError

Output = TypeVar("Output", bytes, str)


class Completed(subprocess.CompletedProcess[Output], Generic[Output]):
    """The result of `run` and `exec`.

    Attributes:
        args: the command, as given.
        returncode: the exit code; 128 + n when signal n ended the command, as shells and Docker say it.
        stdout, stderr: what it wrote, bytes or, with `text=True`, str.
        timed_out: True when `timeout` or the container's `time_limit` ran out and the command, with all it had
            started, was killed.
        oom_killed: True when the kernel killed a process for lack of memory.
        truncated: True when a stream was longer than `max_output` and the rest was dropped.
        usage: CPU time and memory used.
    """

    args: tuple[str, ...]
    stdout: Output
    stderr: Output

    def __init__(
        self,
        args: Sequence[str],
        returncode: int,
        stdout: Output,
        stderr: Output,
        *,
        timed_out: bool = False,
        oom_killed: bool = False,
        truncated: bool = False,
        usage: Usage | None = None,
        timeout: float | None = None,
    ) -> None:
        super().__init__(tuple(args), returncode)
        self.stdout = stdout
        self.stderr = stderr
        self.timed_out = timed_out
        self.oom_killed = oom_killed
        self.truncated = truncated
        self.usage = usage if usage is not None else Usage()
        self.timeout = timeout

    @classmethod
    def collect(
        cls,
        command: Sequence[str],
        code: int,
        capture: Capture,
        *,
        text: bool,
        check: bool,
        timeout: float | None,
        timed_out: bool,
        oom_killed: bool,
        usage: Usage,
    ) -> Completed[bytes] | Completed[str]:
        """Make the result of a captured command; with `check` a failed one is raised."""
        out, err = bytes(capture.stdout), bytes(capture.stderr)
        known = {"timed_out": timed_out, "oom_killed": oom_killed, "truncated": capture.truncated}
        result: Completed[bytes] | Completed[str]
        if text:
            out_text, err_text = out.decode("utf-8", "replace"), err.decode("utf-8", "replace")
            result = Completed[str](command, code, out_text, err_text, usage=usage, timeout=timeout, **known)
        else:
            result = Completed[bytes](command, code, out, err, usage=usage, timeout=timeout, **known)
        if check:
            result.check_returncode()
        return result

    def check_returncode(self) -> None:
        """Raise unless the command succeeded.

        Raises:
            ExecTimeoutError: it ran out of time.
            OutOfMemoryError: it ran out of memory.
            ExitError: it failed in any other way; a `subprocess.CalledProcessError` with both streams.
        """
        if self.timed_out:
            raise ExecTimeoutError(cmd=self.args, timeout=self.timeout or 0.0, output=self.stdout, stderr=self.stderr)
        if self.returncode == 0:
            return
        kind = OutOfMemoryError if self.oom_killed else ExitError
        raise kind(returncode=self.returncode, cmd=self.args, output=self.stdout, stderr=self.stderr)

    def __repr__(self) -> str:
        extra = "".join(f", {name}=True" for name in ("timed_out", "oom_killed", "truncated") if getattr(self, name))
        return f"Completed(args={self.args!r}, returncode={self.returncode}{extra})"
