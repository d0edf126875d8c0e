"""Finding images in the store by what people type: a name, a name with a digest, an id or its beginning."""

from __future__ import annotations

import re
from difflib import get_close_matches

from container_kit._spec.digest import Digest, hex_of
from container_kit._spec.reference import Reference, parse_reference
from container_kit._store.layout import Entry
from container_kit._store.store import ImageStore
from container_kit.errors import AmbiguousIdError, ImageNotFoundError, InvalidReferenceError

_ID = re.compile(r"(?:sha256:)?([0-9a-f]{1,64})")
_SHOWN = 6


def find(store: ImageStore, text: str) -> Entry:
    """Return the entry of an image. A name wins over an id.

    Raises:
        InvalidReferenceError: it can be neither.
        ImageNotFoundError: there is none; `near` holds similar names.
        AmbiguousIdError: several ids begin like this.
    """
    entries = store.layout.entries()
    is_id = _ID.fullmatch(text)
    try:
        reference = parse_reference(text)
    except InvalidReferenceError:
        if is_id is None:
            raise
    else:
        named = [entry for entry in entries if _is_called(entry, reference)]
        if named:
            return named[0]
    found = _with_prefix(entries, is_id[1]) if is_id is not None else {}
    if len(found) > 1:
        raise AmbiguousIdError(prefix=text, matches=tuple(hex_of(digest) for digest in list(found)[:_SHOWN]))
    for entry in found.values():
        return entry
    raise ImageNotFoundError(name=text, near=_near(entries, text), hint="Image.list() says what there is; Image.pull")


def entry_of(store: ImageStore, digest: Digest) -> Entry:
    """Return an entry of the image with this full digest, one with a name if there is any.

    Raises:
        ImageNotFoundError: it was removed.
    """
    found = entries_of(store, digest)
    if not found:
        raise ImageNotFoundError(name=digest, hint="it was removed")
    return found[0]


def entries_of(store: ImageStore, digest: Digest) -> list[Entry]:
    """Return every entry of the image with this digest, those with names first."""
    found = [entry for entry in store.layout.entries() if entry.descriptor.digest == digest]
    return sorted(found, key=lambda entry: (entry.name is None, entry.name))


def is_name_of(entry: Entry, text: str) -> bool:
    """Say whether an entry was found by its name, not by its id."""
    try:
        return _is_called(entry, parse_reference(text))
    except InvalidReferenceError:
        return False


def familiar(name: str) -> str:
    """Return a recorded name as people write it; one that another tool put there and that is no reference, as it is."""
    try:
        return parse_reference(name).familiar
    except InvalidReferenceError:
        return name


def short_of(digest: Digest) -> str:
    """Return the beginning of an id that is shown to people."""
    return hex_of(digest)[:12]


def _is_called(entry: Entry, reference: Reference) -> bool:
    if entry.name is None:
        return False
    if reference.digest is None:
        return entry.name == reference.canonical
    try:
        own = parse_reference(entry.name)
    except InvalidReferenceError:
        return False
    if own.name != reference.name or (reference.tag is not None and own.tag != reference.tag):
        return False
    return reference.digest in (entry.descriptor.digest, entry.source)


def _with_prefix(entries: tuple[Entry, ...], prefix: str) -> dict[Digest, Entry]:
    found: dict[Digest, Entry] = {}
    for entry in entries:
        digest = entry.descriptor.digest
        if hex_of(digest).startswith(prefix) and (digest not in found or found[digest].name is None):
            found[digest] = entry
    return found


def _near(entries: tuple[Entry, ...], text: str) -> tuple[str, ...]:
    names = [familiar(entry.name) for entry in entries if entry.name is not None]
    return tuple(get_close_matches(text, names))
