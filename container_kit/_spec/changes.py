"""Docker's `--change`: Dockerfile instructions that edit an image's config.

The instructions and their meaning are those of `docker commit` and `docker import`
(moby, builder/dockerfile/dispatchers.go): CMD, ENTRYPOINT, ENV, EXPOSE, HEALTHCHECK,
LABEL, ONBUILD, STOPSIGNAL, USER, VOLUME and WORKDIR. A command is a JSON list, or text
for the image's shell. `$NAME` stands for a variable of the image's environment, except
in commands, whose shell replaces it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NoReturn

import attrs

from container_kit._spec.dockerfile_words import expand_word, split_words
from container_kit._spec.documents import read_texts
from container_kit._spec.healthcheck import Healthcheck
from container_kit._spec.image_config import ImageConfig
from container_kit._spec.image_config_json import DEFAULT_SHELL
from container_kit._spec.oci_config import OciConfig, edit_oci_config
from container_kit._spec.paths import parse_container_path
from container_kit._spec.signals import parse_signal
from container_kit._spec.text import check_text
from container_kit.errors import ImageError, InvalidSpecError

_CONTINUED = re.compile(r"\\[ \t]*\n")
_PORTS = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?(?:/(tcp|udp|sctp))?", re.ASCII | re.IGNORECASE)
_FLAG = re.compile(r"--([a-z-]+)=(\S*)\s*")
_DURATION = re.compile(r"(?:\d+(?:\.\d*)?(?:ns|us|µs|ms|s|m|h))+", re.ASCII)
_DURATION_PART = re.compile(r"(\d+(?:\.\d*)?)(ns|us|µs|ms|s|m|h)", re.ASCII)
_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_NOT_ON_BUILD = ("ONBUILD", "FROM", "MAINTAINER")


def apply_changes(config: OciConfig, changes: Sequence[str]) -> OciConfig:
    """Return a config with Dockerfile instructions applied, one after the other.

    Args:
        config: what is edited.
        changes: instructions such as `CMD ["python3", "-m", "app"]` or `ENV A=1 B="two words"`. One may go on over
            several lines, each but the last with a backslash at its end.

    Raises:
        InvalidSpecError: an instruction is unknown or malformed; its field is `changes[n]`.
    """
    edit = _Edit(config)
    for field, line in _instructions(changes):
        name, _, rest = line.partition(" ")
        apply = _INSTRUCTIONS.get(name.upper())
        if apply is None:
            raise InvalidSpecError(
                field=field, value=line, reason="is no instruction that changes a config", hint=_HINT
            )
        apply(edit, rest.strip(), field)
    return edit_oci_config(
        config, image=edit.image, exposed_ports=edit.ports, volumes=edit.volumes, on_build=edit.on_build
    )


class _Edit:
    """What the instructions up to now have made of a config."""

    def __init__(self, config: OciConfig) -> None:
        self.image: ImageConfig = config.config
        self.ports: tuple[str, ...] = config.exposed_ports
        self.volumes: tuple[str, ...] = config.volumes
        self.on_build: tuple[str, ...] = config.on_build
        self.shell: tuple[str, ...] = config.command_shell or DEFAULT_SHELL
        self.has_command: bool = False

    @property
    def env(self) -> Mapping[str, str]:
        return dict(self.image.env)

    def change(self, **fields: Any) -> None:
        self.image = attrs.evolve(self.image, **fields)


def _instructions(changes: Sequence[str]) -> Iterator[tuple[str, str]]:
    if isinstance(changes, str):
        raise InvalidSpecError(field="changes", value=changes, reason="must be a sequence of strings, not one string")
    for number, text in enumerate(changes):
        field = f"changes[{number}]"
        for line in _CONTINUED.sub("", check_text(text, field)).splitlines():
            instruction = " ".join(line.strip().split(None, 1))
            if instruction and not instruction.startswith("#"):
                yield field, instruction


# ── the instructions ─────────────────────────────────────────────────────────


def _cmd(edit: _Edit, rest: str, _field: str) -> None:
    edit.has_command = True
    edit.change(command=_command(rest, edit.shell))


def _entrypoint(edit: _Edit, rest: str, _field: str) -> None:
    edit.change(entrypoint=_command(rest, edit.shell))
    if not edit.has_command:  # arguments for another program
        edit.change(command=())


def _env(edit: _Edit, rest: str, field: str) -> None:
    edit.change(env=tuple({**edit.env, **_pairs(edit, rest, field)}.items()))


def _label(edit: _Edit, rest: str, field: str) -> None:
    edit.change(labels=tuple({**dict(edit.image.labels), **_pairs(edit, rest, field)}.items()))


def _expose(edit: _Edit, rest: str, field: str) -> None:
    ports = [port for word in _words(edit, rest, field) for port in _ports(word, field)]
    edit.ports = tuple(dict.fromkeys((*edit.ports, *ports)))


def _volume(edit: _Edit, rest: str, field: str) -> None:
    listed = _json_list(rest)
    words = _words(edit, rest, field) if listed is None else [expand_word(word, edit.env, field) for word in listed]
    if not words:
        _refuse(field, rest, "names no volume")
    paths = [parse_container_path(word, field) for word in words]
    edit.volumes = tuple(dict.fromkeys((*edit.volumes, *paths)))


def _user(edit: _Edit, rest: str, field: str) -> None:
    edit.change(user=_one_word(edit, rest, field))


def _working_dir(edit: _Edit, rest: str, field: str) -> None:
    path = expand_word(rest, edit.env, field)
    if not path:
        _refuse(field, rest, "names no directory")
    absolute = path if path.startswith("/") else f"{edit.image.working_dir or ''}/{path}"
    edit.change(working_dir=parse_container_path(absolute, field))


def _stop_signal(edit: _Edit, rest: str, field: str) -> None:
    edit.change(stop_signal=parse_signal(_one_word(edit, rest, field), field))


def _on_build(edit: _Edit, rest: str, field: str) -> None:
    name = rest.partition(" ")[0].upper()
    if not name or name in _NOT_ON_BUILD:
        _refuse(field, rest, f"must be an instruction other than {', '.join(_NOT_ON_BUILD)}")
    edit.on_build = (*edit.on_build, rest)


def _healthcheck(edit: _Edit, rest: str, field: str) -> None:
    options: dict[str, Any] = {}
    while flag := _FLAG.match(rest):
        name = flag[1].replace("-", "_")
        if name == "retries" and flag[2].isascii() and flag[2].isdigit() and len(flag[2]) < 10:
            options[name] = int(flag[2])
        elif name in ("interval", "timeout", "start_period", "start_interval"):
            options[name] = _duration(flag[2], field)
        else:
            _refuse(field, flag[0].strip(), "is no option of HEALTHCHECK, or has a wrong value")
        rest = rest[flag.end() :]
    kind, _, command = rest.partition(" ")
    if kind.upper() == "NONE" and not (command or options):
        edit.change(healthcheck=Healthcheck.none())
        return
    words = _command(command.strip(), edit.shell)
    if kind.upper() != "CMD" or not words:
        _refuse(field, rest, "must be NONE, or CMD and a command")
    # Zero means the default.
    edit.change(healthcheck=attrs.evolve(Healthcheck(words), **{key: value for key, value in options.items() if value}))


_INSTRUCTIONS: Mapping[str, Callable[[_Edit, str, str], None]] = {
    "CMD": _cmd,
    "ENTRYPOINT": _entrypoint,
    "ENV": _env,
    "EXPOSE": _expose,
    "HEALTHCHECK": _healthcheck,
    "LABEL": _label,
    "ONBUILD": _on_build,
    "STOPSIGNAL": _stop_signal,
    "USER": _user,
    "VOLUME": _volume,
    "WORKDIR": _working_dir,
}
_HINT = f"the instructions are {', '.join(_INSTRUCTIONS)}"


# ── their arguments ──────────────────────────────────────────────────────────


def _command(text: str, shell: tuple[str, ...]) -> tuple[str, ...]:
    """Return a command: a JSON list of strings as it is, other text for the shell, nothing for nothing."""
    words = _json_list(text)
    if words is not None:
        return tuple(words)
    return (*shell, text) if text else ()


def _json_list(text: str) -> Sequence[str] | None:
    if not text.startswith("["):
        return None
    try:
        return read_texts(json.loads(text), "command", what="change")
    except (ValueError, RecursionError, ImageError):
        return None  # as for Docker: then it is text


def _words(edit: _Edit, text: str, field: str) -> list[str]:
    env = edit.env
    return [expand_word(word, env, field) for word in split_words(text, field)]


def _one_word(edit: _Edit, text: str, field: str) -> str:
    words = _words(edit, text, field)
    if len(words) != 1 or not words[0]:
        _refuse(field, text, "takes one word")
    return words[0]


def _pairs(edit: _Edit, text: str, field: str) -> dict[str, str]:
    """Return `A=1 B="2 3"`, or the old form `A everything else`, as pairs; variables are those from before."""
    words = split_words(text, field)
    if words and "=" not in words[0]:
        name, *value = text.split(None, 1)
        words = [f"{name}={value[0]}"] if value else []
    if not words or not all("=" in word for word in words):
        _refuse(field, text, "must have the form NAME=VALUE")
    env = edit.env
    halves = (word.partition("=") for word in words)
    return {expand_word(name, env, field): expand_word(value, env, field) for name, _, value in halves}


def _ports(word: str, field: str) -> list[str]:
    found = _PORTS.fullmatch(word)
    first, last = (int(found[1]), int(found[2] or found[1])) if found else (0, 0)
    if found is None or not 1 <= first <= last <= 65535:
        _refuse(field, word, "must be a port such as '80', '53/udp' or '8000-8010/tcp'")
    protocol = (found[3] or "tcp").lower()
    return [f"{port}/{protocol}" for port in range(first, last + 1)]


def _duration(text: str, field: str) -> float:
    """Return the seconds of a duration as Go writes it: `1m30s`, `500ms`."""
    if text == "0":
        return 0.0
    if not _DURATION.fullmatch(text):
        _refuse(field, text, "must be a duration such as '30s' or '1m30s'")
    return sum(float(number) * _SECONDS[unit] for number, unit in _DURATION_PART.findall(text))


def _refuse(field: str, value: str, reason: str) -> NoReturn:
    raise InvalidSpecError(field=field, value=value, reason=reason)
