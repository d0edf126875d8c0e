"""Everything container_kit raises on purpose, as one tree.

::

    ContainerKitError
    ├─ InvalidSpecError (ValueError)       field, value, reason
    │  ├─ InvalidReferenceError · InvalidDigestError · InvalidMountError · InvalidUserError · InvalidNameError
    │  └─ InvalidCommandError (TypeError) · UnknownOptionError (TypeError)
    ├─ NotFoundError (LookupError)         name, near
    │  └─ ImageNotFoundError · ContainerNotFoundError · VolumeNotFoundError · NetworkNotFoundError
    ├─ ConflictError
    │  └─ NameInUseError · InUseError · InvalidTransitionError · AmbiguousIdError
    ├─ ImageError
    │  └─ DigestMismatchError · UnsupportedMediaTypeError · UnsafeArchiveError
    ├─ RegistryError                       status, code, url, reason
    │  ├─ AuthenticationError · RateLimitedError · ManifestUnknownError
    │  └─ ImageUnreachableError (ConnectionError)
    ├─ PathError (OSError)                 path, errno, operation
    │  ├─ PathNotFoundError (FileNotFoundError) · PathExistsError (FileExistsError)
    │  ├─ PathIsADirectoryError (IsADirectoryError) · PathNotADirectoryError (NotADirectoryError)
    │  └─ PathPermissionError (PermissionError)
    ├─ HostError (OSError)                 errno
    │  └─ UnsupportedHostError · CgroupError · NetworkSetupError · RootDirectoryError
    ├─ StateError                          path, reason
    │  └─ StorageFullError (OSError)
    ├─ LaunchError (OSError)               step, total, op, errno
    ├─ CommandNotFoundError (FileNotFoundError) · CommandNotExecutableError (PermissionError)
    ├─ ExitError (subprocess.CalledProcessError)
    │  └─ OutOfMemoryError
    ├─ WaitFailedError                     container, exit_code, log_tail
    ├─ BuildError                          step, file, line, log_tail
    └─ WaitTimeoutError (TimeoutError)
       └─ ExecTimeoutError (subprocess.TimeoutExpired) · LockTimeoutError

An error is its fields: they are annotated in the class, given as keywords, and the
message is derived from them. Whoever catches one reads fields, never text. Each has a
`hint` that says what to try, and each can be pickled. Adding a class means adding it
to the drawing.
"""

from __future__ import annotations

import errno as _errno
import signal as _signal
import subprocess
from os import strerror as _strerror
from typing import ClassVar, dataclass_transform

_TAIL_LINES = 10
_TAIL_CHARS = 2000


@dataclass_transform(kw_only_default=True, eq_default=False)
class _Fields(Exception):  # noqa: N818  # never raised itself
    """What makes annotations fields: type checkers see the matching `__init__` (PEP 681)."""

    __fields: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls.__fields = tuple(dict.fromkeys((*cls.__fields, *cls.__annotations__)))

    def __init__(self, **fields: object) -> None:
        unknown = [name for name in fields if name not in self.__fields]
        missing = [name for name in self.__fields if name not in fields and not hasattr(type(self), name)]
        if unknown or missing:
            raise TypeError(f"{type(self).__name__}: unknown fields {unknown}, missing fields {missing}")
        for name, value in fields.items():
            setattr(self, name, value)
        error: BaseException = self
        if isinstance(error, OSError) and error.errno is not None:
            error.strerror = _strerror(error.errno)
        self.args = (self._sentence(),)

    def _sentence(self) -> str:
        """Say what happened, derived from the fields."""
        return type(self).__name__

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self.__given().items())})"

    def __given(self) -> dict[str, object]:
        return {name: vars(self)[name] for name in self.__fields if name in vars(self)}

    def __reduce__(self) -> tuple[object, ...]:
        # The builtin bases would rebuild from positional arguments. vars() brings notes along.
        return _rebuild, (type(self), self.__given()), vars(self)


def _rebuild(cls: type[_Fields], fields: dict[str, object]) -> _Fields:
    return cls(**fields)


class ContainerKitError(_Fields):
    """The root of the tree: `except ContainerKitError` catches all of it."""

    hint: str | None = None

    def __str__(self) -> str:
        sentence = self._sentence()
        return f"{sentence} (hint: {self.hint})" if self.hint else sentence


# ── what was asked for makes no sense ────────────────────────────────────────


class InvalidSpecError(ContainerKitError, ValueError):
    """A value that was given cannot be: `field` names it."""

    field: str
    value: object = None
    reason: str

    def _sentence(self) -> str:
        shown = "" if self.value is None else f" {_shortened(repr(self.value), 120)}"
        return f"invalid {self.field}{shown}: {self.reason}"


