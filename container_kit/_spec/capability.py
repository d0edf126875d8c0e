"""One line of what a host can do: an answer of `Engine.capabilities`."""

from __future__ import annotations

import attrs


@attrs.frozen(kw_only=True)
class Capability:
    """One thing a host may or may not do.

    Attributes:
        name: what it is.
        available: whether it works here.
        reason: how it is done here, or why it does not work.
        remedy: what to do to get it; empty when it is there.
    """

    name: str
    available: bool
    reason: str = ""
    remedy: str = ""

    def __bool__(self) -> bool:
        return self.available
