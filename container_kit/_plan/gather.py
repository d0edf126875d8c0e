"""The gather phase: every file system of a container, made while the host's files can still be named.

Nothing here is visible anywhere yet; `attach` puts it in place. Sources: OCI runtime-spec
config-linux.md (default file systems and devices), and the flags Docker gives them.

Two rules keep device nodes out, besides the device filter that root's containers have: overlays,
binds and tmpfs are `nodev`, and only /dev, which we fill, is not. A container that may call
mknod(2), or has a user namespace, gets the host's nodes bound one by one instead, in a /dev
that is `nodev` as well (`nodes`).
"""

from __future__ import annotations

from typing import Final

from container_kit._plan.flags import AttachHow, MountAttr
from container_kit._plan.nodes import fill_dev, is_bound
from container_kit._plan.ops import (
    LoopbackUp,
    NewFilesystem,
    NewOverlay,
    OpenTree,
    ParentDeathSignal,
    SetMountAttr,
    SlotDir,
    SlotSymlink,
    WriteProc,
)
from container_kit._plan.slots import ROOT_SLOT, Gathering
from container_kit._spec.container_config import ContainerConfig
from container_kit._spec.facts import HostFacts, IdMap
from container_kit._spec.mounts import Mount, MountKind
from container_kit._spec.paths import ContainerPath, HostPath
from container_kit._spec.root_filesystem import RootFilesystem

SIGKILL: Final = 9

PROC: Final = ContainerPath("/proc")
SYS: Final = ContainerPath("/sys")
CGROUP: Final = ContainerPath("/sys/fs/cgroup")
DEV: Final = ContainerPath("/dev")
PTS: Final = ContainerPath("/dev/pts")
SHM: Final = ContainerPath("/dev/shm")  # noqa: S108  # a path in the container
MQUEUE: Final = ContainerPath("/dev/mqueue")

_LOCKED_DOWN = MountAttr.NOSUID | MountAttr.NOEXEC | MountAttr.NODEV
# Somebody could have replaced these directories in the image: no symlinks on the way.
_OWN = AttachHow.ORDINARY | AttachHow.MAKE_DIR
_LINKS = (
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
)
_TTY_GROUP = 5


def gather_filesystems(
    *, config: ContainerConfig, root: RootFilesystem, facts: HostFacts, volatile: bool
) -> tuple[Gathering, int]:
    """Return what is gathered for all but /etc, and the slot that shows /dev/null."""
    gathering = Gathering()
    gathering.add(ParentDeathSignal(signal=SIGKILL))
    if config.network != "host":
        gathering.add(LoopbackUp())
    _overlays(gathering, root, facts, read_only=config.read_only, volatile=volatile)
    _proc(gathering, config, facts)
    null = _dev(gathering, config, facts)
    taken = {mount.target for mount in config.mounts}
    _below_dev(gathering, config, facts, taken)
    _sys(gathering, config, facts)
    for mount in config.mounts:
        _user_mount(gathering, mount)
    return gathering, null


def overlay_dirs(root: RootFilesystem) -> tuple[str, ...]:
    """Return the directories that the overlays need in the container's directory."""
    return tuple(name for number in range(len(root.overlays)) for name in _upper_and_work(number))


def _upper_and_work(number: int) -> tuple[str, str]:
    return (f"upper.{number}", f"work.{number}") if number else ("upper", "work")


def _overlays(gathering: Gathering, root: RootFilesystem, facts: HostFacts, *, read_only: bool, volatile: bool) -> None:
    options = (("volatile",) if volatile else ()) + (("userxattr",) if facts.rootless else ())
    for number, overlay in enumerate(root.overlays):
        slot = gathering.slot()
        upper, work = _upper_and_work(number)
        gathering.add(
            NewOverlay(
                slot=slot, lowers=overlay.lowers, upper=upper, work=work, form=facts.overlay_form, options=options
            )
        )
        if slot == ROOT_SLOT:
            # Mount points are made in it; it becomes read-only at the end of attach.
            gathering.add(SetMountAttr(slot=slot, attributes=MountAttr.NODEV))
        else:
            only = MountAttr.READ_ONLY if read_only else MountAttr.NONE
            gathering.add(SetMountAttr(slot=slot, attributes=MountAttr.NODEV | only))
            gathering.place(slot, overlay.target)


def _proc(gathering: Gathering, config: ContainerConfig, facts: HostFacts) -> None:
    slot = gathering.slot()
    gathering.add(NewFilesystem(slot=slot, fstype="proc", attributes=_LOCKED_DOWN))
    defaults = {} if config.network == "host" else _network_sysctls(facts.id_map)
    for name, value in {**defaults, **dict(config.sysctls)}.items():
        path = "sys/" + name.replace(".", "/")
        gathering.add(WriteProc(slot=slot, path=path, contents=value.encode("utf-8", "surrogateescape")))
    gathering.place(slot, PROC, _OWN)


