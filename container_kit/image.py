"""Image: what containers are made from. Found, fetched, made, named, moved and removed here.

An image is one of three things: the host itself (`Image.host`), a directory
(`Image.from_directory` without a name), or content of an engine's store: an OCI manifest, or
an index with one for each platform. The store is a standard OCI image layout below the
engine's root. How images travel is in `image_transfer.py`; what is in one, and what can be made
of it, in `image_content.py`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import attrs

from container_kit._images.host import choose_directories
from container_kit._images.origins import DirectoryOrigin, HostOrigin
from container_kit._spec.image_config import ImageConfig
from container_kit._spec.paths import parse_host_path
from container_kit._spec.reference import parse_reference
from container_kit.engine import Engine, default_engine
from container_kit.errors import ImageError, ImageNotFoundError, InvalidSpecError
from container_kit.image_transfer import AnyPath, ImageTransfer

if TYPE_CHECKING:  # what only images of a store need loads when one is used
    from container_kit._images.removal import Pruned
    from container_kit._registry.results import SearchResult
    from container_kit._store.layout import Entry


class Image(ImageTransfer):
    """An image. Made by the class methods, not by calling the class.

    Two images are equal when they are the same content in the same engine.
    """

    # ── without a store ─────────────────────────────────────────────────────

    @classmethod
    def host(cls, *, include: Sequence[AnyPath] = ()) -> Image:
        """Return the host itself as an image: its /usr, and nothing of its users.

        The container sees the host's programs and libraries below copy-on-write overlays: it may write
        anywhere, the host never sees it. Of /etc it sees the loader's cache, alternatives, certificates and
        time zone, and generated account files; of /home, /root and /var nothing.

        Args:
            include: further directories of the host to show the same way, at the same path, such as
                `sys.prefix`. A virtual environment brings the Python it was made from along.

        Raises:
            InvalidSpecError: an included path is not an absolute path of a directory, or would show private parts
                of the host as a whole (/home, /root, /var, /etc …; directories below them can be included).
        """
        return cls("host", HostOrigin(include=choose_directories(include)))

    @classmethod
    def from_directory(
        cls,
        path: AnyPath,
        name: str | None = None,
        *,
        config: ImageConfig | None = None,
        engine: Engine | None = None,
    ) -> Image:
        """Return a directory that holds a root file system as an image.

        Without a name the directory itself is used, never written, and must stay there while containers use it.
        With one its contents are copied into the store, as an image of one layer.

        Args:
            path: the root file system.
            name: what the stored image is called.
            config: defaults for processes, e.g. `ImageConfig(env=…, command=…)`.
            engine: whose store; None: the default engine.

        Raises:
            ImageError: there is no such directory.
        """
        directory = parse_host_path(os.path.abspath(path), "image directory")
        if not os.path.isdir(directory):
            raise ImageError(image=directory, reason="is not a directory", hint="give the root of a file system tree")
        if name is None:
            return cls(directory, DirectoryOrigin(directory=directory, config=config or ImageConfig()))

        from container_kit._images import make

        engine = engine or default_engine()
        return cls._of(engine, make.from_directory(engine.site.images, directory, name, config=config))

    # ── finding ─────────────────────────────────────────────────────────────

    @classmethod
    def get(cls, name: str, *, engine: Engine | None = None) -> Image:
        """Return the image with a name, a name and digest, an id, or the unambiguous beginning of an id.

        Raises:
            ImageNotFoundError: it is not in the store; `near` has similar names.
            AmbiguousIdError: several ids begin like this.
        """
        from container_kit._images.find import find, is_name_of

        engine = engine or default_engine()
        entry = find(engine.site.images, name)
        return cls._of(engine, entry, by_id=not is_name_of(entry, name))

    @classmethod
    def list(cls, *, engine: Engine | None = None) -> list[Image]:
        """Return every image of the store, one for each name, and one for each image without a name."""
        engine = engine or default_engine()
        return [cls._of(engine, entry) for entry in engine.site.images.layout.entries()]

    @classmethod
    def search(
        cls, term: str, *, registry: str | None = None, limit: int = 25, engine: Engine | None = None
    ) -> tuple[SearchResult, ...]:
        """Ask a registry for repositories whose name or description has `term` in it. The names can be pulled.

        Args:
            term: what to look for.
            registry: its host; None: Docker Hub. One that has no search lists its catalogue.
            limit: the most results.
            engine: whose registries and credentials; None: the default engine.

        Raises:
            RegistryError: it could not be asked, or allows neither.
        """
        engine = engine or default_engine()
        found = engine.site.registry_client().search(registry or "docker.io", term, limit)
        prefix = "" if registry in (None, "docker.io") else f"{registry}/"
        return tuple(attrs.evolve(one, name=f"{prefix}{one.name}") for one in found)

    @classmethod
    def tags_of(cls, repository: str, *, engine: Engine | None = None) -> tuple[str, ...]:
        """Return the tags a registry has for a repository.

        Raises:
            RegistryError: it could not be asked, or there is no such repository.
        """
        engine = engine or default_engine()
        return tuple(engine.site.registry_client().tags(parse_reference(repository, default_tag=False)))

    # ── names, and the end ──────────────────────────────────────────────────

    def tag(self, name: str) -> Image:
        """Give it one more name, taking it from the image that had it, and return the image under that name."""
        from container_kit._images.find import find

        engine, entry = self._stored()
        reference = parse_reference(name)
        if reference.digest is not None:
            raise InvalidSpecError(field="name", value=name, reason="a digest cannot be chosen, only a tag")
        with engine.site.images.layout.edit() as index:
            if all(entry.descriptor != one.descriptor for one in index.entries):  # removed since it was found
                raise ImageNotFoundError(name=self.name)
            index.set(reference.canonical, entry.descriptor, entry.source)
        return self._of(engine, find(engine.site.images, reference.canonical))

    def untag(self, name: str | None = None) -> None:
        """Take a name away, its own by default; without its last name it is dangling.

        Raises:
            ImageNotFoundError: it does not have that name.
        """
        from container_kit._images import removal

        engine, entry = self._stored()
        removal.untag(engine.site.images, entry.descriptor.digest, parse_reference(name or self.name).canonical)

    def remove(self, *, force: bool = False, missing_ok: bool = False) -> None:
        """Remove it: the name it was found by, and with its last name its content, unless other images share it.

        Args:
            force: also when containers were made from it (it only loses its names), or it has several names.
            missing_ok: it is fine if it is gone already.

        Raises:
            InUseError: containers were made from it; `users` names them.
                ImageNotFoundError: it is gone.
        """
        from container_kit._images import removal

        try:
            engine, entry = self._stored()
            name = None if self._by_id else parse_reference(self.name).canonical
            removal.remove(engine.site.images, entry.descriptor.digest, name, force=force)
        except ImageNotFoundError:
            if not missing_ok:
                raise

    @classmethod
    def prune(
        cls,
        *,
        all: bool = False,  # noqa: A002  # Docker's word
        until: datetime | timedelta | None = None,
        engine: Engine | None = None,
    ) -> Pruned:
        """Remove the images without a name that no container was made from, and what broken downloads left.

        The bytes of both are counted. A download that goes on stays.

        Args:
            all: also those with names.
            until: only those added before this moment, or longer ago than this.
            engine: whose store; None: the default engine.
        """
        from container_kit._images import removal
        from container_kit._store.collect import free_partials

        engine = engine or default_engine()
        moment = datetime.now(UTC) - until if isinstance(until, timedelta) else until
        freed = free_partials(engine.site.images)  # first: the rest needs some room
        pruned = removal.prune(engine.site.images, _prune_filter(every=all, before=moment))
        return attrs.evolve(pruned, bytes=pruned.bytes + freed)


def _prune_filter(*, every: bool, before: datetime | None) -> Callable[[Entry], bool]:
    limit = None if before is None else before.timestamp() * 1e9

    def goes(entry: Entry) -> bool:
        return (every or entry.name is None) and (limit is None or entry.added_ns < limit)

    return goes
