"""What a container's root is put together from: overlays, the first of them at `/`.

An image knows its lower directories; where the writable upper directories live is the
launch's business.
"""

from __future__ import annotations

import attrs

from container_kit._spec.paths import ContainerPath, HostPath


@attrs.frozen(kw_only=True)
class OverlayLayers:
    """One overlay: `lowers`, topmost first, shown at `target`; writes go to the container's own upper directory."""

    target: ContainerPath
    lowers: tuple[HostPath, ...]


@attrs.frozen(kw_only=True)
class RootFilesystem:
    """All overlays of a container, outermost first; the first target is `/`."""

    overlays: tuple[OverlayLayers, ...]