def _network_sysctls(id_map: IdMap) -> dict[str, str]:
    # As Docker: nobody in a network of its own needs privileges for low ports or for ping.
    last_gid = 0
    for ids in sorted(id_map.gids, key=lambda ids: ids.inside):
        if ids.inside > last_gid + 1:
            break
        last_gid = max(last_gid, ids.inside + ids.size - 1)
    return {
        "net.ipv4.ip_unprivileged_port_start": "0",
        "net.ipv4.ping_group_range": f"0 {min(last_gid, 2**31 - 1)}",
    }


def _dev(gathering: Gathering, config: ContainerConfig, facts: HostFacts) -> int:
    dev = gathering.slot()
    in_user_namespace = facts.rootless or config.security.has_own_ids
    no_others = MountAttr.NODEV if is_bound(config, in_user_namespace=in_user_namespace) else MountAttr.NONE
    attributes = MountAttr.NOSUID | MountAttr.STRICTATIME | no_others
    gathering.add(NewFilesystem(slot=dev, fstype="tmpfs", attributes=attributes, options=("mode=755", "size=65536k")))
    for name in ("pts", "shm", "mqueue"):
        gathering.add(SlotDir(slot=dev, path=name, mode=0o755))
    for name, target in _LINKS:
        gathering.add(SlotSymlink(slot=dev, path=name, target=target))
    gathering.place(dev, DEV, _OWN)
    return fill_dev(gathering, dev, config, in_user_namespace=in_user_namespace, is_filtered=not facts.rootless)


def _below_dev(gathering: Gathering, config: ContainerConfig, facts: HostFacts, taken: set[ContainerPath]) -> None:
    group = (f"gid={_TTY_GROUP}",) if facts.id_map.has_gid(_TTY_GROUP) else ()
    pts = gathering.slot()
    gathering.add(
        NewFilesystem(
            slot=pts,
            fstype="devpts",
            attributes=MountAttr.NOSUID | MountAttr.NOEXEC,
            options=("newinstance", "ptmxmode=0666", "mode=0620", *group),
        )
    )
    gathering.place(pts, PTS, AttachHow.ORDINARY)
    for target, fstype, options in (
        (SHM, "tmpfs", ("mode=1777", f"size={config.shm_size}")),
        (MQUEUE, "mqueue", ()),
    ):
        if target not in taken:
            slot = gathering.slot()
            gathering.add(NewFilesystem(slot=slot, fstype=fstype, attributes=_LOCKED_DOWN, options=options))
            gathering.place(slot, target, AttachHow.ORDINARY)


def _sys(gathering: Gathering, config: ContainerConfig, facts: HostFacts) -> None:
    attributes = _LOCKED_DOWN | (MountAttr.NONE if config.security.is_privileged else MountAttr.READ_ONLY)
    sys = gathering.slot()
    if (facts.rootless or config.security.has_own_ids) and config.network == "host":
        # sysfs shows a network namespace; mounting it needs privileges in that namespace's owner.
        gathering.add(
            OpenTree(slot=sys, source=HostPath("/sys")),
            SetMountAttr(slot=sys, attributes=attributes | MountAttr.PRIVATE, recursive=True),
        )
    else:
        gathering.add(NewFilesystem(slot=sys, fstype="sysfs", attributes=attributes))
    gathering.place(sys, SYS, _OWN)
    cgroup = gathering.slot()
    gathering.add(NewFilesystem(slot=cgroup, fstype="cgroup2", attributes=attributes))
    gathering.place(cgroup, CGROUP, AttachHow.ORDINARY)


def _user_mount(gathering: Gathering, mount: Mount) -> None:
    slot = gathering.slot()
    attributes = MountAttr.NODEV
    if mount.read_only:
        attributes |= MountAttr.READ_ONLY
    if mount.noexec:
        attributes |= MountAttr.NOEXEC
    if mount.nosuid:
        attributes |= MountAttr.NOSUID
    match mount.kind:
        case MountKind.BIND:
            assert mount.source is not None
            attributes |= MountAttr.SLAVE if mount.propagation == "rslave" else MountAttr.PRIVATE
            gathering.add(
                OpenTree(slot=slot, source=mount.source, recursive=mount.recursive),
                SetMountAttr(slot=slot, attributes=attributes, recursive=mount.recursive),
            )
        case MountKind.TMPFS:
            size = () if mount.size_bytes is None else (f"size={mount.size_bytes}",)
            mode = 0o1777 if mount.mode is None else mount.mode
            gathering.add(
                NewFilesystem(
                    slot=slot,
                    fstype="tmpfs",
                    attributes=attributes | MountAttr.NOSUID,
                    options=(f"mode={mode:o}", *size),
                )
            )
    gathering.place(slot, mount.target, AttachHow.MAKE_DIR if mount.source_is_dir else AttachHow.MAKE_FILE)
