"""The section `config` of an image's config: how Docker writes an `ImageConfig` in JSON, both ways.

It was written by a stranger, and by whatever tools there have been since 2014. So what
Docker tolerates is tolerated: null for anything, a command that is one string, letters
of any case in the names of fields, an unknown signal. What could not be handed to a
process (NUL, a newline in a name) is refused with the field's name. Environment entries
without `=` or without a name are left out: no process could look them up.
"""

from __future__ import annotations

import signal
from collections.abc import Iterable
from typing import Any

import attrs

from container_kit._spec.documents import (
    Object,
    fold_spelling,
    read_object,
    read_text,
    read_texts,
    read_texts_by_key,
    refuse,
    replace_field,
)
from container_kit._spec.healthcheck import Healthcheck
from container_kit._spec.image_config import ImageConfig
from container_kit._spec.paths import ContainerPath
from container_kit._spec.signals import parse_signal
from container_kit._spec.text import Pairs
from container_kit.errors import ImageError, InvalidSpecError

DEFAULT_SHELL = ("/bin/sh", "-c")

_FIELDS = (
    "User", "Env", "Entrypoint", "Cmd", "WorkingDir", "Labels", "StopSignal", "Healthcheck",
    "ExposedPorts", "Volumes", "Shell", "OnBuild",
)  # fmt: skip
_HEALTH_FIELDS = ("Test", "Interval", "Timeout", "StartPeriod", "StartInterval", "Retries")
_DURATIONS = {
    "interval": "Interval",
    "timeout": "Timeout",
    "start_period": "StartPeriod",
    "start_interval": "StartInterval",
}
_NS = 1_000_000_000


@attrs.frozen(kw_only=True)
class ConfigSection:
    """What the section says: how to run, and what only builds and front ends look at."""

    config: ImageConfig
    exposed_ports: tuple[str, ...]
    volumes: tuple[str, ...]
    command_shell: tuple[str, ...]
    on_build: tuple[str, ...]


def read_section(section: object, *, architecture: str | None, what: str) -> ConfigSection:
    """Return what the section of a document says.

    Args:
        section: the section, as `parse_json` returned it; None where there is none.
        architecture: the image's, by the document.
        what: what the error calls the document.

    Raises:
        ImageError: a field cannot be; the reason names it.
    """
    given = read_object({} if section is None else section, "config", what=what)
    found = fold_spelling(given, _FIELDS, "config", what=what)
    command_shell = _words(found.get("Shell"), "config.Shell", what)
    try:
        config = ImageConfig(
            env=_env_of(read_texts(found.get("Env"), "config.Env", what=what)),
            entrypoint=_entrypoint(_words(found.get("Entrypoint"), "config.Entrypoint", what)),
            command=_words(found.get("Cmd"), "config.Cmd", what),
            working_dir=_working_dir(read_text(found.get("WorkingDir"), "config.WorkingDir", what=what)),
            user=_user(found.get("User"), what),
            stop_signal=_stop_signal(found.get("StopSignal"), what),
            labels=read_texts_by_key(found.get("Labels"), "config.Labels", what=what),
            healthcheck=_healthcheck(found.get("Healthcheck"), command_shell or DEFAULT_SHELL, what),
            architecture=architecture,
        )
    except InvalidSpecError as error:
        raise ImageError(image=what, reason=f"config: {error}") from error
    return ConfigSection(
        config=config,
        exposed_ports=_keys(found.get("ExposedPorts"), "config.ExposedPorts", what),
        volumes=_keys(found.get("Volumes"), "config.Volumes", what),
        command_shell=command_shell,
        on_build=read_texts(found.get("OnBuild"), "config.OnBuild", what=what),
    )


def write_section(section: dict[str, Any], old: ConfigSection, new: ConfigSection) -> None:
    """Change a section so that it says `new` where it said `old`; what is the same in both stays as it is written."""
    before, after = _fields_of(old), _fields_of(new)
    for name, value in after.items():
        if value != before[name]:
            replace_field(section, name, value or None)


def is_key(text: str) -> bool:
    """Say whether a text can name a port or a volume: not empty, and nothing that could not be shown."""
    return bool(text) and text.isprintable()


