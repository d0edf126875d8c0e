"""The index of the image layout: which images there are, and what they are called.

Other tools write index.json as well (`skopeo copy … oci:`): what we do not know in it stays as it
is. A name is the annotation `org.opencontainers.image.ref.name`; an entry without one is dangling.
Two annotations are our own, and count in this file only, never in content that came from
elsewhere: what a registry's tag meant, and when the entry was made.
Source: OCI image-layout.md and annotations.md.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, cast

import attrs

from container_kit._spec.descriptor import Descriptor, parse_descriptor
from container_kit._spec.digest import Digest, parse_digest
from container_kit._spec.reference import parse_reference
from container_kit.errors import ContainerKitError

NAME = "org.opencontainers.image.ref.name"
OWN = "io.container-kit."
SOURCE = f"{OWN}source"
ADDED = f"{OWN}added"

_EMPTY: dict[str, Any] = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": []}
_NS = 1_000_000_000


@attrs.frozen(kw_only=True)
class Entry:
    """An image in the store.

    Attributes:
        name: its canonical reference; None for a dangling image, whose name means another one by now.
            A name of another tool that is no reference is given as it is.
        descriptor: of its manifest or index, without the annotations that belong to the entry.
        source: what the registry's tag meant when it was pulled: the digest of an index or a manifest.
        added_ns: when the entry was made, ns since the epoch; 0 when that was not recorded.
    """

    name: str | None
    descriptor: Descriptor
    source: Digest | None = None
    added_ns: int = 0


class IndexEdit:
    """The index while it is being changed; written when `Layout.edit` ends without an exception."""

    def __init__(self, document: dict[str, Any] | None) -> None:
        self._document = document if document is not None else dict(_EMPTY)
        self._rows = rows_of(self._document)
        self.is_changed = document is None

    @property
    def entries(self) -> tuple[Entry, ...]:
        """Every image as of now."""
        return entries_of(self._rows)

    def set(self, name: str | None, descriptor: Descriptor, source: Digest | None = None) -> Entry:
        """Let a name mean this image, or record it as dangling when there is no name.

        An image that had the name until now is dangling afterwards, unless it has other names.

        Args:
            name: a canonical reference.
            descriptor: of a manifest or index that is in the store.
            source: what the registry's tag meant.
        """
        digest = descriptor.digest
        same = [row for row in self._rows if _digest_of(row) == digest]
        if name is None and same:
            return next(entry for entry in self.entries if entry.descriptor.digest == digest)
        if name is not None:
            self._take_name(name)
        self._rows = [row for row in self._rows if not (_digest_of(row) == digest and _name_of(row) is None)]
        row = _bare(same[0] if same else descriptor.to_json())
        own = {ADDED: _format_time(time.time_ns())}
        if name is not None:
            own[NAME] = name
        if source is not None:
            own[SOURCE] = source
        row["annotations"] = {**row.get("annotations", {}), **own}
        self._rows.append(row)
        self.is_changed = True
        made = _entry_of(row, len(self._rows) - 1)
        assert made is not None
        return made

    def remove_name(self, name: str) -> bool:
        """Take a name away; the image stays, dangling if it was the last. False when there was none."""
        if all(entry.name != name for entry in self.entries):
            return False
        self._take_name(name)
        self.is_changed = True
        return True

    def remove(self, digest: Digest) -> bool:
        """Take an image away with all its names. False when it was not there."""
        kept = [row for row in self._rows if _digest_of(row) != digest]
        removed = len(kept) != len(self._rows)
        self._rows = kept
        self.is_changed = self.is_changed or removed
        return removed

    def encode(self) -> bytes:
        """Return the file's new contents."""
        return json.dumps({**self._document, "manifests": self._rows}, separators=(",", ":")).encode()

    def _take_name(self, name: str) -> None:
        """Make dangling whatever has this name, and drop it where its image has another name."""
        rows: list[dict[str, Any]] = []
        taken: list[dict[str, Any]] = []
        for row in self._rows:
            (taken if _name_of(row) == name else rows).append(row)
        held = {_digest_of(row) for row in rows}
        for row in taken:
            if _digest_of(row) not in held:
                held.add(_digest_of(row))
                rows.append(_without_name(row))
        self._rows = rows


def rows_of(document: dict[str, Any] | None) -> list[Any]:
    """Return the elements of `manifests`, whatever they are."""
    found: Any = (document or {}).get("manifests")
    return list(cast("Iterable[Any]", found)) if isinstance(found, list) else []


def entries_of(rows: Iterable[object]) -> tuple[Entry, ...]:
    """Return the images among the elements of `manifests`; what is no descriptor is left out.

    Where two have the same name the later one has it: other tools append.
    """
    found = [entry for number, row in enumerate(rows) if (entry := _entry_of(row, number)) is not None]
    last = {entry.name: number for number, entry in enumerate(found)}
    named = {found[number].descriptor.digest for name, number in last.items() if name is not None}
    entries: list[Entry] = []
    dangling: set[Digest] = set()
    for number, entry in enumerate(found):
        if entry.name is not None and last[entry.name] == number:
            entries.append(entry)
        elif entry.descriptor.digest not in named and entry.descriptor.digest not in dangling:
            dangling.add(entry.descriptor.digest)
            entries.append(attrs.evolve(entry, name=None))
    return tuple(entries)


def _entry_of(row: object, number: int) -> Entry | None:
    try:
        fields = _object(row)
        annotations = _annotations_of(fields)
        return Entry(
            name=_name_of(fields),
            descriptor=parse_descriptor(_bare(fields), f"index.json manifests[{number}]"),
            source=parse_digest(annotations[SOURCE]) if SOURCE in annotations else None,
            added_ns=_parse_time(annotations.get(ADDED)),
        )
    except ContainerKitError:
        return None  # kept in the file, it may mean something to somebody else


def _name_of(row: object) -> str | None:
    text = _annotations_of(row).get(NAME)
    if not isinstance(text, str) or not text:
        return None
    try:
        return parse_reference(text).canonical
    except ContainerKitError:
        return text


def _digest_of(row: object) -> object:
    return _object(row).get("digest")


def _annotations_of(row: object) -> dict[str, Any]:
    return _object(_object(row).get("annotations"))


def _object(value: object) -> dict[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _bare(row: dict[str, Any]) -> dict[str, Any]:
    """Return a descriptor without the annotations that belong to its entry."""
    annotations = {key: text for key, text in _annotations_of(row).items() if key != NAME and not key.startswith(OWN)}
    bare = {key: value for key, value in row.items() if key != "annotations"}
    return {**bare, "annotations": annotations} if annotations else bare


def _without_name(row: dict[str, Any]) -> dict[str, Any]:
    return {**row, "annotations": {key: text for key, text in _annotations_of(row).items() if key != NAME}}


def _format_time(ns: int) -> str:
    moment = datetime.fromtimestamp(ns // _NS, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{ns % _NS:09d}Z"


def _parse_time(text: object) -> int:
    try:
        whole, _, fraction = str(text).removesuffix("Z").partition(".")
        moment = datetime.strptime(whole, "%Y-%m-%dT%H:%M:%S").replace(tzinfo=UTC)
        return int(moment.timestamp()) * _NS + int(fraction.ljust(9, "0")[:9] or 0)
    except ValueError:
        return 0
