"""What every string from a caller must satisfy before it may become part of a value.

The kernel takes C strings, so no NUL; names are shown on one line, so no newline in
them. Values (arguments, environment) may have newlines. Bytes that are not UTF-8
travel as surrogate escapes (PEP 383), other surrogates cannot become bytes at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

from container_kit.errors import InvalidSpecError

Pairs: TypeAlias = tuple[tuple[str, str], ...]


def check_text(text: object, field: str) -> str:
    """Return a string that can be handed to the kernel, or raise."""
    if not isinstance(text, str):
        raise InvalidSpecError(field=field, value=text, reason="must be a string", hint=_quoting_hint(text))
    if "\0" in text:
        raise InvalidSpecError(field=field, reason="contains a NUL character", hint="the kernel takes none")
    if not text.isascii():
        _check_encodable(text, field)
    return text


def check_line(text: object, field: str) -> str:
    """Return a string that is also free of newlines, or raise."""
    line = check_text(text, field)
    if "\n" in line or "\r" in line:
        raise InvalidSpecError(field=field, value=line, reason="contains a newline", hint="give one line")
    return line


def check_strings(values: Iterable[object], field: str) -> tuple[str, ...]:
    """Return a tuple of strings for the kernel; errors name the item, `field[2]`."""
    if isinstance(values, str):
        raise InvalidSpecError(field=field, value=values, reason="must be a sequence of strings, not one string")
    items = tuple(values)
    for number, item in enumerate(items):
        if not (isinstance(item, str) and item.isascii() and "\0" not in item):
            check_text(item, f"{field}[{number}]")
    return items  # type: ignore[return-value]  # each one was checked


def check_env_name(name: object, field: str = "env") -> str:
    """Return the name of an environment variable: not empty, one line, without `=` (environ(7))."""
    text = check_line(name, f"{field} name")
    if not text or "=" in text:
        raise InvalidSpecError(field=f"{field} name", value=text, reason="must not be empty or contain '='")
    return text


def check_env(env: Pairs) -> None:
    """Raise unless every pair can be an environment variable; values are never shown."""
    _check_pairs(env, "env")
    for name, value in env:
        check_env_name(name)
        check_text(value, f"env {name}")


def check_labels(labels: Pairs) -> None:
    """Raise unless every pair can be a label: a key on one line, any text as value."""
    _check_pairs(labels, "labels")
    for key, value in labels:
        if not check_line(key, "labels key"):
            raise InvalidSpecError(field="labels key", value=key, reason="must not be empty")
        check_text(value, f"labels {key}")


def parse_pairs(given: Mapping[str, str] | Sequence[str], field: str) -> Pairs:
    """Return pairs from a mapping or from `KEY=VALUE` strings; of the same key the last one counts."""
    if isinstance(given, Mapping):
        return tuple(given.items())
    found: dict[str, str] = {}
    for number, item in enumerate(check_strings(given, field)):
        key, equals, value = item.partition("=")
        if not equals:
            reason = "must have the form KEY=VALUE"
            hint = "the caller's own environment is never passed on; give the value" if field == "env" else None
            raise InvalidSpecError(field=f"{field}[{number}]", value=item, reason=reason, hint=hint)
        found[key] = value
    return tuple(found.items())


def _check_pairs(pairs: Pairs, field: str) -> None:
    keys = [key for key, _ in pairs]
    if len(keys) != len(set(keys)):
        twice = next(key for key in keys if keys.count(key) > 1)
        raise InvalidSpecError(field=field, value=twice, reason="is given twice")


def _check_encodable(text: str, field: str) -> None:
    try:
        text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        raise InvalidSpecError(field=field, reason="cannot be encoded as UTF-8") from error


def _quoting_hint(value: object) -> str | None:
    return f"write {str(value)!r}" if isinstance(value, int | float) and not isinstance(value, bool) else None
