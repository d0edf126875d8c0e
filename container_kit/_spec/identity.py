"""Who a process is inside a container: numbers only, already looked up."""

from __future__ import annotations

import attrs


@attrs.frozen(kw_only=True)
class Identity:
    """A uid, a primary gid, supplementary gids (the primary one included) and a home directory."""

    uid: int = 0
    gid: int = 0
    groups: tuple[int, ...] = (0,)
    home: str = "/root"
