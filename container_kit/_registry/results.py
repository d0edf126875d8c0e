"""What registry requests take and give."""

from __future__ import annotations

from typing import Protocol

import attrs

from container_kit._spec.digest import Digest


class Sink(Protocol):
    """Where the bytes of a blob go. `offset` is how many it has; what they are worth it judges itself."""

    offset: int

    def write(self, chunk: bytes) -> None:
        """Take the next bytes; what it raises ends the download and is passed on."""
        ...

    def reset(self) -> None:
        """Forget all bytes: the next ones are the first."""
        ...


@attrs.frozen(kw_only=True)
class Resolved:
    """What a registry has under a tag or digest; `data` is None when a HEAD was enough. `size` is in bytes."""

    digest: Digest
    media_type: str
    size: int
    data: bytes | None = attrs.field(default=None, repr=False)


@attrs.frozen(kw_only=True)
class SearchResult:
    """A repository that a search found."""

    name: str
    description: str = ""
    stars: int = 0
    official: bool = False
