"""The error tree: fields, messages, builtin bases, pickling, and its own drawing."""

from __future__ import annotations

import builtins
import copy
import errno
import pickle
import re
import subprocess

import pytest

from container_kit import errors
from container_kit.errors import (
    CommandNotExecutableError,
    CommandNotFoundError,
    ContainerKitError,
    ContainerNotFoundError,
    DigestMismatchError,
    ExecTimeoutError,
    ExitError,
    HostError,
    InvalidCommandError,
    InvalidTransitionError,
    LaunchError,
    LockTimeoutError,
    NameInUseError,
    OutOfMemoryError,
    RegistryError,
    RootDirectoryError,
    StateError,
    StorageFullError,
    UnknownOptionError,
    UnsupportedHostError,
    WaitFailedError,
    WaitTimeoutError,
)

EXAMPLES: list[tuple[ContainerKitError, type[BaseException], str]] = [
    (
        LaunchError(step=14, total=37, op="attach slot 3 at /data", errno=errno.ENOENT),
        OSError,
        "launch step 14 of 37: attach slot 3 at /data: ENOENT",
    ),
    (
        ContainerNotFoundError(name="wbe", near=("web", "web2")),
        LookupError,
        "no such container: 'wbe'; did you mean 'web' or 'web2'?",
    ),
    (
        NameInUseError(name="web", holder="ab" * 32),
        ContainerKitError,
        "the name 'web' is in use by container abababababab",
    ),
    (
        InvalidTransitionError(action="pause", status="exited", container="web"),
        errors.ConflictError,
        "cannot pause container web: it is exited",
    ),
    (
        UnsupportedHostError(feature="overlay", reason="no overlayfs", hint="load it"),
        OSError,
        "this host does not support overlay: no overlayfs (hint: load it)",
    ),
    (
        HostError(attempted="cannot open /x", errno=errno.EACCES),
        OSError,
        "cannot open /x: EACCES (Permission denied)",
    ),
    (
        RootDirectoryError(path="/srv/ck", reason="is not a directory"),
        HostError,
        "cannot use the directory /srv/ck: is not a directory",
    ),
    (StateError(path="/s", reason="is empty"), ContainerKitError, "state file /s: is empty"),
    (
        StorageFullError(path="/s"),
        OSError,
        "state file /s: no space left to record a change (hint: free some space; what was recorded before is intact)",
    ),
    (CommandNotFoundError(command="sh"), FileNotFoundError, "command 'sh' not found in the container"),
    (
        CommandNotExecutableError(command="/x"),
        PermissionError,
        "command '/x' cannot be executed in the container: EACCES (Permission denied)",
    ),
    (
        ExitError(returncode=3, cmd=("a", "b"), output="out\n", stderr="first\nlast\n"),
        subprocess.CalledProcessError,
        "command ['a', 'b'] exited with status 3\nfirst\nlast",
    ),
    (
        ExitError(returncode=-9, cmd=("a",), output=b"only this"),
        subprocess.CalledProcessError,
        "command ['a'] was ended by SIGKILL\nonly this",
    ),
    (
        OutOfMemoryError(returncode=137, cmd=("a",), container="web"),
        ExitError,
        "command ['a'] in container web ran out of memory (hint: give it more memory)",
    ),
    (
        WaitFailedError(container="db", exit_code=1, log_tail="boom"),
        ContainerKitError,
        "container db ended with status 1 while being waited for\nboom",
    ),
    (
        WaitTimeoutError(waiting_for="port 5432", timeout=30.0),
        TimeoutError,
        "timed out after 30 s waiting for port 5432",
    ),
    (
        ExecTimeoutError(cmd=("sleep", "9"), timeout=0.5, output=b"x", stderr=b"err"),
        subprocess.TimeoutExpired,
        "command ['sleep', '9'] was ended after 0.5 s\nerr",
    ),
    (
        LockTimeoutError(path="/l", timeout=1.0, holder=42),
        TimeoutError,
        "timed out after 1 s waiting for the lock /l, held by process 42",
    ),
    (
        InvalidCommandError(field="command", value="ls", reason="must be a sequence of strings"),
        TypeError,
        "invalid command 'ls': must be a sequence of strings",
    ),
    (
        UnknownOptionError(value="evn", near=("env",)),
        TypeError,
        "invalid option 'evn': there is no such option; did you mean 'env'?",
    ),
    (
        RegistryError(url="https://r/v2/", status=503, code="UNAVAILABLE"),
        ContainerKitError,
        "registry https://r/v2/ answered 503 UNAVAILABLE",
    ),
    (
        DigestMismatchError(image="a:1", expected="sha256:1", actual="sha256:2"),
        errors.ImageError,
        "image a:1: the content does not match its digest: expected sha256:1, got sha256:2",
    ),
]


