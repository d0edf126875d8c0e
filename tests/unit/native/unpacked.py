"""A directory to unpack into, and a neighbour that must not notice."""

from __future__ import annotations

import stat
from pathlib import Path

import attrs

from tests.unit.native.archives import LAYER, Flag, Outcome, Reason, Unpacker, archive

PLAIN = LAYER & ~Flag.LAYER
COPY = PLAIN | Flag.REPLACE


@attrs.frozen
class Place:
    """A directory to unpack into, and one beside it that must stay as it is."""

    unpacker: Unpacker
    tree: Path
    canary: Path

    def unpack(self, *parts: bytes, flags: Flag = LAYER) -> Outcome:
        """Unpack an archive that is fine."""
        return self.unpacker.unpack(archive(*parts), self.tree, flags).accepted

    def refuse(self, *parts: bytes, flags: Flag = LAYER) -> Reason:
        """Unpack an archive that is not; return the reason."""
        return self.unpacker.unpack(archive(*parts), self.tree, flags).refused

    def names(self) -> list[str]:
        """Return what is in the tree."""
        return sorted(str(path.relative_to(self.tree)) for path in self.tree.rglob("*"))

    def mode(self, name: str) -> int:
        """Return the permissions of what is there."""
        return stat.S_IMODE((self.tree / name).lstat().st_mode)


def snapshot(place: Path) -> list[tuple[object, ...]]:
    """Return all that is in a directory, with everything that could have been changed about it."""
    found: list[tuple[object, ...]] = []
    for path in [place, *sorted(place.rglob("*"))]:
        about = path.lstat()
        content = path.read_bytes() if stat.S_ISREG(about.st_mode) else b""
        fixed = (about.st_ino, about.st_mode, about.st_uid, about.st_nlink, about.st_mtime_ns, about.st_ctime_ns)
        found.append((path.name, *fixed, content))
    return found