def signal_name(number: int) -> str:
    """Return a signal as documents have it: `SIGTERM`, or the number of one without a name."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return str(number)


def _fields_of(section: ConfigSection) -> dict[str, Any]:
    config = section.config
    return {
        "User": config.user,
        "Env": [f"{name}={value}" for name, value in config.env],
        "Entrypoint": list(config.entrypoint),
        "Cmd": list(config.command),
        "WorkingDir": config.working_dir,
        "Labels": dict(config.labels),
        "StopSignal": signal_name(config.stop_signal) if config.stop_signal else None,
        "Healthcheck": _health_fields(config.healthcheck) if config.healthcheck else None,
        "ExposedPorts": {port: {} for port in section.exposed_ports},
        "Volumes": {path: {} for path in section.volumes},
        "Shell": list(section.command_shell),
        "OnBuild": list(section.on_build),
    }


# ── the fields ───────────────────────────────────────────────────────────────


def _words(value: object, field: str, what: str) -> tuple[str, ...]:
    """Return a command: a list of strings, or one string, as old tools wrote it; an empty one is none."""
    if isinstance(value, str):
        return (value,) if value else ()
    return read_texts(value, field, what=what)


def _entrypoint(words: tuple[str, ...]) -> tuple[str, ...]:
    return () if words == ("",) else words  # Docker's way to say that there is none


def _env_of(entries: Iterable[str]) -> Pairs:
    found: dict[str, str] = {}
    for entry in entries:
        name, equals, value = entry.partition("=")
        if name and equals:
            found[name] = value
    return tuple(found.items())


def _working_dir(path: str) -> ContainerPath | None:
    """Return a directory as Go's `path.Clean` has it, from the root on: `a/../b` is `/b`."""
    if not path:
        return None
    parts: list[str] = []
    for part in path.split("/"):
        if part == "..":
            parts = parts[:-1]
        elif part not in ("", "."):
            parts.append(part)
    return ContainerPath("/" + "/".join(parts))


def _user(value: object, what: str) -> str | None:
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return read_text(value, "config.User", what=what) or None


def _stop_signal(value: object, what: str) -> int | None:
    """Return a signal's number; an unknown one counts as none, as for Docker when it stops a container."""
    if not isinstance(value, int) or isinstance(value, bool):
        value = read_text(value, "config.StopSignal", what=what)
    try:
        return parse_signal(value) if value else None
    except InvalidSpecError:
        return None


def _keys(value: object, field: str, what: str) -> tuple[str, ...]:
    """Return the keys of an object that is used as a set, sorted."""
    keys = tuple(sorted(read_object({} if value is None else value, field, what=what)))
    for key in keys:
        if not is_key(key):
            refuse(what, field, f"has the key {key[:80]!r}, which must be text on one line")
    return keys


def _healthcheck(value: object, shell: tuple[str, ...], what: str) -> Healthcheck | None:
    if value is None:
        return None
    found = fold_spelling(
        read_object(value, "config.Healthcheck", what=what), _HEALTH_FIELDS, "config.Healthcheck", what=what
    )
    test = read_texts(found.get("Test"), "config.Healthcheck.Test", what=what)
    if test == ("NONE",):
        return Healthcheck.none()
    if test[:1] == ("CMD-SHELL",) and len(test) > 1:
        command = (*shell, test[1])
    elif test[:1] == ("CMD",) and len(test) > 1:
        command = test[1:]
    else:  # nothing, "as below", or a kind that nobody knows
        return None
    given: dict[str, Any] = {name: _number(found, key, what) / _NS for name, key in _DURATIONS.items()}
    given["retries"] = _number(found, "Retries", what)
    return attrs.evolve(Healthcheck(command), **{name: value for name, value in given.items() if value})


def _number(found: Object, key: str, what: str) -> int:
    """Return a number, 0 where the default is meant."""
    value = 0 if found.get(key) is None else found[key]
    if isinstance(value, bool) or not isinstance(value, int):
        refuse(what, f"config.Healthcheck.{key}", "must be a whole number")
    return value


def _health_fields(check: Healthcheck) -> dict[str, Any]:
    if check.disabled:
        return {"Test": ["NONE"]}
    shell, command = check.test[:-1], check.test[-1]
    fields: dict[str, Any] = {"Test": ["CMD-SHELL", command] if shell == DEFAULT_SHELL else ["CMD", *check.test]}
    usual = Healthcheck(check.test)
    for name, key in _DURATIONS.items():
        if getattr(check, name) != getattr(usual, name):
            fields[key] = round(getattr(check, name) * _NS)
    if check.retries != usual.retries:
        fields["Retries"] = check.retries
    return fields
