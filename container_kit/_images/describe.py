"""What an image is, for people: its history and its facts, as frozen values with Docker's fields.

`size_bytes` is what is kept compressed, as a registry would send it; `unpacked_bytes` is what the
files hold, which `docker history` and `docker inspect` mean by `Size`, and None where it is not unpacked.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

import attrs

from container_kit._images.find import entries_of, familiar
from container_kit._spec.descriptor import Descriptor
from container_kit._spec.digest import Digest
from container_kit._spec.image_config import ImageConfig
from container_kit._spec.manifest import Manifest
from container_kit._spec.oci_config import HistoryEntry, OciConfig
from container_kit._spec.platform import Platform
from container_kit._spec.reference import parse_reference
from container_kit._state import content_records
from container_kit._store.index_file import Entry
from container_kit._store.store import ImageStore
from container_kit.errors import ContainerKitError

_TIME = re.compile(r"(\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d)(\.\d+)?([Zz]|[+-]\d\d:\d\d)")


@attrs.frozen(kw_only=True)
class HistoryItem:
    """One step in the making of an image, as `docker history` shows it.

    Attributes:
        id: the image, on its newest step; "" on those below.
        created: when; None where that is not recorded, or is no time.
        created_by: the command.
        size_bytes, unpacked_bytes: of the layer; 0 for a step that changed the config only.
        author, comment: text.
        layer: the layer's digest; None for such a step.
        tags: names of the image, on its newest step.
    """

    id: str
    created: datetime | None
    created_by: str
    size_bytes: int
    unpacked_bytes: int | None
    author: str
    comment: str
    layer: Digest | None
    tags: tuple[str, ...] = ()


@attrs.frozen(kw_only=True)
class ImageInspection:
    """Everything about an image, as it was at `read_at`.

    Attributes:
        id: the digest by which this library finds it: of its manifest, or of its index where it is for several
            platforms.
        config_digest: what Docker's classic store calls the image's Id.
        manifest_digest: of the manifest these facts are from.
        names: its names as people write them (`RepoTags`).
        repo_digests: what to pull to get the same again, where it came from a registry.
        created, author: as its config says.
        platform: what it is for (`Os`, `Architecture`, `Variant`).
        platforms: all it is for; one, unless it is an index.
        size_bytes: of its manifest, its config and its layers as they are in the store.
        unpacked_bytes: of the files in its layers.
        config: how its processes run by default.
        exposed_ports, volumes: wishes.
        layers: diff_ids, from the lowest (`RootFS.Layers`).
        layer_digests: of the layers' blobs.
        media_type: of its manifest.
        annotations: of its manifest.
    """

    read_at: datetime
    id: Digest
    config_digest: Digest
    manifest_digest: Digest
    names: tuple[str, ...]
    repo_digests: tuple[str, ...]
    created: datetime | None
    author: str
    platform: Platform
    platforms: tuple[Platform, ...]
    size_bytes: int
    unpacked_bytes: int | None
    config: ImageConfig
    exposed_ports: tuple[str, ...]
    volumes: tuple[str, ...]
    layers: tuple[Digest, ...]
    layer_digests: tuple[Digest, ...]
    media_type: str
    annotations: tuple[tuple[str, str], ...]


def inspect(store: ImageStore, image: Entry, platform: Platform | None = None) -> ImageInspection:
    """Return everything about an image.

    Args:
        store: where it is.
        image: any of its entries.
        platform: which of several; None: this host's.

    Raises:
        ImageNotFoundError: it is there for other platforms only.
        ImageError: a part is missing, damaged or malformed.
    """
    descriptor, manifest = store.layout.manifest_of(image, platform)
    config = store.layout.oci_config(manifest)
    entries = entries_of(store, image.descriptor.digest) or [image]
    return ImageInspection(
        read_at=datetime.now(UTC),
        id=image.descriptor.digest,
        config_digest=manifest.config.digest,
        manifest_digest=descriptor.digest,
        names=_familiar_names(entries),
        repo_digests=_repo_digests(entries),
        created=parse_time(config.created),
        author=config.author,
        platform=config.platform,
        platforms=_platforms_of(store, image, config),
        size_bytes=descriptor.size + manifest.config.size + sum(layer.size for layer in manifest.layers),
        unpacked_bytes=_sum(_unpacked(store, config).values()),
        config=config.config,
        exposed_ports=config.exposed_ports,
        volumes=config.volumes,
        layers=config.diff_ids,
        layer_digests=tuple(layer.digest for layer in manifest.layers),
        media_type=manifest.media_type,
        annotations=manifest.annotations,
    )


def history(store: ImageStore, image: Entry, platform: Platform | None = None) -> tuple[HistoryItem, ...]:
    """Return how an image was made, the newest step first. Arguments and errors are those of `inspect`.

    Layers that the history does not explain come on top of it, without text: some tools write none.
    """
    _, manifest = store.layout.manifest_of(image, platform)
    config = store.layout.oci_config(manifest)
    steps = list(reversed(_pair(config, manifest, _unpacked(store, config))))
    if not steps:
        return ()
    names = _familiar_names(entries_of(store, image.descriptor.digest) or [image])
    return (attrs.evolve(steps[0], id=image.descriptor.digest, tags=names), *steps[1:])


def parse_time(text: str | None) -> datetime | None:
    """Return a moment from RFC 3339 text, to the microsecond; None where it is none."""
    match = _TIME.fullmatch(text or "")
    if match is None:
        return None
    zone = "+00:00" if match[3] in "Zz" else match[3]
    try:
        return datetime.fromisoformat(f"{match[1]}{(match[2] or '')[:7].ljust(7, '0') if match[2] else ''}{zone}")
    except ValueError:  # the 31st of February
        return None


def _unpacked(store: ImageStore, config: OciConfig) -> dict[Digest, int | None]:
    records = content_records.layers(store.database, list(config.diff_ids))
    return {diff_id: records[diff_id].bytes if diff_id in records else None for diff_id in config.diff_ids}


def _sum(sizes: Iterable[int | None]) -> int | None:
    total = 0
    for size in sizes:
        if size is None:
            return None
        total += size
    return total


def _pair(config: OciConfig, manifest: Manifest, unpacked: Mapping[Digest, int | None]) -> list[HistoryItem]:
    layers = list(zip(manifest.layers, (unpacked[diff_id] for diff_id in config.diff_ids), strict=False))
    items: list[HistoryItem] = []
    for entry in config.history:
        layer = layers.pop(0) if layers and not entry.empty_layer else None
        items.append(_item_of(entry, *layer) if layer is not None else _item_of(entry, None, 0))
    return items + [_item_of(HistoryEntry(), *layer) for layer in layers]


def _item_of(entry: HistoryEntry, layer: Descriptor | None, unpacked_bytes: int | None) -> HistoryItem:
    return HistoryItem(
        id="",
        created=parse_time(entry.created),
        created_by=entry.created_by,
        size_bytes=layer.size if layer is not None else 0,
        unpacked_bytes=unpacked_bytes,
        author=entry.author,
        comment=entry.comment,
        layer=layer.digest if layer is not None else None,
    )


def _familiar_names(entries: list[Entry]) -> tuple[str, ...]:
    return tuple(sorted(familiar(entry.name) for entry in entries if entry.name is not None))


def _repo_digests(entries: list[Entry]) -> tuple[str, ...]:
    found: set[str] = set()
    for entry in entries:
        if entry.name is None or entry.source is None:
            continue
        try:
            reference = parse_reference(entry.name, default_tag=False)
        except ContainerKitError:
            continue
        found.add(reference.with_tag(None).with_digest(entry.source).familiar)
    return tuple(sorted(found))


def _platforms_of(store: ImageStore, image: Entry, config: OciConfig) -> tuple[Platform, ...]:
    document = store.layout.document(image.descriptor)
    if isinstance(document, Manifest):
        return (config.platform,)
    found = {str(part.platform): part.platform for part in document.manifests if part.platform is not None}
    return tuple(platform for _, platform in sorted(found.items()) if platform.os != "unknown")
