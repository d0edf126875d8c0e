"""Mounts: what may be shown where."""

from __future__ import annotations

import pytest

from container_kit._spec.mounts import Mount, MountKind, parse_tmpfs
from container_kit.errors import InvalidMountError, InvalidSpecError


def test_bind_has_a_source_and_is_private_and_writable_by_default() -> None:
    """Nothing the host mounts later appears inside unless asked for."""
    mount = Mount.bind("/srv", "/data/")

    assert (MountKind.BIND, "/srv", "/data") == (mount.kind, mount.source, mount.target)
    assert (False, True, "rprivate") == (mount.read_only, mount.recursive, mount.propagation)


def test_tmpfs_reads_its_size_as_text() -> None:
    """A size may be written as for Docker; the mode is that of /tmp."""
    mount = Mount.tmpfs("/run", size="64m")

    assert (64 << 20, 0o1777, True) == (mount.size_bytes, mount.mode, mount.noexec)


@pytest.mark.parametrize("target", ["/", "/proc", "/proc/sys", "/proc/self/attr", "/sys", "/dev", "//proc", "/dev/"])
def test_mount_over_the_systems_own_file_systems_is_refused_with_a_hint(target: str) -> None:
    """What a container believes about itself must not come from a volume."""
    with pytest.raises(InvalidMountError) as caught:
        Mount.bind("/srv", target)

    assert caught.value.hint


@pytest.mark.parametrize("target", ["/process", "/sys/fs/x", "/dev/shm", "/srv/proc"])
def test_mount_elsewhere_is_allowed(target: str) -> None:
    """Only the mount points themselves and anything below /proc are taken."""
    assert target == Mount.tmpfs(target).target


@pytest.mark.parametrize("target", ["srv", "/srv/../etc", ""])
def test_target_that_could_lead_elsewhere_is_refused(target: str) -> None:
    """A target is absolute and does not climb."""
    with pytest.raises(InvalidMountError, match="target"):
        Mount.bind("/srv", target)


def test_tmpfs_words_are_read() -> None:
    """Docker's text form."""
    mount = parse_tmpfs("/run", "size=1g,mode=700,exec,ro,nosuid,nodev")

    assert (1 << 30, 0o700, False, True) == (mount.size_bytes, mount.mode, mount.noexec, mount.read_only)


@pytest.mark.parametrize("words", ["suid", "dev", "size", "mode=rwx", "mode=99", "mode=", "size=huge", "uid=5"])
def test_unknown_tmpfs_word_is_refused(words: str) -> None:
    """Nothing is ignored silently, least of all what would weaken the mount."""
    with pytest.raises(InvalidSpecError):
        parse_tmpfs("/run", words)


def test_incoherent_mount_cannot_exist() -> None:
    """The class itself checks, not only its constructors."""
    target = Mount.tmpfs("/x").target
    with pytest.raises(InvalidMountError, match="bind needs a source"):
        Mount(kind=MountKind.BIND, target=target)
    with pytest.raises(InvalidMountError, match="propagation"):
        Mount.bind("/srv", "/x", propagation="shared")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    with pytest.raises(InvalidMountError, match="mode"):
        Mount.tmpfs("/x", mode=0o10000)
