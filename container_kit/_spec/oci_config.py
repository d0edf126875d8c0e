"""The config of an image, as registries and archives carry it.

Follows the OCI image-spec, config.md, and Docker's image specification v1.2. A config
is untrusted content: what it says are defaults for processes, never what a container may
do. `raw` is the document itself, so unknown fields survive an edit, and an image that is
only passed on keeps its id.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs

from container_kit._spec.digest import Digest, digest_of, parse_digest
from container_kit._spec.documents import (
    Object,
    fold_spelling,
    read_list,
    read_object,
    read_text,
    refuse,
    replace_field,
)
from container_kit._spec.image_config import ImageConfig
from container_kit._spec.image_config_json import ConfigSection, is_key, read_section, write_section
from container_kit._spec.manifest import MOST_LAYERS
from container_kit._spec.platform import UNKNOWN_PLATFORM, Platform, read_platform
from container_kit._spec.strict_json import encode_json, parse_json
from container_kit._spec.text import check_strings, check_text
from container_kit.errors import ImageError, InvalidDigestError, InvalidSpecError

_FIELDS = (
    "architecture", "os", "variant", "os.version", "created", "author", "config", "rootfs", "history",
)  # fmt: skip
_ROOTFS_FIELDS = ("type", "diff_ids")
_HISTORY_FIELDS = ("created", "created_by", "author", "comment", "empty_layer")


@attrs.frozen(kw_only=True)
class HistoryEntry:
    """How one layer, or one change of the config (`empty_layer`), came about; text for people.

    `created` is a time as RFC 3339 has it, or None.
    """

    created: str | None = None
    created_by: str = ""
    author: str = ""
    comment: str = ""
    empty_layer: bool = False


@attrs.frozen(kw_only=True)
class OciConfig:
    """An image's config. `raw` is the document itself, unknown fields and all; the rest is what it says.

    `command_shell` (Docker's SHELL) and `on_build` are for builds. `exposed_ports` (`80/tcp`) and `volumes` are as
    the image has them; they are wishes and have no effect on their own.
    """

    platform: Platform
    created: str | None = None
    author: str = ""
    config: ImageConfig
    exposed_ports: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    command_shell: tuple[str, ...] = ()
    on_build: tuple[str, ...] = ()
    diff_ids: tuple[Digest, ...] = ()
    history: tuple[HistoryEntry, ...] = ()
    raw: bytes = attrs.field(repr=False)


def parse_oci_config(data: bytes, *, what: str) -> OciConfig:
    """Return the config that some bytes are.

    Args:
        data: the document, at most 4 MiB.
        what: what the error calls it.

    Raises:
        ImageError: it is malformed or ambiguous, or says what no process can be given; the reason names the field.
    """
    found = fold_spelling(parse_json(data, what=what), _FIELDS, "", what=what)
    platform = _platform_of(found, what)
    architecture = None if platform.architecture == UNKNOWN_PLATFORM.architecture else platform.architecture
    section = read_section(found.get("config"), architecture=architecture, what=what)
    return OciConfig(
        platform=platform,
        created=read_text(found.get("created"), "created", what=what) or None,
        author=read_text(found.get("author"), "author", what=what),
        config=section.config,
        exposed_ports=section.exposed_ports,
        volumes=section.volumes,
        command_shell=section.command_shell,
        on_build=section.on_build,
        diff_ids=_diff_ids_of(found.get("rootfs"), what),
        history=_history_of(found.get("history"), what),
        raw=data,
    )


def edit_oci_config(
    config: OciConfig,
    *,
    image: ImageConfig | None = None,
    exposed_ports: Sequence[str] | None = None,
    volumes: Sequence[str] | None = None,
    command_shell: Sequence[str] | None = None,
    on_build: Sequence[str] | None = None,
    add_layers: Sequence[tuple[Digest, HistoryEntry]] = (),
    history: Sequence[HistoryEntry] | None = None,
    created: str | None = None,
    author: str | None = None,
) -> OciConfig:
    """Return a config with parts replaced; None leaves a part as it is.

    Fields that this library does not know stay. The same edit of the same config gives
    the same bytes, and an edit that changes nothing returns the config it was given.

    Args:
        config: what is edited.
        image: how processes run by default; its `architecture` is ignored, the platform says it.
        exposed_ports: `port/protocol`.
        volumes: paths.
        command_shell: what runs commands that are given as text while building.
        on_build: instructions for builds that begin with this image.
        add_layers: diff id and history of each layer on top, from the lowest.
        history: what to put in the place of the history; that of `add_layers` follows it.
        created: a time as RFC 3339 has it; "" takes it away.
        author: "" takes it away.

    Raises:
        InvalidSpecError: a text cannot be part of a config.
        ImageError: there would be too many layers.
    """
    original = parse_json(config.raw, what="config")
    document = dict(original)
    before = _section_of(config)
    after = attrs.evolve(
        before,
        config=config.config if image is None else attrs.evolve(image, architecture=config.config.architecture),
        **_given(exposed_ports=exposed_ports, volumes=volumes, command_shell=command_shell, on_build=on_build),
    )
    if after != before:
        section = _part(document, "config")
        write_section(section, before, after)
        replace_field(document, "config", section)
    if add_layers:
        rootfs = _part(document, "rootfs")
        replace_field(rootfs, "diff_ids", [*config.diff_ids, *(diff_id for diff_id, _ in add_layers)])
        replace_field(document, "rootfs", rootfs)
    if history is not None or add_layers:
        entries = _given_history(document, history)
        entries += [_history_to_json(attrs.evolve(entry, empty_layer=False)) for _, entry in add_layers]
        replace_field(document, "history", entries)
    for name, text in (("created", created), ("author", author)):
        if text is not None:
            replace_field(document, name, check_text(text, f"image {name}") or None)
    return config if document == original else parse_oci_config(encode_json(document), what="config")


def new_oci_config(
    platform: Platform,
    *,
    image: ImageConfig | None = None,
    exposed_ports: Sequence[str] = (),
    volumes: Sequence[str] = (),
    layers: Sequence[tuple[Digest, HistoryEntry]] = (),
    created: str | None = None,
    author: str = "",
) -> OciConfig:
    """Return the config of a new image; equal arguments give equal bytes. The arguments are those of an edit."""
    document: dict[str, Any] = {
        "architecture": platform.architecture,
        "config": {},
        "os": platform.os,
        "rootfs": {"diff_ids": [], "type": "layers"},
    }
    more = {"variant": platform.variant, "os.version": platform.os_version}
    document |= {name: word for name, word in more.items() if word}
    return edit_oci_config(
        parse_oci_config(encode_json(document), what="config"),
        image=image,
        exposed_ports=exposed_ports,
        volumes=volumes,
        add_layers=layers,
        created=created,
        author=author,
    )


def chain_ids(diff_ids: Sequence[Digest]) -> tuple[Digest, ...]:
    """Return the chain id of each layer: the digest of it and everything below it (config.md, "Layer ChainID")."""
    chain: list[Digest] = []
    for diff_id in diff_ids:
        chain.append(digest_of(f"{chain[-1]} {diff_id}".encode()) if chain else diff_id)
    return tuple(chain)


# ── reading ──────────────────────────────────────────────────────────────────


def _platform_of(found: Object, what: str) -> Platform:
    system, architecture, variant, version = (
        read_text(found.get(name), name, what=what) for name in ("os", "architecture", "variant", "os.version")
    )
    # Images of Docker's first years name neither.
    return read_platform(
        os=system or "linux", architecture=architecture or "unknown", variant=variant, os_version=version
    )


def _diff_ids_of(rootfs: object, what: str) -> tuple[Digest, ...]:
    if rootfs is None:
        refuse(what, "rootfs", "is missing", hint="it may not be a container image")
    found = fold_spelling(read_object(rootfs, "rootfs", what=what), _ROOTFS_FIELDS, "rootfs", what=what)
    if read_text(found.get("type"), "rootfs.type", what=what) not in ("", "layers"):
        refuse(what, "rootfs.type", "must be 'layers'")
    items = read_list(found.get("diff_ids"), "rootfs.diff_ids", what=what)
    if len(items) > MOST_LAYERS:
        refuse(what, "rootfs.diff_ids", f"are {len(items)}, more than {MOST_LAYERS}")
    try:
        return tuple(parse_digest(item, f"rootfs.diff_ids[{number}]") for number, item in enumerate(items))
    except InvalidDigestError as error:
        raise ImageError(image=what, reason=str(error)) from error


def _history_of(history: object, what: str) -> tuple[HistoryEntry, ...]:
    return tuple(
        _history_entry(item, f"history[{number}]", what)
        for number, item in enumerate(read_list(history, "history", what=what))
    )


def _history_entry(item: object, field: str, what: str) -> HistoryEntry:
    found = fold_spelling(read_object(item, field, what=what), _HISTORY_FIELDS, field, what=what)
    created, created_by, author, comment = (
        read_text(found.get(name), f"{field}.{name}", what=what) for name in _HISTORY_FIELDS[:4]
    )
    empty = found.get("empty_layer")
    if empty is not None and not isinstance(empty, bool):
        refuse(what, f"{field}.empty_layer", "must be true or false")
    return HistoryEntry(
        created=created or None, created_by=created_by, author=author, comment=comment, empty_layer=bool(empty)
    )


# ── editing ──────────────────────────────────────────────────────────────────


def _section_of(config: OciConfig) -> ConfigSection:
    return ConfigSection(
        config=config.config,
        exposed_ports=config.exposed_ports,
        volumes=config.volumes,
        command_shell=config.command_shell,
        on_build=config.on_build,
    )


def _given(**parts: Sequence[str] | None) -> dict[str, Any]:
    """Return the parts that were given, as tuples of text that JSON can hold."""
    given = {name: check_strings(part, f"image {name}") for name, part in parts.items() if part is not None}
    for name in ("exposed_ports", "volumes"):
        for text in given.get(name, ()):
            if not is_key(text):
                raise InvalidSpecError(field=f"image {name}", value=text, reason="must be text on one line")
    return given


def _part(document: dict[str, Any], name: str) -> dict[str, Any]:
    """Return a copy of an object in a document, empty where it is null or absent."""
    found = fold_spelling(document, (name,), "", what="config").get(name)
    return dict(found) if found else {}


def _given_history(document: dict[str, Any], history: Sequence[HistoryEntry] | None) -> list[dict[str, Any]]:
    if history is not None:
        return [_history_to_json(entry) for entry in history]
    return list(fold_spelling(document, ("history",), "", what="config").get("history") or ())


def _history_to_json(entry: HistoryEntry) -> dict[str, Any]:
    return {name: value for name, value in attrs.asdict(entry).items() if value}