class InvalidReferenceError(InvalidSpecError):
    """An image reference that is not `repo[:tag][@digest]`."""


class InvalidDigestError(InvalidSpecError):
    """A digest that is not `algorithm:hex`."""


class InvalidMountError(InvalidSpecError):
    """A mount that cannot or must not be made."""


class InvalidUserError(InvalidSpecError):
    """A user or group that is malformed, out of range or unknown to the image."""

    hint: str | None = "give a name that the image knows or a number, and perhaps a group: 'app', '1000', '1000:1000'"


class InvalidNameError(InvalidSpecError):
    """A name outside the grammar, e.g. of containers."""

    hint: str | None = "a good name is 'web-1'"


class InvalidCommandError(InvalidSpecError, TypeError):
    """A command that is not a sequence of strings, or is empty."""


class UnknownOptionError(InvalidSpecError, TypeError):
    """A keyword that is no option here; `near` holds the options it may have meant."""

    field: str = "option"
    reason: str = "there is no such option"
    near: tuple[str, ...] = ()
    hint: str | None = "the options are the keys of ContainerOptions and, for exec and spawn, ProcessOptions"

    def _sentence(self) -> str:
        return f"{super()._sentence()}{_did_you_mean(self.near)}"


# ── it is not there ──────────────────────────────────────────────────────────


class NotFoundError(ContainerKitError, LookupError):
    """Nothing has this name; `near` holds names that are similar."""

    name: str
    near: tuple[str, ...] = ()
    _noun = "object"

    def _sentence(self) -> str:
        return f"no such {self._noun}: {self.name!r}{_did_you_mean(self.near)}"


class ImageNotFoundError(NotFoundError):
    """No image has this reference or id."""

    _noun = "image"


class ContainerNotFoundError(NotFoundError):
    """No container has this name or id."""

    hint: str | None = "Container.list(all=True) says what there is"
    _noun = "container"


class VolumeNotFoundError(NotFoundError):
    """No volume has this name."""

    _noun = "volume"


class NetworkNotFoundError(NotFoundError):
    """No network has this name."""

    _noun = "network"


# ── it cannot be now ─────────────────────────────────────────────────────────


class ConflictError(ContainerKitError):
    """The request contradicts what is there."""


class NameInUseError(ConflictError):
    """The name belongs to another container; `holder` is its id."""

    name: str
    holder: str

    def _sentence(self) -> str:
        return f"the name {self.name!r} is in use by container {self.holder[:12]}"


class InUseError(ConflictError):
    """Something is still needed by others."""

    name: str
    users: tuple[str, ...]

    def _sentence(self) -> str:
        return f"{self.name} is in use by {', '.join(self.users)}"


class InvalidTransitionError(ConflictError):
    """The action does not exist for a container in this status."""

    action: str
    status: str
    container: str = ""

    def _sentence(self) -> str:
        return f"cannot {self.action} container{_spaced(self.container)}: it is {self.status}"


class AmbiguousIdError(ConflictError):
    """Several ids begin like this."""

    prefix: str
    matches: tuple[str, ...]
    hint: str | None = "give more digits, or the name"

    def _sentence(self) -> str:
        return f"{self.prefix!r} is the beginning of several ids: {', '.join(match[:12] for match in self.matches)}"


# ── images and registries ────────────────────────────────────────────────────


class ImageError(ContainerKitError):
    """An image, or a part of one, is unusable."""

    image: str
    reason: str

    def _sentence(self) -> str:
        return f"image {self.image}: {self.reason}"


class DigestMismatchError(ImageError):
    """The bytes are not those that the digest promised."""

    reason: str = "the content does not match its digest"
    expected: str
    actual: str

    def _sentence(self) -> str:
        return f"image {self.image}: {self.reason}: expected {self.expected}, got {self.actual}"


class UnsupportedMediaTypeError(ImageError):
    """The image is made of something this library cannot read."""


class UnsafeArchiveError(ImageError):
    """An archive that is malformed, writes where it must not, or is larger than allowed; `entry` is to blame."""

    entry: str = ""

    def _sentence(self) -> str:
        place = f" (entry {_shortened(repr(self.entry), 120)})" if self.entry else ""
        return f"{super()._sentence()}{place}"


class RegistryError(ContainerKitError):
    """A registry refused, or could not be understood."""

    url: str
    status: int | None = None
    code: str | None = None
    reason: str = ""

    def _sentence(self) -> str:
        answer = " ".join(str(part) for part in (self.status, self.code) if part is not None)
        said = f": {self.reason}" if self.reason else ""
        return f"registry {self.url} answered {answer or 'nothing useful'}{said}"


