"""Containers whose files the stories look at, and trees to compare."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import container_kit as ck
from container_kit._spec.root_filesystem import RootFilesystem
from container_kit._state import records
from container_kit.engine import Engine


class Box(ck.Container):
    """A container whose layers can be asked for."""

    def inspect_root(self) -> RootFilesystem:
        """Return what its root is put together from."""
        return records.get(self._engine.site.database, self.id).root


def make(engine: Engine, image: ck.Image, *command: str, tmpfs: str = "", mounts: list[ck.Mount] | None = None) -> Box:
    """Make a container that is not started; by default it only sleeps."""
    words = ["payload", *(command or ("sleep", "1000"))]
    made = ck.Container.create(
        image, words, tmpfs={tmpfs: ""} if tmpfs else {}, mounts=mounts or [], detach=True, engine=engine
    )
    return Box(made.id, engine)


def run(engine: Engine, image: ck.Image, *command: str, mounts: list[ck.Mount] | None = None, tmpfs: str = "") -> Box:
    """Start a container; by default it only sleeps."""
    box = make(engine, image, *command, mounts=mounts, tmpfs=tmpfs)
    box.start()
    return box


def tree_of(place: Path) -> dict[str, str]:
    """Return what is below a directory of the host: content of files, `-> target` of symlinks, `/` of directories."""
    found: dict[str, str] = {}
    for path in sorted(place.rglob("*")):
        name = str(path.relative_to(place))
        if path.is_symlink():
            found[name] = f"-> {path.readlink()}"
        else:
            found[name] = "/" if path.is_dir() else path.read_text()
    return found


def tree_in(box: Box, place: str) -> dict[str, str]:
    """Return the same of a directory in a container."""
    found: dict[str, str] = {}
    with box.files(read_only=True) as files:
        root = files.path(place)
        for path in root.rglob("*"):
            name = str(path.relative_to(root))
            if path.is_symlink():
                found[name] = f"-> {path.readlink()}"
            else:
                found[name] = "/" if path.is_dir() else path.read_text()
    return found


def fingerprint(place: Path) -> dict[str, tuple[int, int, int, int]]:
    """Return what an intruder would change below a directory: mode, owner, size and time of each file."""
    found: dict[str, tuple[int, int, int, int]] = {}
    for path in (place, *sorted(place.rglob("*"))):
        info = os.lstat(path)
        size = 0 if stat.S_ISDIR(info.st_mode) else info.st_size
        found[str(path)] = (info.st_mode, info.st_uid, size, info.st_mtime_ns)
    return found
