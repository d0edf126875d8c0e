"""What is in an image, and what can be made of it: config, layers, history, files, and edited copies.

The part of `Image` that looks at one image; how images come and go is in `image.py`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, BinaryIO, Self

from container_kit._images.origins import HOST_CONFIG, DirectoryOrigin, HostOrigin, ImageParts, Origin, StoredOrigin
from container_kit._runtime.failures import typed_refusals
from container_kit._runtime.site import Site
from container_kit._spec.image_config import ImageConfig
from container_kit._spec.platform import Platform
from container_kit.engine import Engine
from container_kit.errors import ImageError

if TYPE_CHECKING:  # what only images of a store need loads when one is used
    from container_kit._images.describe import HistoryItem, ImageInspection
    from container_kit._store.layout import Entry
    from container_kit._trees.tree_paths import TreePath


class ImageContent:
    """One image, read-only.

    Attributes:
        name: the name it was found by, or one it has; the beginning of its id where it has none; `host`; a directory.
    """

    def __init__(self, name: str, origin: Origin, engine: Engine | None = None, *, by_id: bool = False) -> None:
        self.name = name
        self._origin = origin
        self._engine = engine
        self._by_id = by_id  # and not by one of its names, which is then the one to remove

    # ── what it is ──────────────────────────────────────────────────────────

    @property
    def id(self) -> str:
        """The digest of its manifest, or of the index of its platforms; empty for one that is not in a store."""
        return self._origin.digest if isinstance(self._origin, StoredOrigin) else ""

    @property
    def short_id(self) -> str:
        """The first 12 digits of its id, without the algorithm."""
        return self.id.partition(":")[2][:12]

    @property
    def names(self) -> tuple[str, ...]:
        """The names it has now; none for one that is dangling or not in a store."""
        from container_kit._images.find import entries_of, familiar

        if not isinstance(self._origin, StoredOrigin) or self._engine is None:
            return ()
        entries = entries_of(self._engine.site.images, self._origin.digest)
        return tuple(familiar(entry.name) for entry in entries if entry.name is not None)

    @property
    def config(self) -> ImageConfig:
        """Its defaults for processes."""
        match self._origin:
            case HostOrigin():
                return HOST_CONFIG
            case DirectoryOrigin(config=config):
                return config
            case StoredOrigin():
                return self.inspect().config

    @property
    def labels(self) -> dict[str, str]:
        """Its labels."""
        return dict(self.config.labels)

    def inspect(self) -> ImageInspection:
        """Return everything about it as one frozen value.

        Raises:
            ImageError: it is not in a store.
        """
        from container_kit._images import describe

        engine, entry = self._stored()
        return describe.inspect(engine.site.images, entry, self._platform)

    def history(self) -> tuple[HistoryItem, ...]:
        """Return how it was made, newest step first.

        Raises:
            ImageError: it is not in a store.
        """
        from container_kit._images import describe

        engine, entry = self._stored()
        return describe.history(engine.site.images, entry, self._platform)

    # ── its files ───────────────────────────────────────────────────────────

    def path(self, path: str | os.PathLike[str] = "/") -> TreePath:
        """Return a file of it as a path-like object that can be read, listed and asked, not written.

        Raises:
            ImageError: it is not in a store.
        """
        from container_kit._trees.tree_paths import image_path

        engine, _ = self._stored()
        return image_path(engine.site, self.parts(engine.site).root, os.fspath(path))

    def copy_out(self, source: str, destination: str | os.PathLike[str], *, follow_links: bool = False) -> None:
        """Copy a file or a directory of it to the host, as `Container.copy_out` does.

        Raises:
            ImageError: it is not in a store.
            PathNotFoundError: there is nothing of that name in it.
        """
        from container_kit._trees.open_tree import image_files

        engine, _ = self._stored()
        image_files(engine.site, self.parts(engine.site).root).copy_out(source, destination, follow_links=follow_links)

    # ── what can be made of it ──────────────────────────────────────────────

    @typed_refusals("cannot make an image")
    def with_config(
        self, config: ImageConfig | None = None, *, changes: Sequence[str] = (), name: str | None = None
    ) -> Self:
        """Return an image with the same layers and another config; the same input gives the same id.

        Args:
            config: replaces its defaults for processes; None: keep them. `attrs.evolve(image.config, …)` makes one.
            changes: Dockerfile instructions applied after that, such as `ENV A=b`.
            name: what it is called; None: it has only an id.
        """
        from container_kit._images import make

        engine, entry = self._stored()
        images, platform = engine.site.images, self._platform
        made = make.with_config(images, entry, name, config=config, changes=changes, platform=platform)
        return self._of(engine, made)

    @typed_refusals("cannot make an image")
    def with_layer(
        self, source: str | os.PathLike[str] | BinaryIO, *, name: str | None = None, message: str = ""
    ) -> Self:
        """Return an image with one more layer on top; the same input gives the same id.

        Args:
            source: a directory, or a tar archive (path or binary file object), whose root is the image's root.
                Whiteouts (`.wh.name`) in an archive remove what is below.
            name: what it is called; None: it has only an id.
            message: a comment for its history.
        """
        from container_kit._images import make

        engine, entry = self._stored()
        given = os.fspath(source) if isinstance(source, str | os.PathLike) else source
        note = make.Note(comment=message)
        made = make.with_layer(engine.site.images, entry, given, name, platform=self._platform, note=note)
        return self._of(engine, made)

    def parts(self, site: Site) -> ImageParts:
        """Return what a container of this engine takes from it.

        Raises:
            ImageError: it is in another engine's store.
        """
        if self._engine is not None and self._engine.site.home != site.home:
            hint = "use the engine it is in, or save it there and load it here"
            raise ImageError(image=self.name, reason=f"is in the store of {self._engine.root}", hint=hint)
        if isinstance(self._origin, StoredOrigin):
            return self._origin.parts(site.images, self.name)
        return self._origin.parts(site.home, self.name)

    # ── the rest ────────────────────────────────────────────────────────────

    @property
    def _platform(self) -> Platform | None:
        return self._origin.platform if isinstance(self._origin, StoredOrigin) else None

    def _stored(self) -> tuple[Engine, Entry]:
        """Return its engine and its entry there, or say why there is none."""
        from container_kit._images.find import entry_of

        if not isinstance(self._origin, StoredOrigin):
            hint = "Image.from_directory(path, name) copies a directory into the store"
            raise ImageError(image=self.name, reason="is not kept in a store", hint=hint)
        assert self._engine is not None
        return self._engine, entry_of(self._engine.site.images, self._origin.digest)

    @classmethod
    def _of(cls, engine: Engine, entry: Entry, platform: Platform | None = None, *, by_id: bool = False) -> Self:
        from container_kit._images.find import familiar, short_of

        digest = entry.descriptor.digest
        name = familiar(entry.name) if entry.name is not None else short_of(digest)
        origin = StoredOrigin(digest=digest, platform=platform)
        return cls(name, origin, engine, by_id=by_id or entry.name is None)

    def _identity(self) -> tuple[Origin, str]:
        return self._origin, "" if self._engine is None else self._engine.root

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ImageContent) and self._identity() == other._identity()

    def __hash__(self) -> int:
        return hash(self._identity())

    def __str__(self) -> str:
        return self.name

    def __repr__(self) -> str:
        return f"<Image {self.name}>"