class AuthenticationError(RegistryError):
    """The registry wants other credentials."""


class RateLimitedError(RegistryError):
    """The registry wants fewer requests; `retry_after` is in seconds, where it said."""

    retry_after: float | None = None


class ManifestUnknownError(RegistryError):
    """The registry has no such image."""


class ImageUnreachableError(RegistryError, ConnectionError):
    """No registry and no mirror could be reached; `attempts` says what each of them did."""

    attempts: tuple[str, ...] = ()

    def _sentence(self) -> str:
        return f"cannot reach registry {self.url}: {'; '.join(self.attempts) or self.reason}"


# ── files in images and containers ───────────────────────────────────────────


class PathError(ContainerKitError, OSError):
    """A file in a container or an image could not be reached, read or changed."""

    path: str
    errno: int | None = None
    operation: str = ""

    def _sentence(self) -> str:
        verb = f"cannot {self.operation} " if self.operation else ""
        return f"{verb}{self.path!r}{_because(self.errno)}"


class PathNotFoundError(PathError, FileNotFoundError):
    """There is no such file."""


class PathExistsError(PathError, FileExistsError):
    """There is a file of that name already."""


class PathIsADirectoryError(PathError, IsADirectoryError):
    """It is a directory."""


class PathNotADirectoryError(PathError, NotADirectoryError):
    """It, or something on the way to it, is not a directory."""


class PathPermissionError(PathError, PermissionError):
    """The file may not be reached or changed like this."""


_PATH_ERRORS: dict[int, type[PathError]] = {
    _errno.ENOENT: PathNotFoundError,
    _errno.EEXIST: PathExistsError,
    _errno.EISDIR: PathIsADirectoryError,
    _errno.ENOTDIR: PathNotADirectoryError,
    _errno.EACCES: PathPermissionError,
    _errno.EPERM: PathPermissionError,
}


def path_error(errno: int, path: str, operation: str = "") -> PathError:
    """Return the `PathError` for an errno, as the subclass that says the same as the builtin."""
    return _PATH_ERRORS.get(errno, PathError)(path=path, errno=errno, operation=operation)


# ── the host ─────────────────────────────────────────────────────────────────


class HostError(ContainerKitError, OSError):
    """The host's kernel or file system refused."""

    attempted: str
    errno: int | None = None

    def _sentence(self) -> str:
        return f"{self.attempted}{_because(self.errno)}"


class UnsupportedHostError(HostError):
    """The host cannot do what was asked for; `feature` says what is missing."""

    attempted: str = ""
    feature: str
    reason: str

    def _sentence(self) -> str:
        return f"this host does not support {self.feature}: {self.reason}{_because(self.errno)}"


class CgroupError(HostError):
    """A control group could not be made, filled or read."""


class NetworkSetupError(HostError):
    """A network could not be set up."""


class RootDirectoryError(HostError):
    """The engine's directory cannot be used."""

    attempted: str = "cannot use the directory"
    path: str
    reason: str
    hint: str | None = "choose another directory: Engine(root=…) or CONTAINER_KIT_ROOT"

    def _sentence(self) -> str:
        return f"{self.attempted} {self.path}: {self.reason}{_because(self.errno)}"


class StateError(ContainerKitError):
    """The recorded state cannot be read or written: damaged, newer than this library, or failing storage."""

    path: str
    reason: str

    def _sentence(self) -> str:
        return f"state file {self.path}: {self.reason}"


class StorageFullError(StateError, OSError):
    """There is no room left for the recorded state."""

    reason: str = "no space left to record a change"
    errno: int | None = _errno.ENOSPC
    hint: str | None = "free some space; what was recorded before is intact"


# ── a container that did not do what it should ───────────────────────────────


class LaunchError(ContainerKitError, OSError):
    """A container did not come to life; `step` of `total` (from 1) is the one that failed, `op` says what it was."""

    step: int
    total: int
    op: str
    errno: int | None = None
    log_tail: str = ""

    def _sentence(self) -> str:
        name = "" if self.errno is None else f": {_errno.errorcode.get(self.errno, str(self.errno))}"
        place = f"launch step {self.step} of {self.total}" if self.total else "launch"
        return f"{place}: {self.op}{name}{_below(self.log_tail)}"


class CommandNotFoundError(ContainerKitError, FileNotFoundError):
    """The command is not in the container."""

    command: str
    searched: tuple[str, ...] = ()
    errno: int | None = _errno.ENOENT
    exit_code: int = 127
    hint: str | None = "is it in the image? give its absolute path, or set PATH with env="

    def _sentence(self) -> str:
        where = f" (looked for {', '.join(self.searched)})" if self.searched else ""
        return f"command {self.command!r} not found in the container{where}"


