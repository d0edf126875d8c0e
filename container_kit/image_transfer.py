"""How images travel: from and to registries, from and to archives.

The part of `Image` that moves content between an engine's store and the world.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import BinaryIO, Literal, Self, TypeAlias

from container_kit._runtime.failures import typed_refusals
from container_kit._spec.progress import ProgressCallback, telling_failure
from container_kit._spec.reference import parse_reference
from container_kit.engine import Engine, default_engine
from container_kit.errors import InvalidSpecError
from container_kit.image_content import ImageContent

AnyPath: TypeAlias = str | os.PathLike[str]
Source: TypeAlias = AnyPath | BinaryIO


class ImageTransfer(ImageContent):
    """What can be pulled, pushed, loaded, imported and saved."""

    # ── from and to registries ──────────────────────────────────────────────

    @classmethod
    @typed_refusals("cannot pull")
    def pull(
        cls,
        name: str,
        *,
        platform: str | None = None,
        parallel: int = 3,
        progress: ProgressCallback | None = None,
        engine: Engine | None = None,
    ) -> Self:
        """Fetch an image from its registry, or a mirror of it, and unpack it. What is here already is not fetched.

        The name then means what the registry says now; an older image of that name stays without a name.

        Args:
            name: `[registry/]repository[:tag][@digest]`.
            platform: such as `linux/arm64`; None: the host's; `all`: every platform of the image.
            parallel: how many layers are downloaded at once.
            progress: is called with events; `container_kit.progress()` draws them.
            engine: whose store, registries and credentials; None: the default engine.

        Raises:
            ManifestUnknownError: the registry has no such image.
            AuthenticationError: it wants (other) credentials; see `Engine.login`.
            ImageUnreachableError: neither the registry nor a mirror answers.
            ImageError: what came is not what was promised, or not an image; nothing of it is kept.
        """
        from container_kit._images.pull import pull
        from container_kit._spec.platform import parse_platform

        engine = engine or default_engine()
        wanted = None if platform is None or platform == "all" else parse_platform(platform)
        with telling_failure(progress, name):
            entry = pull(
                engine.site.images,
                engine.site.registry_client(),
                parse_reference(name),
                platform=wanted,
                all_platforms=platform == "all",
                parallel=parallel,
                progress=progress,
            )
        return cls._of(engine, entry, platform=wanted)

    @typed_refusals("cannot push")
    def push(
        self,
        name: str | None = None,
        *,
        compression: Literal["zstd", "gzip"] = "zstd",
        chunk_bytes: int | None = None,
        progress: ProgressCallback | None = None,
    ) -> str:
        """Send it to a registry and return the digest it has there. What the registry has is not sent.

        Args:
            name: where to; None: its own name.
            compression: of layers that are stored uncompressed; others go as they are.
            chunk_bytes: send blobs in pieces of this size; None: each in one request.
            progress: is called with events.

        Raises:
            AuthenticationError: it wants (other) credentials; see `Engine.login`.
            RegistryError: it refused.
        """
        from container_kit._images.push import push

        engine, entry = self._stored()
        with telling_failure(progress, name or self.name):
            return push(
                engine.site.images,
                engine.site.registry_client(),
                entry,
                parse_reference(name or self.name),
                compression=compression,
                chunk_bytes=chunk_bytes,
                progress=progress,
            )

    # ── from and to files ───────────────────────────────────────────────────

    @classmethod
    @typed_refusals("cannot load")
    def load(
        cls,
        source: Source,
        *,
        names: Sequence[str] | None = None,
        progress: ProgressCallback | None = None,
        engine: Engine | None = None,
    ) -> tuple[Self, ...]:
        """Take the images of an archive in: of `docker save`, `podman save` or an OCI archive, compressed or not.

        Args:
            source: a path or a binary file object, which need not be seekable.
            names: take only those; None: all.
            progress: is called with events.
            engine: whose store; None: the default engine.

        Raises:
            ImageError: it is not such an archive, or what is in it does not match its digests; nothing is kept.
        """
        from container_kit._archives.load import load

        engine = engine or default_engine()
        with telling_failure(progress, str(getattr(source, "name", source))):
            entries = load(engine.site.images, _opened(source), names=names, progress=progress)
        return tuple(cls._of(engine, entry) for entry in entries)

    @classmethod
    @typed_refusals("cannot save")
    def save_all(
        cls,
        images: Sequence[ImageContent],
        target: Source,
        *,
        format: Literal["docker", "oci"] = "docker",  # noqa: A002  # podman's word
        compression: Literal["none", "gzip", "zstd"] = "none",
    ) -> None:
        """Write several images into one archive; layers they share are in it once. See `save`."""
        from container_kit._archives.save import save

        stored = [image._stored() for image in images]  # noqa: SLF001  # of the same class
        if len({engine.root for engine, _ in stored}) != 1:
            raise InvalidSpecError(field="images", reason="must be at least one, and all of one engine")
        entries = [entry for _, entry in stored]
        save(stored[0][0].site.images, entries, _opened(target), format=format, compression=compression)

    def save(
        self,
        target: Source,
        *,
        format: Literal["docker", "oci"] = "docker",  # noqa: A002  # podman's word
        compression: Literal["none", "gzip", "zstd"] = "none",
    ) -> None:
        """Write it into an archive: the same image gives the same bytes.

        Args:
            target: a path, which is replaced when the archive is complete, or a binary file object.
            format: `docker` can be read by Docker, Podman and OCI tools alike; `oci` is an OCI archive alone.
            compression: of the whole archive; its layers are compressed already as a rule.
        """
        self.save_all([self], target, format=format, compression=compression)

    @classmethod
    @typed_refusals("cannot import")
    def import_(
        cls,
        source: Source,
        name: str | None = None,
        *,
        changes: Sequence[str] = (),
        message: str = "",
        platform: str | None = None,
        progress: ProgressCallback | None = None,
        engine: Engine | None = None,
    ) -> Self:
        """Make an image of a tar archive of a root file system, compressed by gzip, zstd or not.

        Args:
            source: a path or a binary file object.
            name: what it is called; None: it has only an id.
            changes: Dockerfile instructions that change its config, such as `CMD ["/bin/sh"]`.
            message: a comment for its history.
            platform: what it runs on; None: the host's.
            progress: is called with events.
            engine: whose store; None: the default engine.

        Raises:
            UnsafeArchiveError: the archive is malformed, or tries to write where it must not.
        """
        from container_kit._images import make
        from container_kit._spec.platform import parse_platform

        engine = engine or default_engine()
        with telling_failure(progress, name or str(getattr(source, "name", source))):
            entry = make.import_tar(
                engine.site.images,
                _opened(source),
                name,
                changes=changes,
                platform=None if platform is None else parse_platform(platform),
                note=make.Note(comment=message),
                progress=progress,
            )
        return cls._of(engine, entry)


def _opened(given: Source) -> str | BinaryIO:
    """Return a path as text, a file object as it is."""
    if isinstance(given, str | os.PathLike):
        return os.fspath(given)
    return given
