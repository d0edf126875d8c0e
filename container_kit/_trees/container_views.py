"""Plans that show the tree of a container that does not run, or of an image. Nothing is applied here.

To read, the container's upper directory is the topmost of read-only layers, so that many can
look at once. To write, the overlay is mounted as a launch mounts it. Binds are shown as a
launch shows them, their mount points made if missing, which takes a writable overlay; a root
that is read-only becomes so afterwards.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from container_kit._files.plan import FilesPlan
from container_kit._files.view import View, directory_view
from container_kit._plan.flags import AttachHow, MountAttr, Namespace
from container_kit._plan.gather import overlay_dirs
from container_kit._plan.ops import Attach, AttachStep, NewOverlay, OpenTree, ReadOnlyRoot, SetMountAttr
from container_kit._plan.slots import ROOT_SLOT, Gathering
from container_kit._runtime.site import Site
from container_kit._spec.mounts import Mount
from container_kit._spec.paths import ContainerPath, HostPath
from container_kit._spec.root_filesystem import OverlayLayers, RootFilesystem
from container_kit._state.container_record import ContainerRecord


def stopped_view(site: Site, record: ContainerRecord, *, binds: Sequence[Mount], write: bool) -> View:
    """Return the view of a container that does not run.

    Args:
        site: where it lives.
        record: its row.
        binds: what of the host it shows; with any, its directories must have been made.
        write: whether its own upper directories are written to.
    """
    directory = site.home.container_dir(record.id)
    gathering = Gathering()
    for number, overlay in enumerate(record.root.overlays):
        upper, work = _upper_and_work(number)
        if write or binds:
            only = MountAttr.READ_ONLY if record.config.read_only and number else MountAttr.NONE
            _writable(gathering, site, overlay, upper=upper, work=work, only=only)
        else:
            own = HostPath(f"{directory}/{upper}")
            lowers = (own, *overlay.lowers) if os.path.isdir(own) else overlay.lowers
            _readable(gathering, site, lowers, overlay.target)
    for mount in binds:
        _bind(gathering, mount)
    becomes_read_only = (write or bool(binds)) and (record.config.read_only or not write)
    place = directory if write or binds else site.home.root  # one that never ran has no directory
    return _finished(gathering, place, (ReadOnlyRoot(),) if becomes_read_only else ())


def image_view(site: Site, root: RootFilesystem) -> View:
    """Return the view of an image's root file system, to read only."""
    gathering = Gathering()
    for overlay in root.overlays:
        _readable(gathering, site, overlay.lowers, overlay.target)
    return _finished(gathering, site.home.root, ())


def lowers_view(site: Site, overlay: OverlayLayers) -> View:
    """Return the view of the layers below one overlay alone."""
    gathering = Gathering()
    _readable(gathering, site, overlay.lowers, ContainerPath("/"))
    return _finished(gathering, site.home.root, ())


def directory_of(directory: HostPath) -> View:
    """Return the view of one of our own directories as it is on disk, to change it."""
    return directory_view(directory)


def tree_view(directory: HostPath, *, read_only: bool) -> View:
    """Return the view of a directory of the caller's with all that is mounted below it."""
    gathering = Gathering()
    slot = gathering.slot()
    attributes = MountAttr.NODEV | MountAttr.NOSUID | MountAttr.PRIVATE
    gathering.add(OpenTree(slot=slot, source=directory, recursive=True))
    if read_only:
        attributes |= MountAttr.READ_ONLY
    gathering.add(SetMountAttr(slot=slot, attributes=attributes, recursive=True))
    return _finished(gathering, directory, ())


def directories_of(root: RootFilesystem) -> tuple[str, ...]:
    """Return the names of the upper and work directories in a container's directory."""
    return overlay_dirs(root)


def _upper_and_work(number: int) -> tuple[str, str]:
    return (f"upper.{number}", f"work.{number}") if number else ("upper", "work")


def _writable(
    gathering: Gathering, site: Site, overlay: OverlayLayers, *, upper: str, work: str, only: MountAttr
) -> None:
    slot = gathering.slot()
    gathering.add(
        NewOverlay(
            slot=slot,
            lowers=overlay.lowers,
            upper=upper,
            work=work,
            form=site.facts.overlay_form,
            options=_form_options(site),
        ),
        SetMountAttr(slot=slot, attributes=MountAttr.NODEV | only),
    )
    _place(gathering, slot, overlay.target)


def _readable(gathering: Gathering, site: Site, lowers: Sequence[HostPath], target: ContainerPath) -> None:
    slot = gathering.slot()
    if len(lowers) == 1:  # overlayfs wants two layers when nothing can be written
        gathering.add(OpenTree(slot=slot, source=lowers[0], recursive=False))
    else:
        gathering.add(
            NewOverlay(
                slot=slot,
                lowers=tuple(lowers),
                upper="",
                work="",
                form=site.facts.overlay_form,
                options=_form_options(site),
            )
        )
    gathering.add(SetMountAttr(slot=slot, attributes=MountAttr.NODEV | MountAttr.READ_ONLY))
    _place(gathering, slot, target)


def _bind(gathering: Gathering, mount: Mount) -> None:
    assert mount.source is not None
    slot = gathering.slot()
    attributes = MountAttr.NODEV | MountAttr.PRIVATE | (MountAttr.READ_ONLY if mount.read_only else MountAttr.NONE)
    gathering.add(
        OpenTree(slot=slot, source=mount.source, recursive=mount.recursive),
        SetMountAttr(slot=slot, attributes=attributes, recursive=mount.recursive),
    )
    gathering.place(slot, mount.target, AttachHow.MAKE_DIR if mount.source_is_dir else AttachHow.MAKE_FILE)


def _place(gathering: Gathering, slot: int, target: ContainerPath) -> None:
    if slot != ROOT_SLOT:
        gathering.place(slot, target, AttachHow.NONE)


def _finished(gathering: Gathering, directory: HostPath, last: tuple[AttachStep, ...]) -> View:
    places = sorted(gathering.places.items(), key=lambda place: (place[0].count("/"), place[0]))
    attach = tuple(Attach(slot=slot, target=target, how=how) for target, (slot, how) in places)
    plan = FilesPlan(namespaces=Namespace.MOUNT, gather=tuple(gathering.steps), pivot=True, attach=(*attach, *last))
    return View(plan=plan, directory=directory)


def _form_options(site: Site) -> tuple[str, ...]:
    return ("userxattr",) if site.facts.rootless else ()