class CommandNotExecutableError(ContainerKitError, PermissionError):
    """The command is in the container but cannot be executed."""

    command: str
    errno: int | None = _errno.EACCES
    exit_code: int = 126

    def _sentence(self) -> str:
        return f"command {self.command!r} cannot be executed in the container{_because(self.errno)}"


class ExitError(ContainerKitError, subprocess.CalledProcessError):
    """A command failed; both of its streams are kept, as `stdout` and `stderr`."""

    returncode: int
    cmd: tuple[str, ...]
    output: bytes | str | None = None
    stderr: bytes | str | None = None
    container: str = ""

    def _sentence(self) -> str:
        ending = f"{self._command()} {_ending(self.returncode)}"
        return f"{ending}{_below(_as_text(self.stderr) or _as_text(self.output))}"

    def _command(self) -> str:
        return f"command {_shortened(str(list(self.cmd)), 200)}{_in_container(self.container)}"


class OutOfMemoryError(ExitError):
    """A command was ended because the container used up its memory."""

    hint: str | None = "give it more memory"

    def _sentence(self) -> str:
        return f"{self._command()} ran out of memory{_below(_as_text(self.stderr))}"


class WaitFailedError(ContainerKitError):
    """A container ended while somebody waited for it to become ready."""

    container: str
    exit_code: int | None = None
    log_tail: str = ""

    def _sentence(self) -> str:
        how = "" if self.exit_code is None else f" with status {self.exit_code}"
        return f"container {self.container} ended{how} while being waited for{_below(self.log_tail)}"


class BuildError(ContainerKitError):
    """A build step failed."""

    step: str
    file: str = ""
    line: int = 0
    log_tail: str = ""

    def _sentence(self) -> str:
        place = f"{self.file}:{self.line}: " if self.file else ""
        return f"{place}build step failed: {self.step}{_below(self.log_tail)}"


# ── it took too long ─────────────────────────────────────────────────────────


class WaitTimeoutError(ContainerKitError, TimeoutError):
    """Something did not happen in time; `timeout` is in seconds."""

    waiting_for: str
    timeout: float
    log_tail: str = ""

    def _sentence(self) -> str:
        return f"timed out after {self.timeout:g} s waiting for {self.waiting_for}{_below(self.log_tail)}"


class ExecTimeoutError(WaitTimeoutError, subprocess.TimeoutExpired):
    """A command was ended because its time was up; what it wrote until then is kept."""

    waiting_for: str = "a command"
    cmd: tuple[str, ...]
    output: bytes | str | None = None
    # Text when text was asked for; the standard library promises bytes only.
    stderr: bytes | str | None = None  # type: ignore[assignment]  # pyright: ignore[reportIncompatibleVariableOverride]
    container: str = ""

    def _sentence(self) -> str:
        command = _shortened(str(list(self.cmd)), 200)
        where = _in_container(self.container)
        return f"command {command}{where} was ended after {self.timeout:g} s{_below(_as_text(self.stderr))}"


class LockTimeoutError(WaitTimeoutError):
    """Another process kept a lock for too long; `holder` is its pid when it is known."""

    waiting_for: str = "a lock"
    path: str
    holder: int | None = None

    def _sentence(self) -> str:
        who = f"process {self.holder}" if self.holder else "another process"
        return f"timed out after {self.timeout:g} s waiting for the lock {self.path}, held by {who}"


# ── phrases ──────────────────────────────────────────────────────────────────


def _because(number: int | None) -> str:
    return "" if number is None else f": {_errno.errorcode.get(number, number)} ({_strerror(number)})"


def _did_you_mean(near: tuple[str, ...]) -> str:
    return f"; did you mean {' or '.join(repr(name) for name in near)}?" if near else ""


def _spaced(text: str) -> str:
    return f" {text}" if text else ""


def _in_container(container: str) -> str:
    return f" in container {container}" if container else ""


def _shortened(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def _ending(returncode: int) -> str:
    if returncode >= 0:
        return f"exited with status {returncode}"
    try:
        return f"was ended by {_signal.Signals(-returncode).name}"
    except ValueError:
        return f"was ended by signal {-returncode}"


def _as_text(stream: bytes | str | None) -> str:
    return stream.decode(errors="replace") if isinstance(stream, bytes) else stream or ""


def _below(text: str) -> str:
    """Put the end of an output below a sentence."""
    tail = "\n".join(text[-_TAIL_CHARS:].rstrip().splitlines()[-_TAIL_LINES:])
    return f"\n{tail}" if tail else ""
