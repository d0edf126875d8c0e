"""What callers give, brought into the form that the machinery takes: images, options, streams."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import IO, Self, TypedDict, TypeVar

import attrs

from container_kit._images.origins import ImageParts
from container_kit._linux import device_nodes
from container_kit._runtime import start as _start
from container_kit._runtime.failures import typed_refusals
from container_kit._runtime.site import Site
from container_kit._spec.devices import is_cdi_name
from container_kit._spec.mounts import Mount, MountKind
from container_kit._spec.options import ContainerOptions, parse_options
from container_kit._spec.sandbox import enclosed
from container_kit._spec.security import SeccompFile, Security
from container_kit._state.container_record import ContainerRecord
from container_kit.errors import ImageNotFoundError, InvalidMountError, InvalidSpecError
from container_kit.image import Image

_T = TypeVar("_T")

_LARGEST_FILE = 1 << 20
_IMAGE_HINT = "'debian:12', for example, or Image.host()"


def begin(
    site: Site,
    image: Image | str,
    command: Sequence[str] | None,
    options: ContainerOptions,
    how: Callable[[ContainerRecord], _T],
) -> tuple[ContainerRecord, _T]:
    """Begin with the record of a container that is asked for; return both.

    An image that is removed before the container's row protects it is looked for once more by its name.

    Raises:
        ImageNotFoundError, RegistryError: as `new_record`.
        ContainerKitError: what `how` raises.
    """
    record = new_record(site, image, command, options)
    try:
        return record, how(record)
    except ImageNotFoundError:
        if not isinstance(image, str):
            raise
    record = new_record(site, image, command, options)
    return record, how(record)


@typed_refusals("cannot prepare a container")
def new_record(
    site: Site, image: Image | str, command: Sequence[str] | None, options: ContainerOptions
) -> ContainerRecord:
    """Return the record of a container that is asked for; nothing is written yet.

    Raises:
        InvalidSpecError: an option makes no sense.
        ImageNotFoundError, RegistryError: there is no such image, or it cannot be had.
    """
    vendors_names, options = _apart(options)
    config = parse_options(command, options, env_file_text=_env_files(options))
    if config.devices:
        config = attrs.evolve(config, devices=device_nodes.find_nodes(config.devices))
    if vendors_names:
        from container_kit._runtime.cdi import apply_cdi  # few containers have such devices

        config = apply_cdi(config, vendors_names, site.cdi_directories)
    if config.mounts:
        config = attrs.evolve(config, mounts=tuple(_checked(mount) for mount in config.mounts))
    if isinstance(config.security.seccomp, SeccompFile):
        config = attrs.evolve(config, security=_with_profile(config.security, config.security.seccomp))
    config = enclosed(config)
    return _start.new_record(site, name=options.get("name"), config=config, image=_parts_of(site, image, options))


def _apart(options: ContainerOptions) -> tuple[list[str], ContainerOptions]:
    """Take the names of CDI devices out of the options."""
    given = options.get("devices")
    if not given or isinstance(given, str) or not isinstance(given, Sequence):  # pyright: ignore[reportUnnecessaryIsInstance]
        return [], options
    names = [device for device in given if isinstance(device, str) and is_cdi_name(device)]
    others = [device for device in given if not (isinstance(device, str) and is_cdi_name(device))]
    return names, {**options, "devices": others}


def _parts_of(site: Site, image: Image | str, options: ContainerOptions) -> ImageParts:
    if isinstance(image, Image):
        return image.parts(site)
    if not isinstance(image, str):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers without a type checker
        raise InvalidSpecError(field="image", value=image, reason="must be an Image or a name", hint=_IMAGE_HINT)
    from container_kit._runtime.image_choice import choose_image  # what loads the store and the registry's client

    return choose_image(site, image, policy=options.get("pull") or "missing", platform=options.get("platform"))


def as_bytes(data: bytes | str | None) -> bytes | None:
    """Return input as bytes; text becomes UTF-8."""
    if isinstance(data, str):
        return data.encode()
    if data is not None and not isinstance(data, bytes | bytearray | memoryview):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InvalidSpecError(field="input", value=data, reason="must be bytes or text")
    return data


class _Ends(TypedDict):
    stdin: int
    stdout: int
    stderr: int


class Streams:
    """A spawned process's three streams: pipes where asked for, else what the caller gave.

    Args:
        devnull: a descriptor of /dev/null, the streams' own from now on.
        stdin: `PIPE`, `DEVNULL`, a file or a descriptor; None: /dev/null.
        stdout: the same.
        stderr: the same, or `STDOUT`.
    """

    def __init__(
        self,
        devnull: int,
        stdin: int | IO[bytes] | None,
        stdout: int | IO[bytes] | None,
        stderr: int | IO[bytes] | None,
    ) -> None:
        self._ours: dict[str, int] = {"stdin": -1, "stdout": -1, "stderr": -1}
        self._passed_on = [devnull]
        self._devnull = devnull
        try:
            first, second = self._end("stdin", stdin), self._end("stdout", stdout)
            third = second if stderr == subprocess.STDOUT else self._end("stderr", stderr)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        self.theirs = (first, second, third)

    def take(self) -> _Ends:
        """Hand the caller's ends over."""
        taken = _Ends(stdin=self._ours["stdin"], stdout=self._ours["stdout"], stderr=self._ours["stderr"])
        self._ours = dict.fromkeys(self._ours, -1)
        return taken

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for fd in (*self._passed_on, *self._ours.values()):
            if fd >= 0:
                os.close(fd)

    def _end(self, name: str, given: int | IO[bytes] | None) -> int:
        if given is None or given == subprocess.DEVNULL:
            return self._devnull
        if given == subprocess.PIPE:
            read, write = os.pipe()
            ours, theirs = (write, read) if name == "stdin" else (read, write)
            self._ours[name] = ours
            self._passed_on.append(theirs)
            return theirs
        return given if isinstance(given, int) else given.fileno()


def _env_files(options: ContainerOptions) -> tuple[str, ...]:
    given = options.get("env_file")
    if given is None:
        return ()
    paths = (given,) if isinstance(given, str) or not isinstance(given, Sequence) else given
    return tuple(_read_env_file(path if isinstance(path, str) else path.__fspath__()) for path in paths)


def _read_env_file(path: str) -> str:
    return _read_text("env_file", path)


def _with_profile(security: Security, given: SeccompFile) -> Security:
    """Return it with the text of the profile, as it is now; later launches need no file."""
    from container_kit._plan.seccomp_json import parse_seccomp  # few containers bring their own

    text = given.text or _read_text("seccomp", given.path)
    parse_seccomp(text, given.path)
    return attrs.evolve(security, seccomp=attrs.evolve(given, text=text))


def _read_text(field: str, path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            text = file.read(_LARGEST_FILE + 1)
    except OSError as err:
        raise InvalidSpecError(field=field, value=path, reason=os.strerror(err.errno or errno.EIO)) from err
    if len(text) > _LARGEST_FILE:
        raise InvalidSpecError(field=field, value=path, reason="is larger than 1 MiB")
    return text


def _checked(mount: Mount) -> Mount:
    if mount.kind is not MountKind.BIND:
        return mount
    assert mount.source is not None
    if mount.create_source:
        os.makedirs(mount.source, exist_ok=True)
    try:
        return attrs.evolve(mount, source_is_dir=stat.S_ISDIR(os.stat(mount.source).st_mode))
    except OSError as err:
        raise InvalidMountError(
            field="mount source",
            value=mount.source,
            reason=os.strerror(err.errno or errno.EIO).lower(),
            hint="create it first, or use Mount.bind(…, create_source=True)",
        ) from err
