"""What is in a container's /dev: the six harmless nodes, and those of the host that it was given.

Two ways to have a node. *Made* with mknod(2), where /dev is ours to make them in and is not
`nodev`. *Bound* one by one from the host into a /dev that is `nodev`, so that nothing else
in it can be opened; read-only, or root in the container could change the mode and the owner
of the host's own node. Reading and writing the device is not writing to its mount.
"""

from __future__ import annotations

from typing import Final

from container_kit._plan.flags import AttachHow, MountAttr
from container_kit._plan.ops import OpenSubtree, OpenTree, SetMountAttr, SlotDir, SlotFile, SlotNode
from container_kit._plan.slots import Gathering
from container_kit._spec.container_config import ContainerConfig
from container_kit._spec.devices import Device
from container_kit._spec.paths import ContainerPath, HostPath
from container_kit.errors import InvalidSpecError, UnsupportedHostError

_NODES: Final = (("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0))
_BLOCK: Final = 0o060000  # S_IFBLK, inode(7); a character device is what SLOT_NODE makes otherwise
_MOST_BOUND: Final = 64


def fill_dev(
    gathering: Gathering, dev: int, config: ContainerConfig, *, in_user_namespace: bool, is_filtered: bool
) -> int:
    """Gather the nodes in /dev, and return a slot that shows /dev/null.

    Args:
        gathering: what comes about.
        dev: slot of the file system at /dev, made by the rules of `is_bound`.
        config: the devices, with their facts.
        in_user_namespace: where nodes cannot be made.
        is_filtered: whether it may have a device filter.

    Raises:
        UnsupportedHostError: access to a device is to be narrower than can be enforced here.
        InvalidSpecError: there are too many devices.
    """
    if not is_filtered:
        _check_access(config.devices)
    if not is_bound(config, in_user_namespace=in_user_namespace):
        null = _make_nodes(gathering, dev)
    else:
        null = _bind_nodes(gathering, dev)
    if config.security.is_privileged and not in_user_namespace:
        _make_devices(gathering, dev, config.devices)
    else:
        _bind_devices(gathering, config.devices)
    return null


def is_bound(config: ContainerConfig, *, in_user_namespace: bool) -> bool:
    """Say whether nodes are bound into a /dev that is `nodev`: wherever the container could make some of its own."""
    may_make_nodes = "CAP_MKNOD" in config.security.capabilities and not config.security.is_privileged
    return in_user_namespace or may_make_nodes


def _make_nodes(gathering: Gathering, dev: int) -> int:
    for name, major, minor in _NODES:
        gathering.add(SlotNode(slot=dev, path=name, mode=0o666, major=major, minor=minor))
    null = gathering.slot()
    gathering.add(OpenSubtree(slot=null, of=dev, path="null"))
    return null


def _bind_nodes(gathering: Gathering, dev: int) -> int:
    for name, _, _ in _NODES:
        gathering.add(SlotFile(slot=dev, path=name, mode=0o666))
        node = _host_node(gathering, HostPath(f"/dev/{name}"))
        gathering.place(node, ContainerPath(f"/dev/{name}"), AttachHow.ORDINARY)
    return _host_node(gathering, HostPath("/dev/null"))


def _host_node(gathering: Gathering, source: HostPath) -> int:
    node = gathering.slot()
    gathering.add(
        OpenTree(slot=node, source=source, recursive=False),
        SetMountAttr(slot=node, attributes=MountAttr.READ_ONLY | MountAttr.NOSUID | MountAttr.NOEXEC),
    )
    return node


def _make_devices(gathering: Gathering, dev: int, devices: tuple[Device, ...]) -> None:
    """Make copies of a privileged container's nodes: there are hundreds of them, too many for mounts."""
    paths = [(device.target.removeprefix("/dev/"), device) for device in devices]
    for directory in sorted({parent for path, _ in paths for parent in _parents(path)}):
        gathering.add(SlotDir(slot=dev, path=directory, mode=0o755))
    for path, device in paths:
        mode = device.mode | (_BLOCK if device.kind == "b" else 0)
        gathering.add(SlotNode(slot=dev, path=path, mode=mode, major=device.major, minor=device.minor))


def _parents(path: str) -> list[str]:
    parts = path.split("/")[:-1]
    return ["/".join(parts[: count + 1]) for count in range(len(parts))]


def _bind_devices(gathering: Gathering, devices: tuple[Device, ...]) -> None:
    if len(devices) > _MOST_BOUND:
        reason = f"are {len(devices)}: a container can have {_MOST_BOUND}"
        raise InvalidSpecError(field="devices", reason=reason, hint="name those that it needs")
    for device in devices:
        node = _host_node(gathering, device.source)
        gathering.place(node, device.target, AttachHow.ORDINARY | AttachHow.MAKE_FILE)


def _check_access(devices: tuple[Device, ...]) -> None:
    for device in devices:
        if not set("rw") <= set(device.access):
            raise UnsupportedHostError(
                feature=f"access {device.access!r} to a device",
                reason="a user's containers have no device filter: what is shown can be read and written",
                hint=f"'{device.source}:rw' if that is acceptable, or run as root",
            )
