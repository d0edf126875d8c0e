"""Reading the parts of an image's documents: each reader checks one type and names the field that is wrong.

A document was written by a stranger, mostly in Go: null is as good as absent, and Go
takes a key in another case for the key itself. Where that could make two readers
disagree, the document is refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NoReturn, TypeAlias, cast

from container_kit._spec.text import Pairs
from container_kit.errors import ImageError

# A JSON object: its values have any type until they are looked at.
Object: TypeAlias = Mapping[str, Any]


def refuse(what: str, field: str, reason: str, *, hint: str | None = None) -> NoReturn:
    """Raise the `ImageError` about a field of a document."""
    raise ImageError(image=what, reason=f"{field} {reason}", hint=hint)


def read_object(value: object, field: str, *, what: str) -> Object:
    """Return a JSON object, or raise."""
    if not isinstance(value, dict):
        refuse(what, field, "must be an object")
    return cast("Object", value)  # JSON has no other keys than strings


def read_list(value: object, field: str, *, what: str) -> list[Any]:
    """Return a JSON list, empty for null, or raise."""
    if value is None:
        return []
    if not isinstance(value, list):
        refuse(what, field, "must be a list")
    return value  # pyright: ignore[reportUnknownVariableType]  # whose items are looked at one by one


def read_text(value: object, field: str, *, what: str) -> str:
    """Return a string, "" for null, or raise."""
    if value is None:
        return ""
    if not isinstance(value, str):
        refuse(what, field, "must be a string")
    return value


def read_texts(value: object, field: str, *, what: str) -> tuple[str, ...]:
    """Return a list of strings as a tuple, or raise."""
    items = read_list(value, field, what=what)
    return tuple(_text(item, f"{field}[{number}]", what) for number, item in enumerate(items))


def read_texts_by_key(value: object, field: str, *, what: str) -> Pairs:
    """Return an object of strings as pairs, or raise; null is the empty string, as in Go.

    The pairs are sorted by key: an object has no order, and equal objects are to be equal pairs.
    """
    if value is None:
        return ()
    pairs = read_object(value, field, what=what).items()
    return tuple(sorted((key, read_text(item, f"{field}.{key[:80]}", what=what)) for key, item in pairs))


def check_spelling(document: Object, fields: Iterable[str], field: str, *, what: str) -> None:
    """Raise if a key is one of some fields in other letter case: Go reads it, others do not."""
    known = {name.casefold(): name for name in fields}
    for key in document:
        if known.get(key.casefold(), key) != key:
            place = f"{field}.{key[:80]}" if field else key[:80]
            refuse(what, place, f"is ambiguous: the field is {known[key.casefold()]!r}")


def fold_spelling(document: Object, fields: Iterable[str], field: str, *, what: str) -> dict[str, Any]:
    """Return some fields by their names, found in any letter case as Go does, or raise if one is there twice."""
    known = {name.casefold(): name for name in fields}
    found: dict[str, Any] = {}
    for key, value in document.items():
        name = known.get(key.casefold())
        if name is None:
            continue
        if name in found:
            refuse(what, f"{field}.{name}" if field else name, "is ambiguous: it is there twice")
        found[name] = value
    return found


def replace_field(document: dict[str, Any], name: str, value: object) -> None:
    """Set a field, or take it away where the value is None; other spellings of it go as well."""
    for key in [key for key in document if key.casefold() == name.casefold()]:
        del document[key]
    if value is not None:
        document[name] = value


def _text(value: object, field: str, what: str) -> str:
    if not isinstance(value, str):
        refuse(what, field, "must be a string")
    return value
