"""What is told to a file worker and what it tells: status of a file, options of archives, counts. Values only."""

from __future__ import annotations

import stat

import attrs


@attrs.frozen(kw_only=True)
class FileStatus:
    """A file's status (inode(7)). Times in ns since the epoch; ids as the worker's user namespace has them."""

    mode: int
    uid: int
    gid: int
    size: int
    mtime_ns: int
    atime_ns: int
    ctime_ns: int
    inode: int
    device: int
    device_number: int
    links: int

    @property
    def is_dir(self) -> bool:
        """Whether it is a directory."""
        return stat.S_ISDIR(self.mode)

    @property
    def is_file(self) -> bool:
        """Whether it is a regular file."""
        return stat.S_ISREG(self.mode)

    @property
    def is_symlink(self) -> bool:
        """Whether it is a symlink."""
        return stat.S_ISLNK(self.mode)


@attrs.frozen(kw_only=True)
class UnpackOptions:
    """How an archive becomes files.

    Args:
        layer: it is an image layer: whiteouts become overlayfs's.
        user_xattr: with `layer`: overlayfs's attributes are those of unprivileged mounts (`userxattr`).
        owner: uid and gid that everything gets.
        keep_owner: False leaves everything to the worker's own ids.
        devices: False skips device nodes, and counts them.
        replace: an entry takes the place of what is there, even of a directory. Layers always do.
        keep_kind: with `replace`: but a directory only merges with a directory, and nothing else replaces one.
        set_id: False leaves out set-user-ID and set-group-ID bits, and file capabilities.
        max_bytes: how much all regular files may hold.
        max_entries: how many entries there may be.
        subject: what errors call the archive.
    """

    layer: bool = False
    user_xattr: bool = False
    owner: tuple[int, int] | None = None
    keep_owner: bool = True
    devices: bool = True
    replace: bool = False
    keep_kind: bool = False
    set_id: bool = True
    max_bytes: int = 2**63
    max_entries: int = 10_000_000
    subject: str = "archive"


@attrs.frozen(kw_only=True)
class PackOptions:
    """How files become an archive.

    Args:
        name: what the packed file is called in it; "" packs what is in a directory, "." that and the directory.
        layer: overlayfs's whiteouts and opaque directories become `.wh.` entries (OCI image-spec layer.md).
        user_xattr: with `layer`: as for `UnpackOptions`.
        owner: uid and gid that everything has in the archive.
        latest_mtime_ns: later times become this one.
        headers_only: every file is empty in the archive.
        one_mount: what is mounted below is left out; its mount points are empty.
        recurse: False packs a directory without what is in it.
    """

    name: str = ""
    layer: bool = False
    user_xattr: bool = False
    owner: tuple[int, int] | None = None
    latest_mtime_ns: int | None = None
    headers_only: bool = False
    one_mount: bool = False
    recurse: bool = True


@attrs.frozen
class Counts:
    """What went through: entries, bytes of regular files, and what was left out.

    Unpacking leaves out device nodes where they cannot be; packing sockets, and in layers names beginning with `.wh.`.
    """

    entries: int
    bytes: int
    devices_skipped: int = 0
