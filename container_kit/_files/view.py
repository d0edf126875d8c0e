"""Which tree a file worker sees: a directory, an overlay, or the root of a running container.

A view is a plan and where it is walked. The first two are mounted for the worker alone, in a mount
namespace of its own, so that nothing is seen elsewhere and nothing is left when the worker ends.
Device nodes in them cannot be opened. Source: open_tree(2), mount_setattr(2), overlayfs.rst.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import attrs

from container_kit._files.plan import FilesPlan
from container_kit._plan.ops import (
    Attach,
    AttachHow,
    GatherStep,
    JoinNamespaces,
    MountAttr,
    Namespace,
    NewOverlay,
    OpenTree,
    SetMountAttr,
)
from container_kit._plan.slots import ROOT_SLOT
from container_kit._spec.facts import OverlayForm
from container_kit._spec.paths import ContainerPath, HostPath

_NOWHERE = HostPath("")


@attrs.frozen(kw_only=True)
class View:
    """A tree of files: the plan that leads to it, where it is walked, and whose namespaces it joins.

    Args:
        plan: the steps.
        directory: the working directory meanwhile; "" for any.
        work: work directories of overlays in it, which are emptied first: a volatile mount leaves a mark in its own.
        target_pid: a process in the namespaces that the plan joins.
    """

    plan: FilesPlan
    directory: HostPath
    work: tuple[str, ...] = ()
    target_pid: int | None = None


def directory_view(path: HostPath, *, read_only: bool = False) -> View:
    """Return the view of a directory of the host; what is mounted below it is left out.

    Args:
        path: a directory of ours; symlinks in it resolve on the host.
        read_only: nothing can be changed through the view.
    """
    only = MountAttr.READ_ONLY if read_only else MountAttr.NONE
    gather = (
        OpenTree(slot=ROOT_SLOT, source=path, recursive=False),
        SetMountAttr(slot=ROOT_SLOT, attributes=MountAttr.NODEV | MountAttr.PRIVATE | only),
    )
    return View(plan=FilesPlan(namespaces=Namespace.MOUNT, gather=gather, pivot=True), directory=path)


def overlay_view(
    lowers: Sequence[HostPath],
    *,
    upper: tuple[str, str] | None,
    directory: HostPath,
    form: OverlayForm,
    rootless: bool,
    binds: Sequence[tuple[HostPath, ContainerPath, bool]] = (),
) -> View:
    """Return the view of layers put together, as a container that does not run would see its root.

    Args:
        lowers: the layers, topmost first.
        upper: the names of the upper and the work directory, relative to `directory`; None: read-only. Nothing
            else may have them mounted.
        directory: of the container; with upper None any directory that is there.
        form: how the layers are named to the kernel.
        rootless: the worker is root in a user namespace only.
        binds: host source, target in the tree, and whether it is read-only; missing targets are made.
    """
    if upper is None and len(lowers) == 1:  # not an overlay to the kernel; its whiteouts are seen as they are
        root: tuple[GatherStep, ...] = directory_view(lowers[0], read_only=True).plan.gather
    else:
        upper_name, work_name = upper or ("", "")
        overlay = NewOverlay(
            slot=ROOT_SLOT,
            lowers=tuple(lowers),
            upper=upper_name,
            work=work_name,
            form=form,
            options=("userxattr",) if rootless else (),
        )
        root = (overlay, SetMountAttr(slot=ROOT_SLOT, attributes=MountAttr.NODEV))
    gather = list(root)
    attach: list[Attach] = []
    for slot, (source, target, read_only) in enumerate(binds, start=ROOT_SLOT + 1):
        only = MountAttr.READ_ONLY if read_only else MountAttr.NONE
        gather += (
            OpenTree(slot=slot, source=source),
            SetMountAttr(slot=slot, attributes=MountAttr.NODEV | MountAttr.PRIVATE | only, recursive=True),
        )
        how = AttachHow.MAKE_DIR if os.path.isdir(source) else AttachHow.MAKE_FILE
        attach.append(Attach(slot=slot, target=target, how=how if upper else AttachHow.NONE))
    plan = FilesPlan(namespaces=Namespace.MOUNT, gather=tuple(gather), pivot=True, attach=tuple(attach))
    return View(plan=plan, directory=directory, work=upper[1:] if upper else ())


def container_view(pid: int, *, rootless: bool, mounts: bool = True) -> View:
    """Return the view of a running container's root, by joining its mount namespace.

    Args:
        pid: of its first process; the caller sees to it that it still is that.
        rootless: the container has a user namespace, which is joined as well.
        mounts: False leaves out what is mounted in the root: volumes, /proc, /dev, files like /etc/hosts.
    """
    namespaces = Namespace.MOUNT | (Namespace.USER if rootless else Namespace(0))
    gather: tuple[GatherStep, ...] = (JoinNamespaces(namespaces=namespaces),)
    if not mounts:
        gather = (
            *gather,
            OpenTree(slot=ROOT_SLOT, source=HostPath("/"), recursive=False),
            SetMountAttr(slot=ROOT_SLOT, attributes=MountAttr.NODEV),
        )
    return View(plan=FilesPlan(namespaces=Namespace(0), gather=gather, pivot=False), directory=_NOWHERE, target_pid=pid)