@pytest.mark.parametrize(("error", "builtin", "message"), EXAMPLES, ids=lambda value: type(value).__name__)
def test_message_is_derived_from_the_fields(error: ContainerKitError, builtin: type, message: str) -> None:
    """`str` says what happened to what, and the builtin a Python user expects catches it."""
    assert str(error) in (message, f"{message} (hint: {error.hint})")
    assert isinstance(error, builtin)


@pytest.mark.parametrize("error", [example[0] for example in EXAMPLES], ids=lambda error: type(error).__name__)
def test_error_pickles_with_fields_and_notes(error: ContainerKitError) -> None:
    """An error that crosses a process border keeps its type, fields and notes."""
    original = copy.copy(error)
    original.add_note("removal failed, too")

    restored = pickle.loads(pickle.dumps(original))  # noqa: S301  # our own bytes

    assert type(original) is type(restored)
    assert str(original) == str(restored)
    assert repr(original) == repr(restored)
    assert original.__notes__ == restored.__notes__


def test_both_streams_are_kept() -> None:
    """An exit error has what `subprocess.CalledProcessError` has."""
    error = ExitError(returncode=1, cmd=("a",), output="out", stderr="err")

    assert ("out", "out", "err", 1) == (error.stdout, error.output, error.stderr, error.returncode)


def test_exec_timeout_has_the_fields_of_subprocess() -> None:
    """A caller that knows `subprocess.TimeoutExpired` finds everything in its place."""
    error = ExecTimeoutError(cmd=("a",), timeout=2.0, output=b"out")

    assert (("a",), 2.0, b"out", b"out") == (error.cmd, error.timeout, error.output, error.stdout)


def test_operating_system_errors_have_errno_and_strerror() -> None:
    """What inherits OSError can be asked for its number."""
    error = LaunchError(step=1, total=2, op="x", errno=errno.EPERM)

    assert (errno.EPERM, "Operation not permitted") == (error.errno, error.strerror)


def test_command_errors_know_their_shell_exit_code() -> None:
    """127 and 126, as a shell would report them."""
    assert (127, 126) == (CommandNotFoundError(command="a").exit_code, CommandNotExecutableError(command="a").exit_code)


def test_long_output_is_cut_to_its_end() -> None:
    """A message shows the last lines only, the field keeps everything."""
    output = "\n".join(f"line {number}" for number in range(100))
    error = ExitError(returncode=1, cmd=("a",), stderr=output)

    assert str(error).endswith("line 98\nline 99")
    assert "line 89" not in str(error)
    assert output == error.stderr


def test_forgotten_or_unknown_field_is_a_type_error() -> None:
    """An error is made with exactly its fields, as a function is called."""
    with pytest.raises(TypeError, match="missing fields \\['holder'\\]"):
        NameInUseError(name="web")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    with pytest.raises(TypeError, match="unknown fields \\['nmae'\\]"):
        NameInUseError(nmae="web", holder="a", name="b")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


def test_every_class_is_in_the_drawing() -> None:
    """The tree at the top of the module is complete and has nothing else."""
    drawing = (errors.__doc__ or "").split("::")[1].split("An error is its fields")[0]
    drawn = set(re.findall(r"\w+Error\b", drawing)) - set(dir(__builtins__))
    defined = {
        name for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, ContainerKitError)
    }

    builtin = {name for name in drawn if hasattr(builtins, name)} | {"CalledProcessError"}
    assert defined == drawn - builtin
